"""What nobody hears, or is over in a moment, does not spoil a separation: with the bundled model, on real speech."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle.model.metrics import si_sdr_improvement_db
from unmingle.model.separator import Separator
from unmingle.model.weights.bundled import bundled_model

RATE = 16_000
ALLOWED_DB = 0.5


@pytest.fixture(scope="module")
def separator():
    return Separator.load(bundled_model(), "cpu")


@pytest.fixture(scope="module")
def speakers(example):
    """Five seconds of two speakers with a peak of 0.5: (2, samples)."""
    case = example("two_speakers")
    return case.sources * np.float32(0.5 / np.abs(case.mixture).max())


def improvement_db(separator, sources, flaw):
    """How far the stems come nearer to the sources than the recording without its flaw is; the flaw may be anywhere."""
    stems = separator.separate((sources.sum(0) + flaw).astype(np.float32), RATE, 2).stems
    return float(si_sdr_improvement_db(stems, sources, sources.sum(0)).mean())


def time_s(sources):
    return np.arange(sources.shape[-1]) / RATE


@pytest.mark.parametrize(
    "flaw",
    [
        pytest.param(lambda t: 0.1 + 0 * t, id="offset"),
        pytest.param(lambda t: 0.3 * np.sin(2 * np.pi * 50.0 * t), id="hum"),
        pytest.param(lambda t: 0.3 * np.sin(2 * np.pi * 40.0 * t), id="low-frequency channel"),
    ],
)
def test_what_nobody_hears_does_not_matter(separator, speakers, flaw):
    made = flaw(time_s(speakers))
    plain = improvement_db(separator, speakers, 0.0)
    assert improvement_db(separator, speakers, made) > plain - ALLOWED_DB
    recording = (speakers.sum(0) + made).astype(np.float32)
    assert len(separator.separate(recording, RATE, "auto").stems) == len(
        separator.separate(speakers.sum(0), RATE).stems
    )


@pytest.mark.parametrize("place", [0.25, 0.5, 0.75])
def test_a_bang_does_not_matter(separator, speakers, place):
    """25 ms of noise at full scale: elsewhere, the stems are as good as without it."""
    plain = improvement_db(separator, speakers, 0.0)
    bang = np.zeros(speakers.shape[-1], np.float32)
    middle = int(place * len(bang))
    bang[middle : middle + RATE // 40] = np.random.default_rng(0).uniform(-1, 1, RATE // 40)
    recording = speakers.sum(0) + bang
    stems = separator.separate(recording, RATE, 2).stems
    elsewhere = np.ones(len(bang), bool)
    elsewhere[middle - 1024 : middle + 1424] = False
    score = si_sdr_improvement_db(stems[:, elsewhere], speakers[:, elsewhere], speakers.sum(0)[elsewhere]).mean()
    assert score > plain - ALLOWED_DB
    assert len(separator.separate(recording, RATE, "auto").stems) == len(
        separator.separate(speakers.sum(0), RATE).stems
    )


def test_nothing_is_lost_of_what_nobody_hears(separator, speakers):
    recording = (speakers.sum(0) + 0.1 + 0.2 * np.sin(2 * np.pi * 30.0 * time_s(speakers))).astype(np.float32)
    result = separator.separate(recording, RATE, 2)
    together = result.stems.sum(0) + (0.0 if result.background is None else result.background)
    np.testing.assert_allclose(together, recording, atol=1e-5)
