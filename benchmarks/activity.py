"""Who is heard when, where all talk at once? `python -m benchmarks.activity [--list LIST] [--limit N] [--json FILE]`

A source is heard, in frames of 32 ms, where it is no more than 30 dB below its own loud moments. The separator, given
the number of sources, says when each stem is heard. Precision, recall and their harmonic mean, F1, of a mixture are
over all frames of all its sources. Lists have the format of training/evaluate.py. People who take turns are for
benchmarks/talk.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as for the command and the server, see service/cli/command.py

import numpy as np
from tqdm import tqdm

from benchmarks.frames import frames_of, heard_frames
from benchmarks.measuring import ROOT, Row, positive, report
from unmingle.model.errors import UnmingleError
from unmingle.model.separator import Separator
from unmingle.training.evaluation.asking import options
from unmingle.training.evaluation.measures import assign
from unmingle.training.evaluation.mixture_list import ListedMixture, load_mixture, read_list

FRAME_S = 0.032
HEARD_DB = -30.0


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found in one mixture.

    Attributes:
        pairing: genders of its sources, or "sounds".
        both: frames in which a source is heard and its stem is said to be.
        true, said: frames of the one, and of the other.
    """

    pairing: str
    both: int
    true: int
    said: int

    @property
    def precision(self) -> float:
        """0 to 1; 1 where nothing was said."""
        return self.both / self.said if self.said else 1.0

    @property
    def recall(self) -> float:
        """0 to 1; 1 where nothing is heard."""
        return self.both / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        """0 to 1; 1 where nothing is heard and nothing was said."""
        return 2.0 * self.both / (self.true + self.said) if self.true + self.said else 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table and write it as JSON; returns the process's exit code."""
    asked = _parse(argv)
    try:
        listed = read_list(asked.list, asked.limit)
        separator = Separator.load(asked.model, "cpu")
        found = [look(mixture, separator) for mixture in tqdm(listed, unit="mixture", disable=None)]
    except UnmingleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    about = {"model": separator.embedder.config.name, "list": asked.list.name, "num_sources": "given"}
    report("Who is heard when", about, {"By kind of mixture": _rows(found)}, asked.json)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, default=ROOT / "examples" / "list.csv", help="default: examples/list.csv")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N mixtures")
    parser.add_argument("--model", type=Path, help="an ONNX file (default: the bundled one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser.parse_args(argv)


def look(listed: ListedMixture, separator: Separator) -> Found:
    """Separate a mixture, and compare what is said of its stems with the sources.

    Raises:
        EvaluationError: a recording is not usable.
    """
    mixture, sources, rate = load_mixture(listed)
    separated = separator.separate(mixture, rate, options=options(separator, len(sources)))
    stem_of = assign(separated.stems, sources, mixture)
    true = heard_frames(sources, rate, FRAME_S, HEARD_DB)
    said = np.stack([frames_of(separated.reports[k].active, true.shape[1], FRAME_S) for k in stem_of])
    return Found(listed.pairing, int((true & said).sum()), int(true.sum()), int(said.sum()))


def _rows(found: Sequence[Found]) -> list[Row]:
    kinds = sorted({mixture.pairing for mixture in found})
    return [_row("all", found), *(_row(kind, [m for m in found if m.pairing == kind]) for kind in kinds)]


def _row(name: str, found: Sequence[Found]) -> Row:
    """Means over mixtures."""
    means = {key: float(np.mean([getattr(m, key) for m in found])) for key in ("f1", "precision", "recall")}
    return {"mixtures": name, "number": len(found), **{key: round(value, 3) for key, value in means.items()}}


if __name__ == "__main__":
    sys.exit(main())
