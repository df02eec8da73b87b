"""Runs -> the model that is shipped: `python training/publish.py RUN... --name NAME -o FILE [--int8 | --float16]`.

Of several runs that began from the same weights, it takes the mean of their weights (Wortsman et al., "Model soups",
2022): runs with different seeds can then learn on different cores, or machines, without a word between them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from unmingle.model.clustering import counting
from unmingle.model.config import TAUGHT_LATER, ModelConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.network.export import export, export_float16, export_int8, redescribe
from unmingle.model.network.trunk import make_network
from unmingle.training import calibrate, checkpoint, command
from unmingle.training.errors import TrainingError

COUNTING_OF_KEY = "unmingle.counting_of"
"""In the metadata of a model that counts as another one was taught to: the name of that one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the model; returns the process's exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="runs, by name or folder, or checkpoints")
    parser.add_argument("--runs-folder", type=Path, default=Path("runs"), help="folder of all runs (default: runs)")
    parser.add_argument("--name", required=True, help="what the model is called from now on")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--checkpoint", type=Path, help="also write the mean weights, for --init of a later run")
    parser.add_argument("--mask-sharpness", type=float, help="chosen on validation mixtures (default: as trained)")
    parser.add_argument("--calibrate", type=Path, metavar="CORPUS", help="teach it to count and to tell speech")
    parser.add_argument("--mixtures", type=int, default=240, help="of each number of sources, to count (default 240)")
    parser.add_argument(
        "--conversations",
        type=int,
        default=calibrate.CONVERSATIONS,
        help=f"to learn from when somebody speaks (default {calibrate.CONVERSATIONS})",
    )
    parser.add_argument(
        "--keep-counting",
        type=Path,
        metavar="MODEL",
        help="ONNX file of the model that this one was fine-tuned from: it counts as that one does, marked so, unless "
        f"the corpus of --calibrate has {calibrate.ENOUGH_SPEAKERS} or more speakers for validation",
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--int8", action="store_true", help="layers in 8 bits: a quarter of the size, fast on CPUs")
    precision.add_argument("--float16", action="store_true", help="layers in float16: half of the size, fast on GPUs")
    asked = parser.parse_args(argv)
    return command.run(lambda: publish(asked))


def publish(asked: argparse.Namespace) -> None:
    """Mean weights -> network -> ONNX file."""
    files = [checkpoint.find(asked.runs_folder, run) for run in asked.runs]
    # Mistakes are told before anything is written.
    people = calibrate.speakers(asked.calibrate) if asked.calibrate else 0
    kept = _counting_of(asked.keep_counting) if asked.keep_counting else None
    try:
        asked.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{asked.output.parent} cannot be written to ({error.strerror}).") from error
    config = checkpoint.read_network_config(files[0])
    sharpness = config.mask_sharpness if asked.mask_sharpness is None else asked.mask_sharpness
    network = make_network(dataclasses.replace(config, name=asked.name, mask_sharpness=sharpness))
    checkpoint.load_mean_weights(files, network)
    if asked.checkpoint:
        asked.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save_network(asked.checkpoint, network)
    write = export_int8 if asked.int8 else export_float16 if asked.float16 else export
    write(network, asked.output)
    if kept and people < calibrate.ENOUGH_SPEAKERS:
        _count_as(asked.output, kept)
        why = f"the corpus has only {people} speakers for validation" if asked.calibrate else "no --calibrate was given"
        print(f"it counts as {kept.name} was taught to ({why}), which may not be right for it")
    elif asked.calibrate:
        calibrate.calibrate(asked.output, asked.calibrate, asked.mixtures, asked.conversations)
    print(f"{asked.output}: {asked.output.stat().st_size / 1e6:.1f} MB, the mean of {len(files)} checkpoint(s)")


def _counting_of(model: Path) -> ModelConfig:
    """That of a model file."""
    config = OnnxEmbedder(model, "cpu").config
    if not counting.counts_up_to(config.count_weights):
        raise TrainingError(f"--keep-counting: {model} was not taught to count; give --calibrate CORPUS instead.")
    return config


def _count_as(output: Path, other: ModelConfig) -> None:
    """Give a model file what another model was taught, and say in its metadata whose that is."""
    taught = {name: getattr(other, name) for name in TAUGHT_LATER}
    config = dataclasses.replace(OnnxEmbedder(output, "cpu").config, **taught)
    redescribe(output, config.to_json(), {COUNTING_OF_KEY: other.name})


if __name__ == "__main__":
    sys.exit(main())
