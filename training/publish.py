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

from unmingle.model.errors import UnmingleError
from unmingle.model.network.export import export, export_float16, export_int8
from unmingle.model.network.trunk import make_network
from unmingle.training import checkpoint


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
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--int8", action="store_true", help="layers in 8 bits: a quarter of the size, fast on CPUs")
    precision.add_argument("--float16", action="store_true", help="layers in float16: half of the size, fast on GPUs")
    asked = parser.parse_args(argv)
    try:
        publish(asked)
    except UnmingleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def publish(asked: argparse.Namespace) -> None:
    """Mean weights -> network -> ONNX file."""
    files = [checkpoint.find(asked.runs_folder, run) for run in asked.runs]
    config = checkpoint.read_network_config(files[0])
    sharpness = config.mask_sharpness if asked.mask_sharpness is None else asked.mask_sharpness
    network = make_network(dataclasses.replace(config, name=asked.name, mask_sharpness=sharpness))
    checkpoint.load_mean_weights(files, network)
    if asked.checkpoint:
        asked.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save_network(asked.checkpoint, network)
    write = export_int8 if asked.int8 else export_float16 if asked.float16 else export
    write(network, asked.output)
    print(f"{asked.output}: {asked.output.stat().st_size / 1e6:.1f} MB, the mean of {len(files)} checkpoint(s)")


if __name__ == "__main__":
    sys.exit(main())
