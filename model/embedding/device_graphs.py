"""What is computed from embeddings where they lie: small ONNX graphs in sessions of their own on the same device.

The files in model/graphs are written by training/write_graphs.py, since serving has no `onnx`. Bins are not filled up
to few sizes as batches are in on_device.py: nothing here searches for algorithms, and memory is not planned by shape.

Axes: (bin, dim) for embeddings, (source, dim) for centroids, (source, bin) for masks.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from unmingle.model.embedding.onnx_session import open_session
from unmingle.model.signal.masks import Masks, Vectors

FOLDER = Path(__file__).parent.parent / "graphs"
EMBEDDINGS, CHOSEN, POINTS = "embeddings", "chosen", "points"
"""Of gather.onnx: embeddings (bins, dim) and chosen (points,) int64 -> points (points, dim)."""
CENTROIDS, SIMILARITY, MASKS = "centroids", "similarity", "masks"
"""Of masks.onnx: embeddings (bins, dim) and centroids (dim, sources) -> similarity, masks (sources, bins)."""

WEIGHTS, SCORES = "weights", "scores"
"""Of blocks.onnx: embeddings (blocks, frames, bands * dim) and weights (bands * dim, columns) -> scores (blocks,
columns) of the means over frames."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where embeddings lie on a device. Whoever has it sees to it that they stay there.

    Attributes:
        address: of the first.
        bins: how many there are, one after the other.
        dim: of each.
    """

    address: int
    bins: int
    dim: int


class DeviceGraphs:
    """The graphs on one device. Safe to call from several threads."""

    def __init__(self, device: str, memory_bytes: int) -> None:
        """Args: device: "cuda" or "cpu"; memory_bytes: what each session may take of a GPU's memory."""
        self._device = device
        self._gather, self._masks, self._blocks = (
            open_session((FOLDER / name).read_bytes(), device == "cuda", 1, memory_bytes, by_shape=False)
            for name in ("gather.onnx", "masks.onnx", "blocks.onnx")
        )

    def points(self, place: Place, chosen: NDArray[np.int64]) -> Vectors:
        """(points, dim): the embeddings of chosen bins."""
        points = np.empty((len(chosen), place.dim), np.float32)
        self._run(self._gather, place, (place.bins, place.dim), CHOSEN, chosen, POINTS, points)
        return points

    def similarity(self, place: Place, centroids: Vectors) -> Masks:
        """(sources, bins): cosine of each bin's embedding and each centroid."""
        return self._with_centroids(place, centroids, SIMILARITY)

    def soft_masks(self, place: Place, centroids: Vectors, sharpness: float) -> Masks:
        """(sources, bins): softmax over sources of sharpness * cosine."""
        return self._with_centroids(place, centroids * np.float32(sharpness), MASKS)

    def block_scores(self, place: Place, blocks: int, frames: int, weights: Vectors) -> Vectors:
        """(blocks, columns): products of the means over the frames of each block with (bands * dim, columns)."""
        scores = np.empty((blocks, weights.shape[1]), np.float32)
        shape = (blocks, frames, len(weights))
        self._run(self._blocks, place, shape, WEIGHTS, np.ascontiguousarray(weights), SCORES, scores)
        return scores

    def _with_centroids(self, place: Place, centroids: Vectors, output: str) -> Masks:
        found = np.empty((len(centroids), place.bins), np.float32)
        shape = (place.bins, place.dim)
        self._run(self._masks, place, shape, CENTROIDS, np.ascontiguousarray(centroids.T), output, found)
        return found

    def _run(
        self,
        session: onnxruntime.InferenceSession,
        place: Place,
        shape: tuple[int, ...],
        name: str,
        given: NDArray[Any],
        output: str,
        into: NDArray[np.float32],
    ) -> None:
        if not into.size:
            return
        binding = session.io_binding()
        binding.bind_input(EMBEDDINGS, self._device, 0, np.float32, shape, place.address)
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(given, self._device, 0))
        binding.bind_output(output, "cpu", 0, np.float32, into.shape, into.ctypes.data)
        session.run_with_iobinding(binding)
