"""Refined separations keep what is promised of all separations: real speech, through the whole separator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.model.test_spreading import SHORT, check_same
from unmingle.model.errors import ModelError, ParameterError
from unmingle.model.kept import KeptRecording, Wish
from unmingle.model.metrics import si_sdr_db
from unmingle.model.options import SeparationOptions
from unmingle.model.recording import ArrayRecording
from unmingle.model.refining.refiner import OnnxRefiner
from unmingle.model.separator import Separator
from unmingle.model.signal.segments import SegmentLayout

TWO = SeparationOptions(2, quality="high")
SHIPPED = Path(__file__).parents[3] / "training" / "weights" / "refiner-1.onnx"


@pytest.fixture(scope="module")
def lively(separator: Separator, onnx_refiner: OnnxRefiner) -> Separator:
    """The bundled model with a refiner that is not trained, of which nothing good is to be expected."""
    return Separator(separator.embedder, refiner=Anybody(onnx_refiner))


class Anybody:
    """A refiner for centroids of any dimension."""

    def __init__(self, refiner: OnnxRefiner) -> None:
        self.refiner = refiner

    def refine(self, features, behind, shares, centroids):
        return self.refiner.refine(features, behind, shares, centroids[:, : self.refiner.config.embedding_dim])


@pytest.mark.parametrize("background", ["stem", "share"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("num_sources", [1, 3])
def test_stems_add_up_whatever_a_refiner_does(lively, example, background, rate, num_sources) -> None:
    mixture = example("two_speakers").mixture
    left = np.stack([mixture, 0.5 * np.roll(mixture, 7)])
    options = SeparationOptions(num_sources, background=background, quality="high")
    found = lively.separate(left, rate, options=options)
    total = found.stems.sum(0) + (found.background if found.background is not None else 0.0)
    np.testing.assert_allclose(total, left, atol=1e-5)
    assert found.stems.shape == (num_sources, *left.shape)


def test_silence_stays_silence(lively) -> None:
    found = lively.separate(np.zeros(20_000, np.float32), 16_000, options=TWO)
    assert not found.stems.any()
    assert not found.background.any()


def test_short_recordings_and_clicks(lively) -> None:
    for samples in (1, 5, 700):
        click = np.zeros(samples, np.float32)
        click[0] = 1.0
        stems = lively.separate(click, 16_000, options=TWO).stems
        assert stems.shape == (2, samples)
        assert np.isfinite(stems).all()


def test_the_level_does_not_matter(lively, example) -> None:
    mixture = example("two_speakers").mixture
    soft = lively.separate(mixture / 64.0, 16_000, options=TWO).stems
    np.testing.assert_allclose(64.0 * soft, lively.separate(mixture, 16_000, options=TWO).stems, atol=1e-3)


def test_segments_join_without_seams(separator, onnx_refiner, example) -> None:
    mixture = np.tile(example("two_speakers").mixture, 2)
    layout = SegmentLayout(frames=300, overlap=60)
    in_parts = Separator(separator.embedder, layout, Anybody(onnx_refiner)).separate(mixture, 16_000, options=TWO)
    for stem in in_parts.stems:
        jumps = np.abs(np.diff(stem))
        borders = [(n * 240 + 30) * 128 for n in range(1, 4)]
        at_borders = max(float(jumps[b - 4000 : b + 4000].max()) for b in borders)
        assert at_borders <= float(jumps.max()) + 1e-6
    np.testing.assert_allclose(in_parts.stems.sum(0) + in_parts.background, mixture, atol=1e-5)


def test_a_refiner_is_used_where_high_quality_is_asked_for_and_nowhere_else(separator, lively, example) -> None:
    mixture = example("two_speakers").mixture
    plain, refined = (lively.separate(mixture, 16_000, options=options) for options in (SeparationOptions(2), TWO))
    np.testing.assert_array_equal(plain.stems, separator.separate(mixture, 16_000, 2).stems)
    assert np.abs(refined.stems - plain.stems).max() > 0.01
    assert refined.stage_seconds["refine"] > 0
    assert "refine" not in plain.stage_seconds


def test_hard_masks_cannot_be_refined() -> None:
    with pytest.raises(ParameterError, match="hard masks are not refined"):
        SeparationOptions(2, mask_kind="hard", quality="high")


def test_high_quality_needs_a_refiner(separator, example, tmp_path) -> None:
    recording = ArrayRecording(example("two_speakers").mixture, 16_000)
    with pytest.raises(ParameterError, match="quality=high needs a refiner, and there is none beside the model"):
        separator.separate_recording(recording, lambda _: None, TWO)
    kept = KeptRecording(recording, separator, tmp_path)
    with pytest.raises(ParameterError, match="quality=high needs a refiner"):
        kept.separate(Wish(num_sources=2), TWO, lambda _: None, lambda _: None)


def test_one_voice_is_unharmed_whatever_a_refiner_does(lively, example) -> None:
    voice = example("two_speakers").sources[0]
    stem = lively.separate(voice, 16_000, options=SeparationOptions(1, quality="high")).stems[0]
    assert si_sdr_db(stem, voice) > 30.0


def test_a_kept_recording_is_refined_as_any(lively, example, tmp_path) -> None:
    recording = ArrayRecording(example("two_speakers").mixture, 16_000)
    kept = KeptRecording(recording, lively, tmp_path)
    kept.listen(0, lambda _: None)
    parts = []
    kept.separate(Wish(num_sources=2), TWO, parts.append, lambda _: None)
    at_once = []
    lively.separate_recording(recording, at_once.append, TWO)
    np.testing.assert_array_equal(np.concatenate(parts, -1), np.concatenate(at_once, -1))


def test_parts_of_a_recording_are_refined_as_the_whole(separator, onnx_refiner, example, tmp_path) -> None:
    signal = np.tile(example("two_speakers").mixture, 2)
    check_same(Separator(separator.embedder, SHORT, Anybody(onnx_refiner)), signal, 16_000, TWO, tmp_path, (3,))


def test_a_refiner_of_another_model_is_refused(bundled_model: Path, refiner_file: Path) -> None:
    with pytest.raises(ModelError, match="belongs to the embedding model 0123456789ab"):
        Separator.load(bundled_model, device="cpu", refiner=refiner_file)


def test_the_refiner_of_the_repository_makes_two_speakers_better(bundled_model: Path, example) -> None:
    refining = Separator.load(bundled_model, device="cpu", refiner=SHIPPED)
    case = example("two_speakers")
    scores = []
    for options in (SeparationOptions(2), TWO):
        stems = refining.separate(case.mixture, 16_000, options=options).stems
        scores.append(max(si_sdr_db(np.stack(order), case.sources).mean() for order in (stems, stems[::-1])))
    assert scores[1] > scores[0]
    voice = case.sources[0]
    one = SeparationOptions(1, quality="high")
    assert si_sdr_db(refining.separate(voice, 16_000, options=one).stems[0], voice) > 30.0
