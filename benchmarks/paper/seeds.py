"""Rows that were trained with several seeds: `python -m benchmarks.paper.seeds OUT OUT [OUT...]`.

Prints the mean over the folders of `benchmarks.paper.run`, and its standard error, for rows that all of them have.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.paper import experiment
from benchmarks.paper.run import NAMES
from unmingle.training import command
from unmingle.training.errors import TrainingError

COLUMNS = (("global", "all"), ("global", "same"), ("global", "different"), ("local", "all"), ("global", "sdr"))
"""Way of clustering and group of mixtures."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; returns the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="OUT")
    asked = parser.parse_args(argv)
    return command.run(lambda: print(table(asked.folders)))


def table(folders: Sequence[Path]) -> str:
    """Markdown.

    Raises:
        TrainingError: the folders differ in more than the seed, or have no row in common.
    """
    _check(folders)
    lines = []
    for name in NAMES:
        results = [result for folder in folders if (result := experiment.result_of(folder, name))]
        if len(results) < len(folders):
            continue
        for listed in results[0]["lists"]:
            cells = [_cell([result["lists"][listed] for result in results], *column) for column in COLUMNS]
            lines.append((listed, results[0]["title"], *cells))
    if not lines:
        raise TrainingError(
            f"No row is done in all of {', '.join(map(str, folders))}; expected folders of one command."
        )
    heading = ("list", f"row, {len(folders)} seeds", *(f"{way}, {group}" for way, group in COLUMNS))
    rows = [heading, ["---"] * len(heading), *sorted(lines, key=lambda line: line[0])]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _check(folders: Sequence[Path]) -> None:
    seeds, others = set(), set()
    for folder in folders:
        file = folder / experiment.SETTINGS
        if not file.is_file():
            raise TrainingError(f"{folder} is no folder of benchmarks.paper.run: it has no {experiment.SETTINGS}.")
        settings = json.loads(file.read_text())
        seeds.add(settings.pop("seed"))
        others.add(json.dumps(settings, sort_keys=True))
    if len(seeds) < len(folders) or len(others) > 1:
        raise TrainingError("The folders were not made with different seeds and otherwise the same options.")


def _cell(lists: Sequence[dict[str, dict[str, float]]], way: str, group: str) -> str:
    values = [figures[way][group] for figures in lists if group in figures.get(way, {})]
    if len(values) < len(lists):
        return ""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{np.mean(values):.1f} +- {error:.1f}"


if __name__ == "__main__":
    sys.exit(main())
