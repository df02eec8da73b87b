"""Masks of the clustering -> better masks: the interface, and the ONNX Runtime session behind it.

Axes: (source, frame, band) for masks, (source, dim) for centroids.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from unmingle.model.embedding.device import Device
from unmingle.model.embedding.onnx_session import GPU_MEMORY_BYTES, load_session
from unmingle.model.embedding.runtime_check import check_installation, cuda_trouble
from unmingle.model.errors import ModelError
from unmingle.model.refining.config import RefinerConfig
from unmingle.model.threads import usable_cores

Array = NDArray[np.float32]

CONFIG_KEY = "unmingle.refiner"
"""Metadata key of the ONNX file under which its RefinerConfig lies."""
TRUNKS_KEY = "unmingle.refiner.trunks"
"""Metadata key for the hashes of the embedding models that it may work with, as a JSON list."""
INPUTS = ("features", "behind", "shares", "centroids")
OUTPUT = "refined"


class Refiner(Protocol):
    """Whatever makes the masks of one segment better."""

    def refine(self, features: Array, behind: Array | None, shares: Array, centroids: Array) -> Array:
        """Refine the masks of one segment.

        Args:
            features: (frames, bands) log magnitudes.
            behind: (frames, bands) mask of the background; None where none was found.
            shares: (sources, frames, bands) masks; with `behind`, they sum to 1.
            centroids: (sources, dim).

        Returns:
            (sources, frames, bands), 0 to 1; with the background's, which is what they leave, they sum to 1. Where
            there is no background, the masks of the sources do.
        """
        ...


class OnnxRefiner:
    """An exported refiner in an ONNX Runtime session. Safe to call from several threads.

    Attributes:
        config: as found in the file's metadata.
        trunks: hashes of the models whose embeddings it was trained on.
    """

    def __init__(
        self,
        path: Path,
        device: Device = "auto",
        threads: int | None = None,
        gpu_memory_bytes: int = GPU_MEMORY_BYTES,
    ) -> None:
        """Load and check a refiner.

        Args:
            path: an ONNX file that training/publish_refiner.py wrote.
            device: "auto" takes CUDA where it is there, else the CPU.
            threads: for the CPU; by default all cores this process may use.
            gpu_memory_bytes: what ONNX Runtime may take of the GPU's memory.

        Raises:
            ModelError: no such file, not ONNX, or without our metadata.
        """
        check_installation()
        on_gpu = device != "cpu" and cuda_trouble() is None
        self._session = load_session(path, "refiner", on_gpu, threads or usable_cores(), gpu_memory_bytes)
        self.config, self.trunks = _read_metadata(self._session, path)
        self._path = path
        # One call takes all cores by itself, and some tens of megabytes.
        self._one_at_a_time = threading.Lock()

    def check_fits(self, model_hash: str) -> None:
        """Look whether this refiner was trained on the embeddings of a model.

        Raises:
            ModelError: it was not.
        """
        if model_hash not in self.trunks:
            raise ModelError(
                f"The refiner {self._path} belongs to the embedding model {' or '.join(self.trunks) or 'of no hash'}, "
                f"not to {model_hash}. Use the two that were published together, or export the refiner for this model."
            )

    def refine(self, features: Array, behind: Array | None, shares: Array, centroids: Array) -> Array:
        """As `Refiner.refine`."""
        sources, frames, _ = shares.shape
        if not frames or (sources == 1 and behind is None):
            return shares  # there is nothing to share out
        if behind is not None and not self.config.hears_background:
            return shares
        missing = -frames % self.config.frames_per_step
        given = {
            "features": _padded(features, 0, missing),
            "behind": _padded(np.zeros_like(features) if behind is None else behind, 0, missing),
            "shares": _padded(shares, 1, missing),
            "centroids": np.ascontiguousarray(centroids, np.float32),
        }
        with self._one_at_a_time:
            refined: Array = self._session.run([OUTPUT], given)[0]
        return refined[:, :frames]


def open_refiner(
    path: Path,
    model_hash: str,
    device: Device = "auto",
    threads: int | None = None,
    gpu_memory_bytes: int = GPU_MEMORY_BYTES,
) -> OnnxRefiner:
    """Load the refiner of a model.

    Raises:
        ModelError: it cannot be used, or is another model's.
    """
    refiner = OnnxRefiner(path, device, threads, gpu_memory_bytes)
    refiner.check_fits(model_hash)
    return refiner


def _padded(x: Array, axis: int, missing: int) -> Array:
    """`x` with its last frame repeated, so that the network's steps are whole."""
    width = [(0, missing if n == axis else 0) for n in range(x.ndim)]
    return np.ascontiguousarray(np.pad(x, width, mode="edge") if missing else x, np.float32)


def _read_metadata(session: onnxruntime.InferenceSession, path: Path) -> tuple[RefinerConfig, tuple[str, ...]]:
    metadata = session.get_modelmeta().custom_metadata_map
    if CONFIG_KEY not in metadata or TRUNKS_KEY not in metadata:
        raise ModelError(
            f"{path} is an ONNX model but no refiner of Unmingle's: it has no '{CONFIG_KEY}' in its metadata. "
            "Expected a file that training/publish_refiner.py wrote."
        )
    config = RefinerConfig.from_json(metadata[CONFIG_KEY])
    inputs = {i.name: i.shape for i in session.get_inputs()}
    if tuple(inputs) != INPUTS or [inputs[i][-1] for i in INPUTS] != [*[config.bands] * 3, config.embedding_dim]:
        raise ModelError(f"{path} does not fit its own configuration: its inputs are {inputs}. Export it again.")
    return config, tuple(map(str, json.loads(metadata[TRUNKS_KEY])))
