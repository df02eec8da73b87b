"""ONNX Runtime sessions for one device each, and how a network is run in them. Axes: (segment, frame, band, dim)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model.runtime_check import CUDA
from model.threads import usable_cores

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

INPUT, OUTPUT = "features", "embeddings"

GPU_MEMORY_BYTES = 4 * 2**30
"""What ONNX Runtime may take of a GPU's memory by default, for activations and weights."""

# Nothing that a user separates, nor that they separate at all, is anybody else's business.
onnxruntime.disable_telemetry_events()


def open_session(
    content: bytes, on_gpu: bool, threads: int | None, gpu_memory_bytes: int
) -> onnxruntime.InferenceSession:
    """A session for the network in an ONNX file's `content`, on the GPU if it can be had; see `get_providers()`.

    Raises whatever ONNX Runtime raises where the content is damaged.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The level above is for convolutions, which there are none of; with ONNX Runtime 1.32 it crashes on float16 LSTMs.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    # A server that waits for work must not burn a core doing so.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if on_gpu:
        providers.insert(0, (CUDA, cuda_options(gpu_memory_bytes)))
    return onnxruntime.InferenceSession(content, options, providers=providers)


def cuda_options(memory_bytes: int) -> dict[str, str]:
    """Options of the CUDA provider: memory that does not grow past a limit, and float32 that is float32."""
    return {
        "device_id": "0",
        "gpu_mem_limit": str(memory_bytes),
        "use_tf32": "0",  # its 10 bits of mantissa are too few for what has to agree with the CPU
    }


def runner(session: onnxruntime.InferenceSession) -> Run:
    """How to run a network in this session: features in, embeddings out, both in the host's memory."""
    if session.get_providers()[0] == CUDA:
        return Bound(session, "cuda")

    def run(features: NDArray[np.float32]) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = session.run([OUTPUT], {INPUT: features})[0]
        return embeddings

    return run


class Bound:
    """Runs a session whose input and output lie on its device, copied there and back once each.

    Batches are filled up to the next power of two, so that the device sees few shapes: each new one costs it a search
    for memory and for algorithms. Lengths are not filled up: the network reads backwards, too, and would hear it.
    """

    def __init__(self, session: onnxruntime.InferenceSession, device: str) -> None:
        """Args: device: "cuda", or "cpu" to do the same on a machine without."""
        self._session, self._device = session, device

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(segments, frames, bands) -> (segments, frames, bands, dim); at least one segment."""
        segments = len(features)
        missing = (1 << (segments - 1).bit_length()) - segments
        if missing:
            features = np.concatenate((features, np.zeros((missing, *features.shape[1:]), np.float32)))
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(INPUT, onnxruntime.OrtValue.ortvalue_from_numpy(features, self._device, 0))
        binding.bind_output(OUTPUT, self._device, 0)
        self._session.run_with_iobinding(binding)
        embeddings: NDArray[np.float32] = binding.get_outputs()[0].numpy()
        return embeddings[:segments]
