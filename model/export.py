"""Trained network -> self-describing ONNX file (torch). Serving reads what this writes."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from model.embedder import CONFIG_KEY, INPUT, OUTPUT
from model.network import EmbeddingNet

OPSET = 17


def export(network: EmbeddingNet, path: Path) -> None:
    """Write `network` as ONNX with its ModelConfig in the metadata; segments and frames stay free.

    The file appears whole or not at all.
    """
    config = network.config
    example = torch.zeros(2, 4 * config.frames_per_step, config.bands)
    training = network.training
    network.eval()
    temporary = path.with_suffix(".onnx.partial")
    with warnings.catch_warnings():
        # The exporter by tracing is the one that keeps LSTMs as single nodes, which is what makes them fast.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(temporary),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "segments", 1: "frames"}, OUTPUT: {0: "segments", 1: "frames"}},
            opset_version=OPSET,
            dynamo=False,
        )
    network.train(training)
    describe(temporary, config.to_json())
    os.replace(temporary, path)


def quantise(source: Path, path: Path) -> None:
    """Write the model `source` with its weights in 8 bits, per output; activations are quantised as it runs.

    The file appears whole or not at all.
    """
    temporary = path.with_suffix(".onnx.partial")
    described = next(p.value for p in onnx.load(str(source)).metadata_props if p.key == CONFIG_KEY)
    quantize_dynamic(str(source), str(temporary), per_channel=True, weight_type=QuantType.QInt8)
    describe(temporary, described)
    os.replace(temporary, path)


def describe(path: Path, config_json: str) -> None:
    """Put a ModelConfig into the metadata of an ONNX file, in place."""
    graph = onnx.load(str(path))
    del graph.metadata_props[:]
    entry = graph.metadata_props.add()
    entry.key, entry.value = CONFIG_KEY, config_json
    graph.producer_name = "unmingle"
    onnx.save(graph, str(path))
