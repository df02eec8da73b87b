"""POST /separate of the real server: what comes back for good recordings."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.service.harness import RunningServer, encoded, post, unpack


def test_two_speakers_come_back_as_two_stems(server: RunningServer, two_speakers: Path) -> None:
    mixture, rate = soundfile.read(two_speakers, dtype="float32")
    manifest, stems = unpack(post(server, two_speakers.read_bytes()))
    assert [stem["file"] for stem in manifest["stems"]] == ["stem_1.wav", "stem_2.wav"]
    assert all(stem.shape == (1, len(mixture)) for stem in stems)
    np.testing.assert_allclose(np.sum(stems, axis=0)[0], mixture, atol=1e-5)
    energies = [float(np.square(stem, dtype=np.float64).sum()) for stem in stems]
    assert energies == sorted(energies, reverse=True)
    shares = [stem["energy_share"] for stem in manifest["stems"]]
    np.testing.assert_allclose(shares, np.array(energies) / sum(energies), rtol=1e-4)
    assert manifest["sample_rate"] == rate
    assert manifest["seconds"] == pytest.approx(len(mixture) / rate)
    assert {"decode", "stft", "embed", "cluster", "mask", "synthesise"} <= set(manifest["stage_seconds"])


@pytest.mark.parametrize("num_sources", [1, 3, 8])
def test_as_many_stems_as_asked_for(server: RunningServer, two_speakers: Path, num_sources: int) -> None:
    manifest, stems = unpack(post(server, two_speakers.read_bytes(), num_sources=num_sources))
    assert manifest["num_sources"] == len(stems) == num_sources


def test_form_fields_are_parameters_too(server: RunningServer, two_speakers: Path) -> None:
    response = server.http.post(
        "/separate",
        params={"seed": 1, "num_sources": 2},
        data={"num_sources": "3", "subtype": "PCM_16"},
        files={"file": two_speakers.read_bytes()},
        timeout=120,
    )
    manifest, _ = unpack(response)
    assert (manifest["num_sources"], manifest["seed"], manifest["subtype"]) == (3, 1, "PCM_16")


def test_same_input_and_seed_give_the_same_bytes(server: RunningServer, two_speakers: Path) -> None:
    def stems(seed: int) -> list[bytes]:
        archive = zipfile.ZipFile(io.BytesIO(post(server, two_speakers.read_bytes(), seed=seed).content))
        return [archive.read(f"stem_{number}.wav") for number in (1, 2)]

    assert stems(7) == stems(7)


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")],
)
def test_every_format_that_is_promised(server: RunningServer, two_speakers: Path, format: str, subtype: str) -> None:
    mixture, rate = soundfile.read(two_speakers, dtype="float32")
    _, stems = unpack(post(server, encoded(mixture, rate, format, subtype)))
    assert stems[0].shape[1] >= len(mixture)


def test_mp3_is_read(server: RunningServer, two_speakers: Path) -> None:
    mixture, rate = soundfile.read(two_speakers, dtype="float32")
    _, stems = unpack(post(server, encoded(mixture, rate, "MP3", "MPEG_LAYER_III")))
    assert abs(stems[0].shape[1] - len(mixture)) < 0.2 * rate


def test_stereo_at_another_rate_keeps_channels_rate_and_length(server: RunningServer) -> None:
    generator = np.random.default_rng(0)
    mixture = generator.uniform(-0.5, 0.5, (44_101, 2)).astype(np.float32)
    manifest, stems = unpack(post(server, encoded(mixture, 44_100)))
    assert manifest["sample_rate"] == 44_100
    assert all(stem.shape == (2, 44_101) for stem in stems)
    np.testing.assert_allclose(np.sum(stems, axis=0), mixture.T, atol=1e-5)


def test_one_sample_and_silence_are_separated_too(server: RunningServer) -> None:
    _, stems = unpack(post(server, encoded(np.array([0.25], np.float32), 16_000), num_sources=2))
    assert [stem.shape for stem in stems] == [(1, 1), (1, 1)]
    manifest, stems = unpack(post(server, encoded(np.zeros(16_000, np.float32), 16_000), num_sources=3))
    assert not np.any(stems)
    assert [stem["energy_share"] for stem in manifest["stems"]] == [0, 0, 0]


def test_pcm_16_saturates_and_says_so(server: RunningServer) -> None:
    loud = (2.0 * np.sin(np.arange(16_000) * 0.05)).astype(np.float32)
    manifest, stems = unpack(post(server, encoded(loud, 16_000), num_sources=1, subtype="PCM_16"))
    expected = int(np.count_nonzero((np.rint(loud * 32768) > 32767) | (np.rint(loud * 32768) < -32768)))
    assert manifest["stems"][0]["clipped_samples"] == pytest.approx(expected, abs=2)
    assert manifest["warnings"]
    np.testing.assert_allclose(stems[0][0], np.clip(loud, -1, 1), atol=1e-4)


def test_a_wav_that_breaks_off_is_separated_with_a_warning(server: RunningServer, two_speakers: Path) -> None:
    mixture, rate = soundfile.read(two_speakers, dtype="float32")
    manifest, stems = unpack(post(server, encoded(mixture, rate)[: -4 * 16_000]))
    assert stems[0].shape[1] == len(mixture) - 16_000
    assert "breaks off" in manifest["warnings"][0]


def test_by_default_the_background_has_a_file_of_its_own(server: RunningServer, two_speakers: Path) -> None:
    response = server.http.post("/separate", files={"file": two_speakers.read_bytes()}, timeout=120)
    manifest, stems = unpack(response)
    assert (manifest["background"], manifest["background_mode"]) == ("background.wav", "stem")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        background, _ = soundfile.read(io.BytesIO(archive.read("background.wav")), dtype="float32", always_2d=True)
    mixture, _ = soundfile.read(two_speakers, dtype="float32", always_2d=True)
    np.testing.assert_allclose(sum(stems) + background.T, mixture.T, atol=1e-5)
    assert np.square(background).sum() < 0.1 * np.square(mixture).sum()


@pytest.mark.parametrize("asked", [{"residual": True}, {"background": "stem"}])
def test_residual_is_the_former_name_of_the_background(server: RunningServer, two_speakers: Path, asked: dict) -> None:
    response = server.http.post("/separate", params=asked, files={"file": two_speakers.read_bytes()}, timeout=120)
    assert unpack(response)[0]["background"] == "background.wav"
