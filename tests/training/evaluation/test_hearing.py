"""A list under conditions: what is heard is what was asked for, by the trainer's functions, the same each time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.training.conftest import ROOT
from unmingle.training.augment import channels
from unmingle.training.augment.rooms import heard_in, make_rooms
from unmingle.training.evaluation.conditions import CONDITIONS, Condition, cases, sounds_of
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.hearing import hear
from unmingle.training.evaluation.mixture_list import load_sources, read_list

LIST = read_list(ROOT / "examples" / "list.csv")
SOUNDS = [ROOT / "examples" / "three_speakers" / "source_3.flac"]
NOT_LINEAR = {"telephone", "codec", "opus", "clipped"}


def heard_under(name, row=0):
    condition = CONDITIONS[name] if isinstance(name, str) else name
    return hear(cases(LIST, condition, SOUNDS)[row])


def power_db(signal):
    return 10.0 * np.log10(np.square(signal, dtype=np.float64).sum(-1))


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_is_heard_the_same_each_time_and_adds_up_where_it_is_linear(name):
    first, again = heard_under(name), heard_under(name)
    assert first.mixture.tobytes() == again.mixture.tobytes()
    assert first.sources.tobytes() == again.sources.tobytes()
    assert first.sources.shape == (2, len(first.mixture))
    assert first.sources.dtype == first.mixture.dtype == np.float32
    difference = np.abs(first.sources.sum(0) + first.background - first.mixture).max()
    assert (difference < 1e-5) == (name not in NOT_LINEAR)
    rate = 8_000 if name in ("telephone", "8khz", "codec") else 16_000
    assert first.sample_rate == rate
    assert len(first.mixture) == 5 * rate


def test_clean_is_the_mixture_of_the_list():
    clean = heard_under("clean")
    mixture = soundfile.read(ROOT / "examples" / "two_speakers" / "mixture.flac", dtype="float32")[0]
    np.testing.assert_allclose(clean.mixture, mixture, atol=1e-4)
    assert not clean.background.any()


def test_quiet_is_15_db_apart():
    power = power_db(heard_under("quiet", row=2).sources)
    assert power[0] - power[1:] == pytest.approx([15.0, 15.0], abs=0.01)


@pytest.mark.parametrize(("name", "snr_db"), [("white", 10), ("pink", 5), ("hum", 10), ("babble", 10), ("sounds", 10)])
def test_a_background_is_as_far_below_as_its_title_says(name, snr_db):
    scene = heard_under(name)
    assert power_db(scene.sources.sum(0)) - power_db(scene.background) == pytest.approx(snr_db, abs=0.01)
    assert f"{snr_db} dB below" in CONDITIONS[name].title


def test_babble_is_of_other_speakers_and_those_who_talk_are_not_among_them():
    for case in cases(LIST, CONDITIONS["babble"], []):
        own = {part.path.parent for part in case.listed.parts}
        assert len(set(case.behind)) == len(case.behind) >= 4
        assert not own & {path.parent for path in case.behind}


def test_a_telephone_is_narrow_and_coded_by_the_trainers_functions():
    scene = heard_under("telephone")
    power = np.abs(np.fft.rfft(scene.mixture)) ** 2
    hz = np.fft.rfftfreq(len(scene.mixture), 1 / 8_000)
    clean = np.abs(np.fft.rfft(heard_under("8khz").mixture)) ** 2
    outside = (hz < 300) | (hz > 3400)
    # What is left outside is the noise of the coding, 38 dB below.
    assert power[outside].sum() < 1e-3 * power.sum()
    assert clean[outside].sum() > 0.05 * clean.sum()
    voices = torch.from_numpy(load_sources(LIST[0])[0]).unsqueeze(0)
    gains = channels.band_limit(torch.tensor([300.0]), torch.tensor([3400.0]), voices.shape[-1] // 2 + 1, 16_000)
    expected = channels.resampled(channels.filtered(voices, gains), 16_000, 8_000)
    np.testing.assert_array_equal(scene.sources, expected[0])
    np.testing.assert_array_equal(scene.mixture, channels.mu_law(expected.sum(1), torch.tensor([0.5]))[0])


def test_a_room_is_the_trainers_with_a_place_for_each_voice():
    case = cases(LIST, CONDITIONS["room"], [])[1]
    scene = hear(case)
    voices, rate = load_sources(case.listed)
    responses = make_rooms(1, 2, rate, np.random.default_rng(case.seed), (0.5, 0.5)).responses
    np.testing.assert_array_equal(scene.sources, heard_in(torch.from_numpy(voices).unsqueeze(0), responses)[0])
    assert not np.allclose(hear(dataclasses.replace(case, seed=7)).sources, scene.sources)


def test_conditions_can_be_together():
    both = heard_under(
        Condition("both", level_db=10.0, rt60_s=0.3, background="white", snr_db=20.0, channel="telephone")
    )
    assert both.sample_rate == 8_000
    assert both.background.any()


def test_what_is_missing_is_said():
    with pytest.raises(EvaluationError, match=r"Everyday sounds.*metadata\.csv.*--data"):
        cases(LIST, CONDITIONS["sounds"], [])
    with pytest.raises(EvaluationError, match="has 0 voices of other speakers"):
        cases(LIST[:1], CONDITIONS["babble"], [])
    gone = cases(LIST, CONDITIONS["sounds"], [Path("gone.wav")])[0]
    with pytest.raises(EvaluationError, match=r"gone\.wav cannot be read"):
        hear(gone)


def test_sounds_are_those_of_the_test_split(tmp_path):
    assert sounds_of(tmp_path) == []
    (tmp_path / "metadata.csv").write_text(
        "path,split,speaker,language\na.flac,test,dog,-\nb.flac,train,dog,-\nc.flac,test,her,en\n"
    )
    assert sounds_of(tmp_path) == [tmp_path / "a.flac"]
