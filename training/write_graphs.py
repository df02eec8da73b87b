"""The small graphs that run on the device of a network's embeddings: `python training/write_graphs.py [FOLDER]`.

They are part of the package (model/graphs), because serving has no `onnx`; model.device_graphs runs them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from unmingle.model.embedding.device_graphs import (
    CENTROIDS,
    CHOSEN,
    EMBEDDINGS,
    FOLDER,
    MASKS,
    POINTS,
    SCORES,
    SIMILARITY,
    WEIGHTS,
)

OPSET, IR_VERSION = 17, 8
"""Old enough for every ONNX Runtime that pyproject.toml admits."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write them; returns the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where to (default: model/graphs)")
    write(parser.parse_args(argv).folder)
    return 0


def write(folder: Path) -> None:
    """Write all graphs into a folder."""
    for name, graph in (("gather.onnx", gather()), ("masks.onnx", masks()), ("blocks.onnx", blocks())):
        onnx.checker.check_model(graph, full_check=True)
        (folder / name).write_bytes(graph.SerializeToString(deterministic=True))


def gather() -> onnx.ModelProto:
    """The embeddings of chosen bins."""
    return _model(
        "gather",
        [helper.make_node("Gather", [EMBEDDINGS, CHOSEN], [POINTS], axis=0)],
        [_embeddings(), helper.make_tensor_value_info(CHOSEN, TensorProto.INT64, ["points"])],
        [helper.make_tensor_value_info(POINTS, TensorProto.FLOAT, ["points", "dim"])],
    )


def masks() -> onnx.ModelProto:
    """Cosines of all bins with the centroids, and their softmax over sources.

    Softmax goes along the last axis, as devices like it; what leaves the device has the sources first, as all masks do.
    """
    return _model(
        "masks",
        [
            helper.make_node("MatMul", [EMBEDDINGS, CENTROIDS], ["by_bin"]),
            helper.make_node("Softmax", ["by_bin"], ["shares"], axis=-1),
            helper.make_node("Transpose", ["shares"], [MASKS], perm=[1, 0]),
            helper.make_node("Transpose", ["by_bin"], [SIMILARITY], perm=[1, 0]),
        ],
        [_embeddings(), helper.make_tensor_value_info(CENTROIDS, TensorProto.FLOAT, ["dim", "sources"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["sources", "bins"]) for name in (SIMILARITY, MASKS)],
    )


def blocks() -> onnx.ModelProto:
    """Products of the means over frames with weights."""
    return _model(
        "blocks",
        [
            helper.make_node("ReduceMean", [EMBEDDINGS], ["means"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["means", WEIGHTS], [SCORES]),
        ],
        [
            helper.make_tensor_value_info(EMBEDDINGS, TensorProto.FLOAT, ["blocks", "frames", "numbers"]),
            helper.make_tensor_value_info(WEIGHTS, TensorProto.FLOAT, ["numbers", "columns"]),
        ],
        [helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, ["blocks", "columns"])],
    )


def _embeddings() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(EMBEDDINGS, TensorProto.FLOAT, ["bins", "dim"])


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    return helper.make_model(
        helper.make_graph(nodes, name, inputs, outputs),
        producer_name="unmingle",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


if __name__ == "__main__":
    sys.exit(main())
