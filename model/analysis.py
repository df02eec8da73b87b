"""What the network makes of a recording: embeddings, and masks from them. Axes: (frame, band, dim), (source, dim)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from unmingle.model.clustering import kmeans
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import Embedder, embed_each
from unmingle.model.recording import Recording
from unmingle.model.signal import features, masks, segments
from unmingle.model.signal.segments import SegmentLayout
from unmingle.model.stage_clock import StageClock


@dataclasses.dataclass(frozen=True)
class Analysis:
    """A recording as the network hears it: one channel or all in one, at the model's rate.

    Attributes:
        embeddings: (frames, bands, dim) float32 of length 1: bins of one sound lie close together.
        magnitude: (frames, bands) float32: how loud each bin is.
        frame_s: seconds from one frame to the next.
        config: of the model: its sample rate, bands and embedding_dim.
    """

    embeddings: NDArray[np.float32]
    magnitude: NDArray[np.float32]
    frame_s: float
    config: ModelConfig

    def centroids(self, num_sources: int, seed: int = 0) -> NDArray[np.float32]:
        """(sources, dim): the middle of each source, by weighted k-means."""
        rng = np.random.default_rng(seed)
        weights = features.clustering_weights(self.magnitude)
        vectors = self.embeddings.reshape(-1, self.embeddings.shape[-1])
        return kmeans.cluster(vectors, weights.reshape(-1), num_sources, rng).centroids

    def masks(self, centroids: NDArray[np.float32], kind: str = "soft") -> NDArray[np.float32]:
        """(sources, frames, bands), which sum to 1 over the sources."""
        if kind == "hard":
            return masks.hard_masks(self.embeddings, centroids)
        return masks.soft_masks(self.embeddings, centroids, self.config.mask_sharpness)


def analyse(recording: Recording, embedder: Embedder, layout: SegmentLayout) -> Analysis:
    """Embed a whole recording; about 40 MB a minute."""
    config = embedder.config
    heard = segments.heard_magnitude(recording, config, StageClock())
    vectors: list[NDArray[np.float32]] = []
    magnitudes: list[NDArray[np.float32]] = []
    frames = 0
    for batch in segments.batches(segments.cut(heard, layout), embedder.segments_at_once):
        observed = np.stack([features.log_magnitude(s.magnitude, config.floor_db) for s in batch])
        for segment, embedded in zip(batch, embed_each(embedder, observed), strict=True):
            # Of what two segments share, the middle of the overlap is where one ends and the other begins.
            again = frames - segment.start
            kept = again // 2
            if again > kept:
                vectors[-1] = vectors[-1][: len(vectors[-1]) - (again - kept)]
                magnitudes[-1] = magnitudes[-1][: len(vectors[-1])]
            vectors.append(np.array(embedded.array()[kept:]))
            magnitudes.append(np.array(segment.magnitude[kept:]))
            frames = segment.start + len(segment.magnitude)
    return Analysis(np.concatenate(vectors), np.concatenate(magnitudes), config.hop / config.sample_rate, config)
