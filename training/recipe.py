"""Train a whole model from a recipe: `python training/recipe.py training/recipes/unmingle-6.toml --data CORPUS`.

A recipe lists stages, which run in order: `trunk` (a run of training/train.py), `mean` (of the weights of runs) and
`refiner` (training/refining/). Started again, it goes on where it stopped. See training/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unmingle.model.network.trunk import make_network
from unmingle.training import checkpoint, command, train
from unmingle.training.errors import TrainingError
from unmingle.training.refining import run as refining
from unmingle.training.refining.refine_config import RefineConfig

SHIPPED = Path(__file__).resolve().parent / "weights"
KINDS = ("trunk", "mean", "refiner")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a recipe.

    Attributes:
        kind: of KINDS.
        name: of its run, which later stages may begin from.
        of: of a mean: runs or checkpoints, each as often as it counts.
        options: of a trunk, those of training/train.py; of a refiner, fields of RefineConfig.
    """

    kind: str
    name: str
    of: tuple[str, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def read(path: Path) -> list[Stage]:
    """The stages of a recipe.

    Raises:
        TrainingError: it cannot be read, or is no recipe.
    """
    try:
        stages = [
            Stage(**{**fields, "of": tuple(fields.get("of", ()))})
            for fields in tomllib.loads(path.read_text())["stage"]
        ]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} is no recipe: {error!r}; expected [[stage]] tables, see training/recipes."
        ) from error
    for stage in stages:
        if stage.kind not in KINDS:
            raise TrainingError(f"Stage {stage.name} of {path} is of kind {stage.kind!r}; expected {', '.join(KINDS)}.")
    return stages


def cook(stages: Sequence[Stage], data: str, runs: Path) -> None:
    """Run all stages that are not done.

    Raises:
        TrainingError: one of them cannot be run.
    """
    for stage in stages:
        print(f"--- {stage.kind} {stage.name}", flush=True)
        _RUN[stage.kind](stage, data, runs)


def trunk_arguments(stage: Stage, data: str, runs: Path) -> list[str]:
    """The command line of training/train.py."""
    if (runs / stage.name / checkpoint.LATEST).is_file():
        return ["--runs", str(runs), "--resume", stage.name]
    given = {"name": stage.name, "data": data, "runs": str(runs), **stage.options}
    if "init" in given:
        given["init"] = ",".join(str(found(runs, part)) for part in str(given["init"]).split(","))
    return [f"--{key.replace('_', '-')}={_text(value)}" for key, value in given.items()]


def refiner_config(stage: Stage, data: str, runs: Path) -> RefineConfig:
    """The configuration of a refiner's run."""
    options = {**stage.options, "data": data}
    for name in ("trunk", "listener"):
        if name in options:
            options[name] = str(found(runs, options[name]))
    if "init" in options:
        options["init"] = str(runs / options["init"] / refining.WEIGHTS)
    return RefineConfig.from_fields(options)


def found(runs: Path, name: str) -> Path:
    """The checkpoint of an earlier stage, or the one of this name that comes with the project."""
    shipped = SHIPPED / f"{name}.pt"
    if not (runs / name).exists() and shipped.is_file():
        return shipped
    return checkpoint.find(runs, name)


def _trunk(stage: Stage, data: str, runs: Path) -> None:
    if train.main(trunk_arguments(stage, data, runs)):
        raise TrainingError(f"Stage {stage.name} did not come to its end; start the recipe again to go on.")


def _mean(stage: Stage, data: str, runs: Path) -> None:
    folder = runs / stage.name
    if (folder / checkpoint.BEST).is_file():
        return
    files = [found(runs, name) for name in stage.of]
    network = make_network(dataclasses.replace(checkpoint.read_network_config(files[0]), name=stage.name))
    checkpoint.load_mean_weights(files, network)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save_network(folder / checkpoint.BEST, network)


def _refiner(stage: Stage, data: str, runs: Path) -> None:
    folder = runs / stage.name
    resume = (folder / refining.CHECKPOINT).is_file()
    written = refining.train(folder, refiner_config(stage, data, runs), resume)
    print(f"weights: {written}")


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


_RUN = {"trunk": _trunk, "mean": _mean, "refiner": _refiner}


def main(argv: Sequence[str] | None = None) -> int:
    """Read the recipe and run it; returns the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="training/recipe.py", description="Train a whole model from a recipe.", allow_abbrev=False
    )
    parser.add_argument("recipe", type=Path, help="a file of training/recipes")
    parser.add_argument("--data", required=True, metavar="CORPUS", help="as of training/train.py")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the runs of all stages")
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="these stages only")
    asked = parser.parse_args(argv)
    return command.run(lambda: _run(asked))


def _run(asked: argparse.Namespace) -> None:
    stages = read(asked.recipe)
    unknown = set(asked.only or ()) - {stage.name for stage in stages}
    if unknown:
        raise TrainingError(f"{asked.recipe} has no stage {', '.join(sorted(unknown))}.")
    cook([stage for stage in stages if not asked.only or stage.name in asked.only], asked.data, asked.runs)


if __name__ == "__main__":
    sys.exit(main())
