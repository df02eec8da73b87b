"""Features -> embeddings: the interface, and the ONNX Runtime session behind it. Axes: (segment, frame, band, dim)."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.device import Device
from unmingle.model.embedding.embedded import Embedded, OnHost
from unmingle.model.embedding.on_device import Bound
from unmingle.model.embedding.onnx_session import GPU_MEMORY_BYTES, INPUT, OUTPUT, Run, SideBySide, open_session, run
from unmingle.model.embedding.runtime_check import CUDA, check_installation, cuda_trouble
from unmingle.model.errors import ModelError, ProviderError
from unmingle.model.threads import usable_cores

Precision = Literal["float32", "float16", "int8"]

CONFIG_KEY = "unmingle.config"
"""Metadata key of the ONNX file under which its ModelConfig lies."""
PRECISION_KEY = "unmingle.precision"
"""Metadata key for the precision of its layers; files from before there was a choice have none."""


class Embedder(Protocol):
    """Whatever turns features into embeddings."""

    @property
    def config(self) -> ModelConfig:
        """Signal path the embeddings belong to."""
        ...

    @property
    def segments_at_once(self) -> int:
        """How many segments of one recording are worth a call: each has to be in memory while it runs."""
        ...

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(segments, frames, bands) -> unit-norm (segments, frames, bands, dim); any number of frames, also 0."""
        ...


@runtime_checkable
class LeavesEmbeddings(Protocol):
    """An embedder that can leave embeddings where they are: on a GPU, say."""

    def embed_each(self, features: NDArray[np.float32]) -> list[Embedded]:
        """(segments, frames, bands) -> the embeddings of each segment."""
        ...


def embed_each(embedder: Embedder, features: NDArray[np.float32]) -> list[Embedded]:
    """(segments, frames, bands) -> the embeddings of each segment, wherever the embedder can leave them."""
    if isinstance(embedder, LeavesEmbeddings):
        return embedder.embed_each(features)
    return [OnHost(vectors) for vectors in embedder.embed(features)]


def pad_frames(features: NDArray[np.float32], config: ModelConfig) -> NDArray[np.float32]:
    """Append frames at the feature floor until the network's steps are whole."""
    missing = -features.shape[1] % config.frames_per_step
    if not missing:
        return features
    return np.pad(features, ((0, 0), (0, missing), (0, 0)), constant_values=config.floor_db * np.log(10.0) / 20.0)


class OnnxEmbedder:
    """An exported embedding network in an ONNX Runtime session. Safe to call from several threads.

    Attributes:
        config: as found in the file's metadata.
        model_hash: first 12 hex digits of the file's SHA-256.
        precision: that the network's layers are computed in.
        provider: the execution provider that the session really uses.
        fallback: why device="auto" did not take CUDA; None where it did, or where it was not asked to.
        calls_at_once: calls from different threads that gain by running at the same time.
        segments_at_once: segments of one recording that gain by running in one call.
    """

    def __init__(
        self,
        path: Path,
        device: Device = "auto",
        threads: int | None = None,
        gpu_memory_bytes: int = GPU_MEMORY_BYTES,
    ) -> None:
        """Load and check a model.

        Args:
            path: an ONNX file that training/train.py or training/publish.py wrote.
            device: "auto" takes CUDA where the session gets it, else the CPU.
            threads: for the CPU; by default all cores this process may use.
            gpu_memory_bytes: what ONNX Runtime may take of the GPU's memory.

        Raises:
            ModelError: no such file, not ONNX, or without our metadata.
            ProviderError: device="cuda" and the session did not get CUDA, or two ONNX Runtimes are installed.
        """
        check_installation()
        trouble = cuda_trouble() if device != "cpu" else None
        if device == "cuda" and trouble:
            raise ProviderError(f"device=cuda was asked for, but {trouble}; or use device=cpu.")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(
                f"The model {path} cannot be read ({error.strerror}); "
                "expected an ONNX file that training/train.py wrote."
            ) from error

        threads = threads or usable_cores()

        def opened(on_gpu: bool, threads: int = threads) -> onnxruntime.InferenceSession:
            try:
                return open_session(content, on_gpu, threads, gpu_memory_bytes)
            except Exception as error:  # onnxruntime raises its own unrelated types for every kind of damage
                raise ModelError(f"{path} is not a usable ONNX model: {error}") from error

        session = opened(on_gpu=device != "cpu" and not trouble)
        self.config = _read_config(session, path)
        self.model_hash = hashlib.sha256(content).hexdigest()[:12]
        if device != "cpu" and not trouble:
            trouble = _unfit(session, path)
            if device == "cuda" and trouble:
                raise ProviderError(f"device=cuda was asked for, but {trouble}, or use device=cpu.")
            if trouble and session.get_providers()[0] == CUDA:
                session = opened(on_gpu=False)
        self.precision = _precision(session)
        self.provider: str = session.get_providers()[0]
        self.fallback = trouble
        on_gpu = self.provider == CUDA
        self.calls_at_once = 1 if on_gpu else threads
        # On a CPU, for a core each.
        self.segments_at_once = 8 if on_gpu else min(4, max(2, threads))
        self._run: Run = functools.partial(run, session)
        if on_gpu:
            self._run = Bound(session, "cuda", self.config.embedding_dim, gpu_memory_bytes)
        elif threads > 1:
            self._run = SideBySide(session, opened(on_gpu=False, threads=1), threads, self.config.embedding_dim)

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(segments, frames, bands) -> unit-norm (segments, frames, bands, dim)."""
        segments, frames, bands = features.shape
        if segments == 0 or frames == 0:
            return np.zeros((segments, frames, bands, self.config.embedding_dim), np.float32)
        return self._run(self._padded(features))[:, :frames]

    def embed_each(self, features: NDArray[np.float32]) -> list[Embedded]:
        """(segments, frames, bands) -> the embeddings of each segment, on the device of the network."""
        segments, frames, _ = features.shape
        if isinstance(self._run, Bound) and segments and frames:
            return [embedded.first(frames) for embedded in self._run.each(self._padded(features))]
        return [OnHost(vectors) for vectors in self.embed(features)]

    def _padded(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(pad_frames(features, self.config), np.float32)


def _unfit(session: onnxruntime.InferenceSession, path: Path) -> str | None:
    """Why a session that was to run on the GPU does not, or should not."""
    if session.get_providers()[0] != CUDA:
        return f"the session got {session.get_providers()[0]}: check that nvidia-smi works here"
    if _precision(session) == "int8":
        return f"{path.name} has its weights in 8 bits, which run on CPUs only: take a model in float16 or float32"
    return None


def _precision(session: onnxruntime.InferenceSession) -> str:
    return str(session.get_modelmeta().custom_metadata_map.get(PRECISION_KEY, "float32"))


def _read_config(session: onnxruntime.InferenceSession, path: Path) -> ModelConfig:
    metadata = session.get_modelmeta().custom_metadata_map
    if CONFIG_KEY not in metadata:
        raise ModelError(
            f"{path} is an ONNX model but not one of Unmingle's: it has no '{CONFIG_KEY}' in its metadata. "
            "Expected a file that training/train.py or training/publish.py wrote."
        )
    config = ModelConfig.from_json(metadata[CONFIG_KEY])
    inputs, outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    if inputs != [INPUT] or outputs != [OUTPUT] or session.get_inputs()[0].shape[-1] != config.bands:
        raise ModelError(
            f"{path} does not fit its own configuration: expected input '{INPUT}' (segments, frames, {config.bands}) "
            f"and output '{OUTPUT}', found {inputs} and {outputs}. Export it again."
        )
    return config
