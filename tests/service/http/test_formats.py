"""Formats, tracks and channels through the real server, and what it says of them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tests.service import formats
from tests.service.decoding.test_formats import read
from tests.service.harness import RunningServer, encoded, post, problem_of, unpack


@pytest.fixture(scope="module")
def speech(two_speakers: Path) -> np.ndarray:
    return soundfile.read(two_speakers, dtype="float32")[0][:48_000]


@pytest.mark.parametrize("name", ["m4a", "webm", "mp4 video", "amr", "aiff", "caf alac", "wav gsm", "sphere mu-law"])
def test_what_people_send_is_separated(server: RunningServer, speech: np.ndarray, name: str) -> None:
    kind = formats.KINDS[name]
    written = np.stack([soxr.resample(speech, 16_000, kind.rate)] * kind.channels, 1)
    manifest, stems = unpack(post(server, formats.encoded(written, kind), num_sources=2, background="share"))
    assert (manifest["sample_rate"], manifest["channels"]) == (kind.rate, kind.channels)
    assert all(np.isfinite(stem).all() for stem in stems)
    loud = np.square(np.sum(stems, axis=0)).mean() / np.square(written).mean()
    assert 0.3 < loud < 2  # that of GSM comes out louder than it went in


def test_warnings_and_channels_apart(server: RunningServer, speech: np.ndarray) -> None:
    both = np.stack([speech, -speech], 1)
    manifest, _ = unpack(post(server, encoded(both, 16_000), num_sources=1, background="share"))
    assert any("cancel" in warning for warning in manifest["warnings"])
    manifest, _ = unpack(post(server, encoded(both, 16_000), num_sources=1, background="share", mono=True))
    assert any("mono mix: everything" in warning for warning in manifest["warnings"])
    parameters = {"num_sources": 1, "background": "share", "channels": "separate"}
    manifest, stems = unpack(post(server, encoded(both, 16_000), **parameters))
    assert [stem["channel"] for stem in manifest["stems"]] == [1, 2]
    np.testing.assert_allclose(stems[0], np.stack([speech, 0 * speech]), atol=1e-5)
    np.testing.assert_allclose(np.sum(stems, axis=0), both.T, atol=1e-5)
    manifest, _ = unpack(post(server, encoded(np.clip(20 * speech, -0.5, 0.5), 16_000)))
    assert any("clipped" in warning for warning in manifest["warnings"])


def test_a_track_that_is_not_there(server: RunningServer, speech: np.ndarray) -> None:
    content = formats.encoded(speech, formats.KINDS["flac"])
    problem_of(post(server, content, track=2), 415, "format_unsupported")
    problem_of(post(server, content, track=0), 422, "parameter_invalid")


def test_huge_values_are_refused_in_words(server: RunningServer, speech: np.ndarray) -> None:
    one = speech.copy()
    one[100] = 3e38
    for samples in (one, speech * np.float32(1e19)):
        assert "full scale" in problem_of(post(server, encoded(samples, 16_000)), 422, "audio_unusable")["detail"]


def test_surround_in_ogg_keeps_all_channels(server: RunningServer) -> None:
    """A tone of its own in each channel; the LFE channel of Vorbis holds only low ones."""
    time_s = np.arange(48_000) / 48_000
    tones = np.stack([0.1 * np.sin(2 * np.pi * hz * time_s) for hz in (400, 900, 1500, 60, 2100, 2700)], 1)
    content = encoded(tones.astype(np.float32), 48_000)
    answer = post(server, content, num_sources=1, background="share", format="ogg")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        written = archive.read("stem_1.ogg")
    samples, _ = read(Path(server.directory) / "surround", written)
    for channel in range(6):
        likeness = np.corrcoef(samples[4_800:43_200, channel], tones[4_800:43_200, channel])[0, 1]
        assert likeness > 0.9, channel
    extensible = post(server, content, num_sources=1, background="share", subtype="PCM_24")
    with zipfile.ZipFile(io.BytesIO(extensible.content)) as archive:
        wav = archive.read("stem_1.wav")
    assert soundfile.info(io.BytesIO(wav)).format == "WAVEX"
