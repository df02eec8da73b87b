"""What people hand to the library, and what they get back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import unmingle
from unmingle import SeparationOptions, Separator


@pytest.fixture(scope="module")
def speech(two_speakers: Path) -> np.ndarray:
    return soundfile.read(two_speakers, dtype="float32")[0]


def test_paths_lists_and_tensors_give_what_arrays_give(separator: Separator, two_speakers: Path, speech) -> None:
    wanted = separator.separate(speech, 16_000, 2).stems
    tensor = torch.from_numpy(speech).requires_grad_()
    for given, rate in ((two_speakers, None), (str(two_speakers), None), (tensor, 16_000), (speech.tolist(), 16_000)):
        np.testing.assert_array_equal(separator.separate(given, rate, 2).stems, wanted)
    np.testing.assert_allclose(separator.separate(speech.astype(np.float64), 16_000.0, 2).stems, wanted)


@pytest.mark.parametrize(
    ("given", "rate", "says"),
    [
        (np.zeros((16_000, 2), np.float32), 16_000, r"\(samples, channels\)"),
        (np.zeros((9, 16_000), np.float32), 16_000, "1 to 8 channels"),
        (np.zeros((1, 2, 3), np.float32), 16_000, "expected floating-point"),
        (np.zeros(0, np.float32), 16_000, "no samples"),
        (np.zeros(100, np.int16), 16_000, "floating-point"),
        (np.array([1.0, np.nan]), 16_000, "not finite"),
        (np.full(100, 1e300), 16_000, "full scale"),
        ("no-such-file.wav", None, "no such file"),
        (object(), 16_000, "expected"),
        ([[1.0], [1.0, 2.0]], 16_000, "expected"),
        ({"a": 1}, 16_000, "expected"),
        (np.zeros(100), None, "sample_rate is missing"),
        (np.zeros(100), 44_100.5, "whole number"),
        (np.zeros(100), "fast", "whole number"),
        (np.zeros(100), 100, "expected 4000"),
    ],
)
def test_what_is_no_audio_is_an_error_of_ours(separator: Separator, given: object, rate, says: str) -> None:
    with pytest.raises(unmingle.UnmingleError, match=says):
        separator.separate(given, rate)


def test_misspelt_options_are_errors_of_ours(separator: Separator, speech) -> None:
    for wrong in ({"mask_kind": "soften"}, {"channels": "apart"}, {"background": "gone"}, {"num_sources": 9}):
        with pytest.raises(unmingle.ParameterError):
            SeparationOptions(**wrong)
    with pytest.raises(unmingle.ParameterError, match="cuda"):
        Separator.load(device="gpu")
    with pytest.raises(dataclasses.FrozenInstanceError):
        SeparationOptions().seed = 1


def test_saving(separator: Separator, two_speakers: Path, speech, tmp_path: Path) -> None:
    found = separator.separate(two_speakers, options=SeparationOptions(num_sources=2, background="stem"))
    folder = found.save(tmp_path / "deep" / "out")
    assert sorted(p.name for p in folder.iterdir()) == ["activity.rttm", "background.wav", "stem_1.wav", "stem_2.wav"]
    total = sum(soundfile.read(file, dtype="float32")[0] for file in folder.glob("*.wav"))
    np.testing.assert_allclose(total, speech, atol=1e-5)
    assert (folder / "activity.rttm").read_text().startswith("SPEAKER recording 1 ")


def test_blocks_are_the_stems_and_can_be_left(separator: Separator, two_speakers: Path, speech) -> None:
    options = SeparationOptions(num_sources=2)
    whole = separator.separate(two_speakers, options=options)
    blocks = separator.blocks(two_speakers, options=options)
    stems = np.concatenate(list(blocks), axis=-1)
    np.testing.assert_array_equal(stems[list(blocks.outcome.order), 0], whole.stems)
    with separator.blocks(np.tile(speech, 20), 16_000) as many:
        next(many)
    with pytest.raises(StopIteration):
        next(many)


def test_a_damaged_file_fails_in_blocks(separator: Separator, tmp_path: Path, speech) -> None:
    speech = speech.copy()
    speech[40_000] = np.nan
    soundfile.write(tmp_path / "a.wav", speech, 16_000, "FLOAT")
    with pytest.raises(unmingle.AudioError, match="not finite"):
        list(separator.blocks(tmp_path / "a.wav"))


def test_several_recordings(separator: Separator, two_speakers: Path, speech) -> None:
    found = list(separator.separate_all([two_speakers, two_speakers], options=SeparationOptions(num_sources=2)))
    np.testing.assert_array_equal(found[0].stems, found[1].stems)


def test_embeddings_and_masks(separator: Separator, speech) -> None:
    long = np.tile(speech, 8)
    analysis = separator.analyse(long, 16_000)
    frames, bands, dim = analysis.embeddings.shape
    assert (bands, dim) == (separator.embedder.config.bands, separator.embedder.config.embedding_dim)
    assert analysis.magnitude.shape == (frames, bands)
    assert abs(frames * analysis.frame_s - len(long) / 16_000) < 0.1
    np.testing.assert_allclose(np.linalg.norm(analysis.embeddings, axis=-1), 1, atol=1e-3)
    for kind in ("soft", "hard"):
        masks = analysis.masks(analysis.centroids(2), kind)
        assert masks.shape == (2, frames, bands)
        np.testing.assert_allclose(masks.sum(0), 1, atol=1e-5)
