"""Analysis and synthesis undo each other at every length, and the trainer's STFT is the same one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from unmingle.model.config import ModelConfig
from unmingle.model.signal import stft
from unmingle.training.mixtures import samples_for, spectra

WINDOW, HOP = 512, 128
AWKWARD = [0, 1, 2, HOP - 1, HOP, HOP + 1, WINDOW - 1, WINDOW, WINDOW + 1, 997, 7919, 16_000]


@pytest.mark.parametrize("samples", AWKWARD)
def test_synthesis_undoes_analysis(samples):
    signal = np.random.default_rng(samples).standard_normal((2, samples)).astype(np.float32)
    spectrum = stft.analyse(signal, WINDOW, HOP)
    assert spectrum.shape == (2, stft.frame_count(samples, WINDOW, HOP), WINDOW // 2 + 1)
    back = stft.synthesise(spectrum, samples, WINDOW, HOP)
    assert back.shape == signal.shape
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, signal, atol=2e-6)


@pytest.mark.parametrize("window,hop", [(512, 256), (512, 64), (354, 59), (1412, 353), (8, 2), (4, 1)])
def test_synthesis_undoes_analysis_on_other_grids(window, hop):
    signal = np.random.default_rng(1).standard_normal(3001).astype(np.float32)
    back = stft.synthesise(stft.analyse(signal, window, hop), len(signal), window, hop)
    np.testing.assert_allclose(back, signal, atol=2e-6)


def test_a_tone_lies_in_its_bin():
    seconds = np.arange(16_000) / 16_000
    spectrum = np.abs(stft.analyse(np.sin(2 * np.pi * 1000.0 * seconds), WINDOW, HOP))
    assert (spectrum[10:-10].argmax(-1) == 1000 * WINDOW // 16_000).all()


def test_frames_lie_where_they_are_said_to():
    """A click is loudest in the frame whose stated centre, (n + 1) * hop - window / 2, is nearest."""
    signal = np.zeros(8000, np.float32)
    signal[4000] = 1.0
    energy = np.square(np.abs(stft.analyse(signal, WINDOW, HOP))).sum(-1)
    centres = (np.arange(len(energy)) + 1) * HOP - WINDOW / 2
    assert abs(centres[energy.argmax()] - 4000) <= HOP / 2


def in_pieces(total, seed):
    """Consecutive slices of uneven length, some of them empty, that cover `total`."""
    edges = np.sort(np.random.default_rng(seed).integers(0, total + 1, 12))
    return [slice(a, b) for a, b in itertools.pairwise([0, *edges.tolist(), total])]


@pytest.mark.parametrize("samples", AWKWARD)
def test_pieces_make_no_difference(samples):
    signal = np.random.default_rng(samples).standard_normal((2, samples)).astype(np.float32)
    whole = stft.analyse(signal, WINDOW, HOP)
    analyser = stft.Analyser(WINDOW, HOP)
    frames = [analyser.push(signal[:, piece]) for piece in in_pieces(samples, 0)] + [analyser.finish()]
    np.testing.assert_array_equal(np.concatenate(frames, 1), whole)
    assert analyser.samples == samples

    synthesiser = stft.Synthesiser(WINDOW, HOP)
    parts = [synthesiser.push(whole[:, piece]) for piece in in_pieces(whole.shape[1], 1)]
    np.testing.assert_allclose(np.concatenate(parts, 1)[:, :samples], signal, atol=2e-6)


def test_the_trainers_stft_is_the_same(example):
    signal = example("two_speakers").mixture
    config = ModelConfig()
    frames = 100
    start = 5 * config.hop
    piece = torch.from_numpy(signal[start : start + samples_for(frames, config)])
    theirs = spectra(piece, config).numpy()
    # The trainer does not pad; frame n of the piece begins at sample start + n * hop.
    first = start // config.hop + config.window // config.hop - 1
    ours = stft.analyse(signal, config.window, config.hop)[first : first + frames]
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() < 1e-5
