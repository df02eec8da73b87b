"""Features -> embeddings: the interface, and the ONNX Runtime session behind it. Axes: (segment, frame, band, dim)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model.config import ModelConfig
from model.errors import ModelError, ProviderError
from model.runtime_check import CUDA, check_installation, cuda_trouble
from model.threads import usable_cores

Device = Literal["auto", "cpu", "cuda"]

CONFIG_KEY = "unmingle.config"
"""Metadata key of the ONNX file under which its ModelConfig lies."""

INPUT, OUTPUT = "features", "embeddings"

BUNDLED_MODEL = Path(__file__).parent / "weights" / "unmingle.onnx"

# Nothing that a user separates, nor that they separate at all, is anybody else's business.
onnxruntime.disable_telemetry_events()


class Embedder(Protocol):
    """Whatever turns features into embeddings."""

    @property
    def config(self) -> ModelConfig:
        """Signal path the embeddings belong to."""
        ...

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(segments, frames, bands) -> unit-norm (segments, frames, bands, dim); any number of frames, also 0."""
        ...


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
        provider: the execution provider that the session really uses.
    """

    def __init__(self, path: Path, device: Device = "auto", threads: int | None = None) -> None:
        """Load and check a model.

        Args:
            path: an ONNX file that training/train.py or model/export.py wrote.
            device: "auto" takes CUDA where the session gets it, else the CPU.
            threads: for the CPU; by default all cores this process may use.

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
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A server that waits for work must not burn a core doing so.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = ["CPUExecutionProvider"]
        if device != "cpu" and not trouble:
            wanted.insert(0, CUDA)
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=wanted)
        except Exception as error:  # onnxruntime raises its own unrelated types for every kind of damage
            raise ModelError(f"{path} is not a usable ONNX model: {error}") from error
        self.config = _read_config(self._session, path)
        self.model_hash = hashlib.sha256(content).hexdigest()[:12]
        self.provider: str = self._session.get_providers()[0]
        if device == "cuda" and self.provider != CUDA:
            raise ProviderError(
                f"device=cuda was asked for, but the session got {self.provider}: check that nvidia-smi works here, or "
                "use device=cpu."
            )

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(segments, frames, bands) -> unit-norm (segments, frames, bands, dim)."""
        segments, frames, bands = features.shape
        if segments == 0 or frames == 0:
            return np.zeros((segments, frames, bands, self.config.embedding_dim), np.float32)
        padded = np.ascontiguousarray(pad_frames(features, self.config), np.float32)
        embeddings: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: padded})[0]
        return embeddings[:, :frames]


def _read_config(session: onnxruntime.InferenceSession, path: Path) -> ModelConfig:
    metadata = session.get_modelmeta().custom_metadata_map
    if CONFIG_KEY not in metadata:
        raise ModelError(
            f"{path} is an ONNX model but not one of Unmingle's: it has no '{CONFIG_KEY}' in its metadata. "
            "Expected a file that training/train.py or model/export.py wrote."
        )
    config = ModelConfig.from_json(metadata[CONFIG_KEY])
    inputs, outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    if inputs != [INPUT] or outputs != [OUTPUT] or session.get_inputs()[0].shape[-1] != config.bands:
        raise ModelError(
            f"{path} does not fit its own configuration: expected input '{INPUT}' (segments, frames, {config.bands}) "
            f"and output '{OUTPUT}', found {inputs} and {outputs}. Export it again."
        )
    return config
