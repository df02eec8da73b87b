"""Real codecs give back what they got, in step, as long and nearly as loud."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from tests.training.conftest import ROOT
from unmingle.training.augment.codecs import CODECS, coded

RATE = 16_000
NAMES = [f"{codec.encoder}-{codec.bit_rate}" for codec in CODECS]


@pytest.fixture(scope="module")
def voice():
    return soundfile.read(ROOT / "examples" / "two_speakers" / "source_1.flac", dtype="float32")[0][: 2 * RATE]


@pytest.mark.parametrize("codec", CODECS, ids=NAMES)
def test_what_comes_back_is_in_step_and_as_loud(codec, voice):
    heard = coded(voice, codec, RATE)
    assert heard.shape == voice.shape
    assert heard.dtype == np.float32
    sent, got = np.fft.rfft(voice), np.fft.rfft(heard)
    frequency = np.fft.rfftfreq(len(voice), 1 / RATE)
    speech = (frequency > 300) & (frequency < 3000)

    def alike(delay):
        turned = got[speech] * np.exp(2j * np.pi * frequency[speech] * delay / RATE)
        norm = np.linalg.norm(sent[speech]) * np.linalg.norm(turned)
        return float((sent[speech] * turned.conj()).real.sum() / norm)

    delays = np.arange(-40.0, 40.0, 0.25)
    scores = np.array([alike(delay) for delay in delays])
    assert abs(delays[scores.argmax()]) <= 0.5  # samples
    assert scores.max() > 0.85
    assert np.sqrt(np.mean(heard**2) / np.mean(voice**2)) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("codec", CODECS, ids=NAMES)
def test_nothing_is_left_above_half_the_codecs_rate(codec, voice):
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    power = np.abs(np.fft.rfft(coded(noise, codec, RATE))) ** 2
    assert power[codec.sample_rate // 2 + 100 :].sum() <= 1e-3 * power.sum()


@pytest.mark.parametrize("codec", CODECS, ids=NAMES)
def test_the_same_again_and_at_any_level(codec, voice):
    heard = coded(voice, codec, RATE)
    np.testing.assert_array_equal(coded(voice, codec, RATE), heard)
    np.testing.assert_allclose(coded(voice * np.float32(0.125), codec, RATE), heard * 0.125, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 100, RATE // 3 + 1])
@pytest.mark.parametrize("codec", CODECS, ids=NAMES)
def test_short_pieces_and_silence(codec, samples, voice):
    piece = voice[RATE // 2 :][:samples]
    assert coded(piece, codec, RATE).shape == piece.shape
    assert np.isfinite(coded(piece, codec, RATE)).all()
    assert not coded(np.zeros(samples, np.float32), codec, RATE).any()
