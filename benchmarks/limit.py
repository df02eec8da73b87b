"""How close is the network to what this machine can do? `python -m benchmarks.limit [--out FILE]`

Counts the network's multiply-adds per second of audio, measures how fast ONNX Runtime multiplies large matrices here at
the same precision and on the same threads, in turn with the network, and divides: no implementation of this network
takes less than that floor. Needs the package `onnx`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as for the command and the server, see service/cli/command.py

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from benchmarks.measuring import in_turn, machine, median_ratio, report
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.signal.segments import SegmentLayout
from unmingle.model.threads import usable_cores
from unmingle.model.weights.bundled import bundled_model

ROWS, INNER, COLUMNS = 1024, 1024, 4096
"""Of the matrices: large enough for the full rate, small enough for a cache."""


def main() -> None:
    """Print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=bundled_model(), help="an ONNX file (default: the bundled one)")
    parser.add_argument("--float32", type=Path, help="the same model in float32, to be measured beside it")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, usable_cores()}))
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    about = machine()
    rows = []
    for path in (asked.model, asked.float32):
        for threads in asked.threads if path else ():
            rows.append(measure(path, threads, asked.rounds))
    report("Limit", about, {"The network and its floor": rows}, asked.out)


def measure(path: Path, threads: int, rounds: int) -> dict[str, object]:
    """One row: a model with a segment for every thread, beside matrix products of its precision."""
    embedder = OnnxEmbedder(path, "cpu", threads)
    precision = embedder.precision
    config, frames = embedder.config, SegmentLayout().frames
    heard = np.random.default_rng(0).normal(-2.0, 1.5, (threads, frames, config.bands)).astype(np.float32)
    product = matrix_product(precision, threads)
    calls = {"embed": timed(lambda: embedder.embed(heard)), "product": timed(product)}
    found = in_turn(calls, rounds)
    audio_s = threads * frames * config.hop / config.sample_rate
    per_s = multiply_adds_per_s(config)
    floors = [t / (ROWS * INNER * COLUMNS) * per_s * audio_s for t in found["product"]]
    rate = ROWS * INNER * COLUMNS / median(found["product"])
    return {
        "precision": precision,
        "threads": threads,
        "multiply-adds per s of audio (10^6)": per_s / 1e6,
        "GEMM rate (10^9/s)": rate / 1e9,
        "floor (RTF)": per_s / rate,
        "embedding (RTF)": median(found["embed"]) / audio_s,
        "times the floor": median_ratio(found["embed"], floors),
    }


def multiply_adds_per_s(config: ModelConfig) -> float:
    """Those of all matrix products of the network, for one second of audio."""
    per_step = _per_step_of_dual_path(config) if config.trunk == "dual_path" else _per_step_of_blstm(config)
    return per_step * config.sample_rate / config.hop / config.frames_per_step


def _per_step_of_blstm(config: ModelConfig) -> int:
    width, hidden = config.bands * config.frames_per_step, config.hidden
    inputs = [width, *[2 * hidden] * (config.layers - 1)]
    lstm = sum(2 * 4 * hidden * (read + hidden) for read in inputs)
    return lstm + 2 * hidden * width * config.embedding_dim


def _per_step_of_dual_path(config: ModelConfig) -> int:
    size = config.patch_bands * config.frames_per_step
    lstm = 2 * 4 * config.hidden * (config.channels + config.hidden)
    across = lstm + 2 * config.hidden * config.channels
    ends = size * config.channels * (1 + config.embedding_dim)
    return config.patches * (2 * config.layers * across + ends)


def matrix_product(precision: str, threads: int) -> Callable[[], object]:
    """A product of large matrices in ONNX Runtime, the right one constant, as weights are."""
    rng = np.random.default_rng(0)
    if precision == "int8":
        left, kind = rng.integers(0, 255, (ROWS, INNER), np.uint8), TensorProto.UINT8
        right = rng.integers(-64, 64, (INNER, COLUMNS), np.int8)
        operator, result = "MatMulInteger", TensorProto.INT32
    else:
        left, kind = rng.standard_normal((ROWS, INNER)).astype(np.float32), TensorProto.FLOAT
        right = rng.standard_normal((INNER, COLUMNS)).astype(np.float32)
        operator, result = "MatMul", TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", kind, [ROWS, INNER])],
        [helper.make_tensor_value_info("product", result, [ROWS, COLUMNS])],
        [onnx.numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"left": left})


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """The call's wall seconds."""

    def run() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return run


if __name__ == "__main__":
    main()
