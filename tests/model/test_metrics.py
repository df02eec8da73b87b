"""SI-SDR has its defining properties, and the best permutation is the best of all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from unmingle.model import metrics


def test_known_value():
    """Reference plus orthogonal noise of a tenth of its amplitude: 20 dB."""
    seconds = np.arange(16_000) / 16_000
    reference = np.sin(2 * np.pi * 100 * seconds)
    noise = np.cos(2 * np.pi * 100 * seconds)
    assert metrics.si_sdr_db(reference + 0.1 * noise, reference) == pytest.approx(20.0, abs=1e-6)


@pytest.mark.parametrize("gain", [1e-3, -1.0, 50.0])
def test_scale_and_offset_change_nothing(example, gain):
    case = example("two_speakers")
    plain = metrics.si_sdr_db(case.mixture, case.sources)
    np.testing.assert_allclose(metrics.si_sdr_db(gain * case.mixture + 0.1, 3.0 * case.sources), plain, atol=1e-3)


def test_a_perfect_estimate_is_beyond_measure(example):
    source = example("two_speakers").sources[0].astype(np.float64)
    assert metrics.si_sdr_db(0.5 * source, source) > 150.0


def test_silence():
    sound = np.random.default_rng(0).standard_normal(100)
    assert metrics.si_sdr_db(np.zeros(100), sound) == -np.inf or np.isnan(metrics.si_sdr_db(np.zeros(100), sound))
    assert np.isnan(metrics.si_sdr_db(sound, np.zeros(100)))


@pytest.mark.parametrize("sources,stems", [(1, 1), (2, 2), (3, 3), (4, 4), (2, 4)])
def test_best_permutation_is_the_best_of_all(sources, stems):
    for seed in range(20):
        scores = np.random.default_rng(seed).standard_normal((sources, stems)) * 10
        chosen = metrics.best_permutation(scores)
        best = max(
            itertools.permutations(range(stems), sources),
            key=lambda p, scores=scores: sum(scores[i, j] for i, j in enumerate(p)),
        )
        assert tuple(chosen) == best


def test_improvement_finds_the_order_itself(example):
    case = example("three_speakers")
    rng = np.random.default_rng(0)
    stems = case.sources + 0.003 * rng.standard_normal(case.sources.shape)
    plain = metrics.si_sdr_improvement_db(stems, case.sources, case.mixture)
    turned = metrics.si_sdr_improvement_db(stems[[2, 0, 1]], case.sources, case.mixture)
    np.testing.assert_array_equal(plain, turned)
    expected = metrics.si_sdr_db(stems, case.sources) - metrics.si_sdr_db(case.mixture, case.sources)
    np.testing.assert_allclose(plain, expected)


def test_the_mixture_itself_is_no_improvement(example):
    case = example("two_speakers")
    stems = np.stack([case.mixture, case.mixture])
    np.testing.assert_allclose(metrics.si_sdr_improvement_db(stems, case.sources, case.mixture), 0.0, atol=1e-9)
