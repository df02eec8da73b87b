"""ONNX Runtime sessions for one device each, and how a network is run in them. Axes: (segment, frame, band, dim)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from unmingle.model.embedding.runtime_check import CUDA
from unmingle.model.errors import ModelError

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

INPUT, OUTPUT = "features", "embeddings"

GPU_MEMORY_BYTES = 4 * 2**30
"""What ONNX Runtime may take of a GPU's memory by default, for activations and weights."""

GPU_FRAMES_AT_ONCE = 10_000
"""80 s of audio, eight segments. More of them are a little faster, but want more memory than the default; fewer leave
most of a GPU idle (docs/performance.md)."""

# Nothing that a user separates, nor that they separate at all, is anybody else's business.
onnxruntime.disable_telemetry_events()


def open_session(
    content: bytes,
    on_gpu: bool,
    threads: int,
    gpu_memory_bytes: int = GPU_MEMORY_BYTES,
    by_shape: bool = True,
) -> onnxruntime.InferenceSession:
    """A session for the network in an ONNX file's `content`, on the GPU if it can be had; see `get_providers()`.

    With `by_shape`, how memory is shared out is remembered for each shape of the input: faster for few of them, and
    memory that grows for many.

    Raises whatever ONNX Runtime raises where the content is damaged.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = by_shape
    # The level above is for convolutions, which there are none of; with ONNX Runtime 1.32 it crashes on float16 LSTMs.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    # Threads that wait for their part of the next product do not sleep; those that wait for work do not burn a core.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if on_gpu:
        providers.insert(0, (CUDA, cuda_options(gpu_memory_bytes)))
    return onnxruntime.InferenceSession(content, options, providers=providers)


def load_session(
    path: Path, what: str, on_gpu: bool, threads: int, gpu_memory_bytes: int = GPU_MEMORY_BYTES
) -> onnxruntime.InferenceSession:
    """A session for a file whose inputs vary too much in length for memory to be laid out by shape.

    Args:
        what: it is, for messages.

    Raises:
        ModelError: it cannot be read, or is not ONNX.
    """
    try:
        return open_session(path.read_bytes(), on_gpu, threads, gpu_memory_bytes, by_shape=False)
    except OSError as error:
        raise ModelError(f"The {what} {path} cannot be read ({error.strerror}).") from error
    except Exception as error:  # onnxruntime raises its own unrelated types for every kind of damage
        raise ModelError(f"{path} is not a usable ONNX model: {error}") from error


def load_described(
    path: Path, what: str, key: str, written_by: str, threads: int
) -> tuple[onnxruntime.InferenceSession, str]:
    """`load_session` on the CPU, and what the file says of itself under a key of its metadata.

    Raises:
        ModelError: as `load_session`, or there is nothing under that key.
    """
    session = load_session(path, what, False, threads)
    metadata = session.get_modelmeta().custom_metadata_map
    if key not in metadata:
        raise ModelError(
            f"{path} is an ONNX model but no {what} of Unmingle's: it has no '{key}' in its metadata. Expected a file "
            f"that {written_by} wrote."
        )
    return session, str(metadata[key])


def cuda_options(memory_bytes: int) -> dict[str, str]:
    """Options of the CUDA provider: memory that does not grow past a limit, and float32 that is float32."""
    return {
        "device_id": "0",
        "gpu_mem_limit": str(memory_bytes),
        "use_tf32": "0",  # its 10 bits of mantissa are too few for what has to agree with the CPU
    }


def run(session: onnxruntime.InferenceSession, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(segments, frames, bands) -> (segments, frames, bands, dim), on the threads of the session."""
    embeddings: NDArray[np.float32] = session.run([OUTPUT], {INPUT: features})[0]
    return embeddings


class SideBySide:
    """Runs a network on the cores of a CPU: each segment on one of them, and one that is alone on all.

    The recurrence is one small product after the other, and loses more by sharing each among cores than segments lose
    that run side by side. A segment that nothing runs beside may have the other cores, too.
    """

    def __init__(
        self, on_all: onnxruntime.InferenceSession, on_one: onnxruntime.InferenceSession, threads: int, dim: int
    ) -> None:
        """Make it ready.

        Args:
            on_all, on_one: the network in a session of `threads` threads, 2 or more, and in one of a single.
            dim: of the embeddings.
        """
        self._on_all, self._on_one, self._dim = on_all, on_one, dim
        self._helpers = ThreadPoolExecutor(threads - 1, "segment")
        self._lock = threading.Lock()
        self._calls = 0

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(segments, frames, bands) -> (segments, frames, bands, dim); at least one segment. From any thread."""
        with self._lock:
            alone = self._calls == 0
            self._calls += 1
        try:
            embeddings = np.empty((*features.shape, self._dim), np.float32)
            if alone and len(features) > 1:
                self._on_a_core_each(features, embeddings)
            else:
                _run_into(self._on_all if alone else self._on_one, features, embeddings)
            return embeddings
        finally:
            with self._lock:
                self._calls -= 1

    def _on_a_core_each(self, features: NDArray[np.float32], embeddings: NDArray[np.float32]) -> None:
        first, *others = zip(features[:, None], embeddings[:, None], strict=True)
        running = [self._helpers.submit(_run_into, self._on_one, *other) for other in others]
        try:
            _run_into(self._on_one, *first)
        finally:
            wait(running)  # they write into what would be gone
        for other in running:
            other.result()


def _run_into(
    session: onnxruntime.InferenceSession, features: NDArray[np.float32], embeddings: NDArray[np.float32]
) -> None:
    """As `run`, but into memory that is there: another hundred megabytes for a copy would be felt."""
    binding = session.io_binding()
    binding.bind_cpu_input(INPUT, features)
    binding.bind_output(OUTPUT, "cpu", 0, np.float32, embeddings.shape, embeddings.ctypes.data)
    session.run_with_iobinding(binding)
