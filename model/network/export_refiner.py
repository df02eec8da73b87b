"""Trained refiner -> self-describing ONNX file (torch). Serving reads what this writes."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from unmingle.model.network.export import OPSET, appearing
from unmingle.model.network.refiner import Refiner
from unmingle.model.refining.refiner import CONFIG_KEY, INPUTS, OUTPUT, TRUNKS_KEY

_LARGE = 256
"""Numbers; smaller weights are not worth the trouble."""


def export_refiner(refiner: Refiner, path: Path, trunks: Sequence[str]) -> None:
    """Write `refiner` as ONNX, for one segment at a time; frames and sources stay free.

    It computes in float32, from weights that are kept in float16: half of the size.

    The file appears whole or not at all.

    Args:
        trunks: hashes of the model files whose embeddings it works with.
    """
    c = refiner.config
    frames, sources = 4 * c.frames_per_step, 2
    example = (
        torch.zeros(frames, c.bands),
        torch.zeros(frames, c.bands),
        torch.full((sources, frames, c.bands), 1.0 / sources),
        torch.zeros(sources, c.embedding_dim),
    )
    free = {name: {0: "frames"} for name in INPUTS[:2]}
    free |= {name: {0: "sources", 1: "frames"} for name in ("shares", OUTPUT)} | {"centroids": {0: "sources"}}
    with appearing(path) as temporary, warnings.catch_warnings():
        # The exporter by tracing is the one that keeps LSTMs as single nodes, which is what makes them fast.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _OneSegment(copy.deepcopy(refiner)).eval(),
            example,
            str(temporary),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
        graph = onnx.load(str(temporary))
        _halve(graph)
        for key, value in ((CONFIG_KEY, c.to_json()), (TRUNKS_KEY, json.dumps(list(trunks)))):
            entry = graph.metadata_props.add()
            entry.key, entry.value = key, value
        graph.producer_name = "unmingle"
        onnx.save(graph, str(temporary))


def _halve(graph: onnx.ModelProto) -> None:
    """Keep large weights in float16; sessions make them float32 when they open the file."""
    nodes = []
    for weight in graph.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < _LARGE:
            continue
        name = weight.name
        half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), f"{name}.half")
        weight.CopyFrom(half)
        nodes.append(onnx.helper.make_node("Cast", [half.name], [name], to=onnx.TensorProto.FLOAT))
    for node in reversed(nodes):
        graph.graph.node.insert(0, node)


class _OneSegment(nn.Module):
    """A refiner without the axis of items."""

    def __init__(self, refiner: Refiner) -> None:
        super().__init__()
        self.refiner = refiner

    def forward(self, *inputs: Tensor) -> Tensor:
        refined: Tensor = self.refiner(*(x.unsqueeze(0) for x in inputs))
        return refined.squeeze(0)
