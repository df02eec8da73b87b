"""Trained network -> self-describing ONNX file (torch). Serving reads what this writes."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import CONFIG_KEY, PRECISION_KEY, Precision
from unmingle.model.embedding.onnx_session import INPUT, OUTPUT
from unmingle.model.network.anchored import anchored
from unmingle.model.network.trunk import DualPathNet, EmbeddingNet, make_network

OPSET = 17

IN_FLOATS = ["/split/MatMul", "/head/MatMul"]
"""Of a dual_path network, what has weights for every patch: ONNX Runtime has no 8-bit product for those."""


def export(network: EmbeddingNet, path: Path) -> None:
    """Write `network` as ONNX in float32 with its ModelConfig in the metadata; segments and frames stay free.

    The file appears whole or not at all.
    """
    training = network.training
    network.eval()
    with appearing(path) as temporary:
        _trace(network, network.config, temporary)
        describe(temporary, network.config.to_json(), "float32")
    network.train(training)


def export_int8(network: EmbeddingNet, path: Path) -> None:
    """Write `network` with weights and activations in 8 bits, for CPUs. What is embedded together does not matter.

    The file appears whole or not at all.
    """
    with appearing(path) as temporary, tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        _trace(anchored(network), network.config, whole)
        quantise(whole, temporary, ["LSTM", "MatMul"], IN_FLOATS if isinstance(network, DualPathNet) else [])
        describe(temporary, network.config.to_json(), "int8")


def quantise(whole: Path, target: Path, kinds: Sequence[str], in_floats: Sequence[str] = ()) -> None:
    """Write an ONNX file in float32 with the operations of some kinds in 8 bits, but for those named in `in_floats`.

    Weights have a scale per output, and take 7 of the 8 bits: processors without VNNI add products of 8 and 8 bits in
    pairs, in 16 bits, and what does not fit is cut off. With the eighth bit that happens often enough to cost quality,
    and differently so on one machine than on another.
    """
    logging.getLogger().addFilter(_not_preprocessed)
    try:
        quantize_dynamic(
            whole,
            target,
            op_types_to_quantize=list(kinds),
            nodes_to_exclude=list(in_floats),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.getLogger().removeFilter(_not_preprocessed)


def export_float16(network: EmbeddingNet, path: Path) -> None:
    """Write `network` with its layers in float16, for GPUs. Features and embeddings stay float32.

    The file appears whole or not at all.
    """
    with appearing(path) as temporary:
        _trace(_halved(network), network.config, temporary)
        describe(temporary, network.config.to_json(), "float16")


def redescribe(path: Path, config_json: str, more: Mapping[str, str] | None = None) -> None:
    """Put another ModelConfig, and further entries, into the metadata of a model file, which changes whole or not."""
    with appearing(path) as temporary:
        shutil.copyfile(path, temporary)
        describe(temporary, config_json, more=more)


def describe(
    path: Path, config_json: str, precision: Precision | None = None, more: Mapping[str, str] | None = None
) -> None:
    """Put a ModelConfig into the metadata of an ONNX file, in place; without a precision, that of the file stays."""
    graph = onnx.load(str(path))
    described = {entry.key: entry.value for entry in graph.metadata_props if entry.key == PRECISION_KEY}
    described |= {CONFIG_KEY: config_json} | ({PRECISION_KEY: precision} if precision else {}) | dict(more or {})
    del graph.metadata_props[:]
    for key, value in sorted(described.items()):
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    graph.producer_name = "unmingle"
    onnx.save(graph, str(path))


def _halved(network: EmbeddingNet) -> EmbeddingNet:
    """The same network, computing in float16 between standardised features and embeddings."""
    half = make_network(network.config)
    half.load_state_dict(network.state_dict())
    half.half()
    half.mean, half.deviation = network.mean, network.deviation
    return half.eval()


def _trace(network: nn.Module, config: ModelConfig, path: Path) -> None:
    example = torch.zeros(2, 4 * config.frames_per_step, config.bands)
    with warnings.catch_warnings():
        # The exporter by tracing is the one that keeps LSTMs as single nodes, which is what makes them fast.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "segments", 1: "frames"}, OUTPUT: {0: "segments", 1: "frames"}},
            opset_version=OPSET,
            dynamo=False,
        )


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A file beside `path` that becomes it at the end, and is gone after a failure."""
    temporary = path.with_suffix(".onnx.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _not_preprocessed(record: logging.LogRecord) -> bool:
    """Whether to log: not the quantiser's advice on pre-processing, which is for convolutions."""
    return "pre-processing before quantization" not in record.getMessage()
