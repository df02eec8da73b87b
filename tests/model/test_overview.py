"""What is left to look at of a separation: the same picture and map as of a recording that is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import EXAMPLES
from unmingle.model.kept import KeptRecording
from unmingle.model.options import SeparationOptions
from unmingle.model.overview import MOST_COLUMNS, MOST_POINTS, Overview
from unmingle.model.recording import ArrayRecording
from unmingle.model.separator import Separator

RATE = 16_000


def overview_of(separator: Separator, signal: np.ndarray, **options: object) -> Overview | None:
    given = SeparationOptions(**{"num_sources": 3, **options})
    return separator.separate_recording(ArrayRecording(signal, RATE), lambda _: None, given, overview=True).overview


@pytest.fixture(scope="module")
def mixture() -> np.ndarray:
    return soundfile.read(EXAMPLES / "three_speakers" / "mixture.flac", dtype="float32")[0]


def test_it_shows_what_a_kept_recording_shows(separator: Separator, mixture: np.ndarray, tmp_path: Path) -> None:
    found = overview_of(separator, mixture)
    assert found is not None
    kept = KeptRecording(ArrayRecording(mixture, RATE), separator, tmp_path)
    kept.listen(0, lambda _: None)
    ours, theirs = found.picture(0.0, 5.0, 500), kept.picture(found.centroids, 0.0, 5.0, 500)
    assert ours.source.shape == theirs.source.shape
    # A column of one of them may begin a frame before that of the other.
    loud = (theirs.loudness > 0.6) & (theirs.certainty > 0.5)
    assert (ours.source == theirs.source)[loud].mean() > 0.9
    assert np.abs(ours.loudness - theirs.loudness)[loud].mean() < 0.03
    assert np.abs(ours.certainty - theirs.certainty)[loud].mean() < 0.1
    part = found.picture(1.0, 1.5, 50)
    assert np.abs(part.loudness - ours.loudness[:, 100:150]).mean() < 0.05


def test_its_points_are_heard_bins_of_the_sources(separator: Separator, mixture: np.ndarray, tmp_path: Path) -> None:
    found = overview_of(separator, mixture)
    assert found is not None
    found.save(tmp_path / "overview.npz")
    again = Overview.load(tmp_path / "overview.npz")
    points = again.points
    assert 2000 < len(points.weights) <= MOST_POINTS
    assert (np.diff(points.places[:, 0]) >= 0).all()
    assert points.places[:, 0].max() * again.frame_s <= 5.1
    assert points.places[:, 1].max() < len(again.band_hz)
    assert np.linalg.norm(points.embeddings, axis=1) == pytest.approx(1.0, abs=0.05)
    assert (points.embeddings @ found.centroids.T).max(1).mean() > 0.5
    np.testing.assert_array_equal(again.source, found.source)
    assert sorted(again.order) == [0, 1, 2]


def test_stems_are_the_same_with_and_without(separator: Separator, mixture: np.ndarray) -> None:
    parts: list[np.ndarray] = []
    options = SeparationOptions(num_sources=3)
    separator.separate_recording(ArrayRecording(mixture, RATE), parts.append, options, overview=True)
    alone = separator.separate(mixture, RATE, options=options)
    assert {part.tobytes() for part in np.concatenate(parts, -1)[:3, 0]} == {stem.tobytes() for stem in alone.stems}


def test_it_is_bounded_and_covers_all_of_a_long_recording(separator: Separator, mixture: np.ndarray) -> None:
    found = overview_of(separator, np.tile(mixture, 20))
    assert found is not None
    assert len(found.source) <= MOST_COLUMNS
    assert len(found.points.weights) == MOST_POINTS
    # The same five seconds again and again: as loud at the end as at the beginning.
    loudness = found.picture(0.0, 100.0, 20).loudness.mean(0)
    assert loudness.min() > 0.9 * loudness.max()
    seconds = found.points.places[:, 0] * found.frame_s
    assert np.histogram(seconds, 10, (0.0, 100.0))[0].min() > 200


def test_silence_and_a_single_sample_have_an_empty_one(separator: Separator) -> None:
    for signal in (np.zeros(RATE, np.float32), np.full(1, 0.5, np.float32)):
        found = overview_of(separator, signal)
        assert found is not None
        picture = found.picture(0.0, 1.0, 64)
        assert picture.source.shape == (len(found.band_hz), 64)
        assert np.isfinite(picture.loudness).all()


def test_channels_one_by_one_have_none(separator: Separator, mixture: np.ndarray) -> None:
    assert overview_of(separator, np.stack([mixture, mixture[::-1]]), channels="separate") is None
