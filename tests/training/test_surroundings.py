"""Rooms add an echo that belongs to each source, noise belongs to none, and both are the same again with one seed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from unmingle.training.surroundings import NOISE_DB, RT60_S, Surroundings, surround

from unmingle.model.config import ModelConfig
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import make_batch, samples_for, spectra
from unmingle.training.train_config import TrainConfig

RATE = 16_000
IN_ROOMS = Surroundings(room_chance=1.0)
IN_NOISE = Surroundings(noise_chance=1.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clicks(batch=8, sources=2, samples=RATE):
    signals = torch.zeros(batch, sources, samples)
    signals[..., 100] = 1.0
    return signals


def voices(batch=8, samples=RATE, seed=1):
    return torch.randn(batch, 2, samples, generator=generator(seed)) * 0.05


def test_by_default_nothing_happens_and_nothing_is_drawn():
    rng = generator()
    before = rng.get_state()
    heard, noise = surround(voices(), Surroundings(), 2, RATE, rng)
    assert torch.equal(heard, voices())
    assert not noise.any()
    assert torch.equal(rng.get_state(), before)


def test_an_echo_follows_the_direct_sound_and_dies_away():
    heard, noise = surround(clicks(), IN_ROOMS, 1, RATE, generator())
    assert not noise.any()
    first_echo = 100 + round(0.005 * RATE)
    assert torch.allclose(heard[..., :first_echo], clicks()[..., :first_echo], atol=1e-6)
    echo = heard[..., first_echo:].square()
    assert (echo.sum(-1) > 0.001).all()
    # 60 dB in the longest time that there is.
    assert (echo[..., round(RT60_S[1] * RATE) :].sum(-1) < 1e-4 * echo.sum(-1)).all()
    halves = echo[..., :4000].sum(-1), echo[..., 4000:].sum(-1)
    assert (halves[0] > halves[1]).all()


def test_each_source_has_an_echo_of_its_own_which_the_pieces_of_a_mixture_share():
    heard, _ = surround(clicks(4), IN_ROOMS, 2, RATE, generator())
    assert torch.allclose(heard[0], heard[1], atol=1e-6)
    assert torch.allclose(heard[2], heard[3], atol=1e-6)
    echoes = heard[::2].flatten(0, 1)[:, 200:]
    for i in range(len(echoes)):
        for j in range(i):
            assert np.corrcoef(echoes[i], echoes[j])[0, 1] < 0.5


def test_silence_has_no_echo():
    sources = voices()
    sources[:, 1] = 0.0
    heard, _ = surround(sources, IN_ROOMS, 1, RATE, generator())
    assert not heard[:, 1].any()


def test_noise_is_as_loud_as_it_says_and_of_every_colour():
    sources = voices(64)
    heard, noise = surround(sources, IN_NOISE, 1, RATE, generator())
    assert torch.equal(heard, sources)
    below_db = -20.0 * torch.log10(noise.square().mean(-1).sqrt() / sources.sum(1).square().mean(-1).sqrt())
    assert NOISE_DB[0] - 0.01 <= below_db.min() < NOISE_DB[0] + 5.0
    assert NOISE_DB[1] - 5.0 < below_db.max() <= NOISE_DB[1] + 0.01
    power = torch.fft.rfft(noise).abs().square()
    tilt_db = 10.0 * torch.log10(power[:, 100:1000].mean(-1) / power[:, 4000:].mean(-1))
    assert tilt_db.min() < 3.0
    assert tilt_db.max() > 15.0


def test_as_often_as_asked_for():
    heard, noise = surround(voices(400, 800), Surroundings(0.3, 0.6), 1, RATE, generator())
    assert 0.2 < (heard != voices(400, 800)).any(-1).any(-1).float().mean() < 0.4
    assert 0.5 < noise.any(-1).float().mean() < 0.7


def test_one_seed_gives_the_same_again():
    config = Surroundings(0.5, 0.5)
    (heard, noise), (again, noise_again) = (surround(voices(), config, 2, RATE, generator(3)) for _ in range(2))
    assert torch.equal(heard, again)
    assert torch.equal(noise, noise_again)


def test_noise_is_heard_in_the_mixture_and_wanted_in_no_stem():
    config = ModelConfig()
    sources = voices(3, samples_for(40, config))
    _, noise = surround(sources, IN_NOISE, 1, RATE, generator())
    batch, clean = make_batch(sources, config, noise=noise), make_batch(sources, config)
    low = config.full_resolution_bins
    mixture = spectra(sources.sum(1) + noise, config).abs()[..., :low]
    assert torch.allclose(batch.magnitudes[..., :low], mixture, atol=1e-4)
    assert torch.equal(batch.memberships, clean.memberships)
    assert batch.targets.sum() < batch.magnitudes.sum()


@pytest.mark.parametrize("wrong", [{"room_chance": 1.5}, {"noise_chance": -0.1}])
def test_chances_are_chances(wrong):
    with pytest.raises(TrainingError, match="from 0 to 1"):
        Surroundings(**wrong)


def test_runs_from_before_there_were_any_are_still_known():
    saved = json.loads(TrainConfig(seed=7).to_json())
    del saved["surroundings"]
    assert TrainConfig.from_json(json.dumps(saved)) == TrainConfig(seed=7)
