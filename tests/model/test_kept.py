"""A recording that is listened to once and separated again and again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unmingle.model.embedding.on_disk import most_kept_bytes
from unmingle.model.errors import ParameterError
from unmingle.model.kept import KeptRecording, Wish
from unmingle.model.options import SeparationOptions
from unmingle.model.recording import ArrayRecording
from unmingle.model.separator import Separator


@pytest.fixture(scope="module")
def separator(bundled_model: Path) -> Separator:
    return Separator.load(bundled_model, "cpu")


def listened(separator: Separator, signal: np.ndarray, directory: Path, seed: int = 0) -> KeptRecording:
    kept = KeptRecording(ArrayRecording(signal, 16_000), separator, directory)
    assert not kept.is_there
    kept.listen(seed, lambda _: None)
    assert kept.is_there
    assert sum(path.stat().st_size for path in directory.iterdir()) <= most_kept_bytes(
        signal.shape[-1] / 16_000, separator.embedder.config
    )
    return kept


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "seed", "room"), [(3, 0, 2.0), (3, 7, 2.0), (12, 0, 0.5), (12, 0, 0.0)])
def test_it_gives_the_bytes_of_a_separation_in_one_go(
    separator: Separator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, seed: int, room: float
) -> None:
    """However its embeddings are kept: as they are, as bytes, or too many to be kept in memory at all."""
    config = separator.embedder.config
    all_bytes = 4 * 16_000 * seconds // config.hop * config.bands * config.embedding_dim
    for place in ("embedded", "on_disk"):
        monkeypatch.setattr(f"unmingle.model.embedding.{place}.HOST_KEPT_BYTES", int(room * all_bytes))
    rng = np.random.default_rng(1)
    loud = np.repeat(rng.random(4 * seconds), 4_000)
    signal = (rng.standard_normal((2, 16_000 * seconds)) * loud * 0.1).astype(np.float32)
    kept = listened(separator, signal, tmp_path, seed)
    parts: list[np.ndarray] = []
    outcome, centroids = kept.separate(Wish(2), SeparationOptions(seed=seed), parts.append, lambda _: None)
    whole = separator.separate(signal, 16_000, options=SeparationOptions(num_sources=2, seed=seed))
    everything = np.concatenate(parts, axis=-1)
    assert np.array_equal(everything[list(outcome.order)], whole.stems)
    assert np.array_equal(centroids, kept.numbers()[1][1].centroids)
    assert outcome.warnings == whole.warnings


def test_centroids_of_another_model_are_refused(separator: Separator, tmp_path: Path) -> None:
    kept = listened(separator, np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32), tmp_path)
    with pytest.raises(ParameterError, match=r"expected \(sources, 20\)"):
        kept.separate(Wish(centroids=np.eye(3, dtype=np.float32)), SeparationOptions(), print, lambda _: None)
