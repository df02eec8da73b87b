"""Trained refiner -> the ONNX file that serves: `python training/publish_refiner.py runs/refiner/refiner.pt ...`.

The file names the models whose embeddings it works with, by their hashes: after calibrating a model, publish again.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.network.export_refiner import export_refiner
from unmingle.training import command
from unmingle.training.errors import TrainingError
from unmingle.training.refining.run import load_weights, save_weights


def main(argv: Sequence[str] | None = None) -> int:
    """Write the refiner; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="training/publish_refiner.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("weights", type=Path, help="refiner.pt of a run")
    parser.add_argument("--name", required=True, help="what the refiner is called from now on")
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="ONNX files that it works with")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--checkpoint", type=Path, help="also write the weights, for the init of a later run")
    asked = parser.parse_args(argv)
    return command.run(lambda: _publish(asked))


def _publish(asked: argparse.Namespace) -> None:
    refiner = load_weights(asked.weights)
    refiner.config = dataclasses.replace(refiner.config, name=asked.name)
    trunks = []
    for path in asked.model:
        embedder = OnnxEmbedder(path, "cpu")
        if embedder.config.embedding_dim != refiner.config.embedding_dim:
            raise TrainingError(f"{path} has embeddings of another size than the refiner was trained on.")
        trunks.append(embedder.model_hash)
    export_refiner(refiner, asked.output, trunks)
    if asked.checkpoint:
        save_weights(asked.checkpoint, refiner)
    print(f"{asked.output}: {asked.output.stat().st_size / 1e6:.1f} MB, for {', '.join(trunks)}")


if __name__ == "__main__":
    sys.exit(main())
