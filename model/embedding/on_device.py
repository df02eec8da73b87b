"""A network bound to a device, and the embeddings that stay there. Axes: (segment, frame, band, dim)."""

from __future__ import annotations

import dataclasses
import threading
import weakref

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from unmingle.model.embedding.device_graphs import DeviceGraphs, Place
from unmingle.model.embedding.embedded import Embedded, blocks_of
from unmingle.model.embedding.onnx_session import GPU_FRAMES_AT_ONCE, GPU_MEMORY_BYTES, INPUT, OUTPUT
from unmingle.model.signal import masks
from unmingle.model.signal.masks import Masks, Vectors

DEVICE_KEPT_BYTES = 256 * 1024 * 1024
"""Embeddings of one recording up to this size stay on the device from listening to masking: two minutes. Longer ones
are embedded twice instead, as they are where others have filled the room."""
KEPT_PART = 4
"""All recordings together keep at most this part, one fourth, of what ONNX Runtime may take for the network."""


class Room:
    """Memory of a device for batches that are kept, shared by everybody."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        # Nobody gives room back: it is free when the batch is gone, however it went.
        self._kept: weakref.WeakSet[_Batch] = weakref.WeakSet()

    def keeps(self, batch: _Batch) -> bool:
        """Whether the batch has, or now gets, room."""
        with self._lock:
            if batch not in self._kept:
                if sum(kept.nbytes for kept in self._kept) + batch.nbytes > self._most_bytes:
                    return False
                self._kept.add(batch)
            return True


class _Batch:
    """What one call of the network left on the device."""

    def __init__(self, value: onnxruntime.OrtValue, graphs: DeviceGraphs, room: Room) -> None:
        """Args: value: (segments, frames, bands, dim) float32."""
        self._value, self._room = value, room
        self.graphs = graphs
        shape: tuple[int, int, int, int] = tuple(value.shape())
        segments, self.frames, self.bands, self.dim = shape
        self.nbytes = 4 * segments * self.frames * self.bands * self.dim

    def place(self, row: int, frames: int) -> Place:
        """Of the first frames of one segment."""
        bins = self.frames * self.bands
        return Place(self._value.data_ptr() + 4 * row * bins * self.dim, frames * self.bands, self.dim)

    def kept(self) -> bool:
        """Whether there is room to keep it."""
        return self._room.keeps(self)

    def on_host(self) -> NDArray[np.float32]:
        """A copy."""
        embeddings: NDArray[np.float32] = self._value.numpy()
        return embeddings


@dataclasses.dataclass(frozen=True)
class OnDevice:
    """Embeddings of one segment on the device of the network. Its batch is there for as long as any of its segments is.

    Attributes:
        batch: that they are in.
        row: which of its segments they are of.
        frames: how many of its frames count.
    """

    batch: _Batch
    row: int
    frames: int

    @property
    def nbytes(self) -> int:
        """What they take, without what else is in the batch."""
        return 4 * self.frames * self.batch.bands * self.batch.dim

    @property
    def most_bytes(self) -> int:
        """Of one recording."""
        return DEVICE_KEPT_BYTES

    def array(self) -> Vectors:
        """(frames, bands, dim): a copy."""
        every = self.at(np.arange(self.frames * self.batch.bands))
        return every.reshape(self.frames, self.batch.bands, self.batch.dim)

    def at(self, chosen: NDArray[np.int64]) -> Vectors:
        """(chosen, dim)."""
        return self.batch.graphs.points(self._place(), chosen)

    def soft_masks(self, centroids: Vectors, sharpness: float) -> Masks:
        """(sources, frames, bands)."""
        return self._by_frame(self.batch.graphs.soft_masks(self._place(), centroids, sharpness))

    def hard_masks(self, centroids: Vectors) -> Masks:
        """(sources, frames, bands)."""
        return masks.nearest(self._by_frame(self.batch.graphs.similarity(self._place(), centroids)), centroids)

    def block_scores(self, weights: Vectors, frames: int) -> Vectors:
        """(blocks, columns)."""
        blocks, frames = blocks_of(self.frames, frames)
        return self.batch.graphs.block_scores(self._place(), blocks, frames, weights)

    def first(self, frames: int) -> OnDevice:
        """Of the same batch."""
        return dataclasses.replace(self, frames=min(frames, self.frames))

    def apart(self) -> OnDevice:
        """Itself: the room for what is kept counts whole batches, and a copy would take more of it."""
        return self

    def keep(self, expected_bytes: float) -> OnDevice | None:
        """Itself, where there is room for its batch."""
        return self if expected_bytes <= DEVICE_KEPT_BYTES and self.batch.kept() else None

    def restored(self) -> OnDevice:
        """Itself."""
        return self

    def _place(self) -> Place:
        return self.batch.place(self.row, self.frames)

    def _by_frame(self, found: Masks) -> Masks:
        return found.reshape(-1, self.frames, self.batch.bands)


class Bound:
    """Runs a session whose input and output lie on its device; the input is copied there once.

    Batches are filled up to the next power of two, so that the device sees few shapes: each new one costs it a search
    for memory and for algorithms. Lengths are not filled up: the network reads backwards, too, and would hear it.
    What is more than `GPU_FRAMES_AT_ONCE` runs in several batches, so that memory does not depend on who calls.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, device: str, dim: int, memory_bytes: int = GPU_MEMORY_BYTES
    ) -> None:
        """Make it ready.

        Args:
            session: of the network.
            device: "cuda", or "cpu" to do the same on a machine without.
            dim: of the embeddings.
            memory_bytes: what the session may take of the device's memory; see KEPT_PART.
        """
        self._session, self._device, self._dim = session, device, dim
        self._graphs = DeviceGraphs(device, memory_bytes)
        self._room = Room(memory_bytes // KEPT_PART)

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(segments, frames, bands) -> (segments, frames, bands, dim) on the host; at least one segment."""
        found = [self._batch(part).on_host()[: len(part)] for part in self._parts(features)]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def each(self, features: NDArray[np.float32]) -> list[Embedded]:
        """(segments, frames, bands) -> embeddings of each segment, on the device; at least one segment and frame."""
        found: list[Embedded] = []
        for part in self._parts(features):
            batch = self._batch(part)
            found += [OnDevice(batch, row, batch.frames) for row in range(len(part))]
        return found

    def _parts(self, features: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        most = max(1, GPU_FRAMES_AT_ONCE // features.shape[1])
        return [features[start : start + most] for start in range(0, len(features), most)]

    def _batch(self, features: NDArray[np.float32]) -> _Batch:
        segments = len(features)
        missing = (1 << (segments - 1).bit_length()) - segments
        if missing:
            features = np.concatenate((features, np.zeros((missing, *features.shape[1:]), np.float32)))
        # Not in the memory of the session: what is kept there would leave no whole stretches of it to the network.
        embeddings = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            (*features.shape, self._dim), np.float32, self._device, 0
        )
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(INPUT, onnxruntime.OrtValue.ortvalue_from_numpy(features, self._device, 0))
        binding.bind_ortvalue_output(OUTPUT, embeddings)
        self._session.run_with_iobinding(binding)
        return _Batch(embeddings, self._graphs, self._room)
