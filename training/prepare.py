"""A corpus as its owners distribute it -> shards to train on: `python training/prepare.py KIND SOURCE -o SHARDS`.

SHARDS/NAME gets the recordings of each split, decoded, with an index. Several corpora may be prepared into the same
SHARDS; `train.py --data SHARDS` then learns from all of them. With --lists, SOURCE is the recordings (LibriSpeech,
WSJ0) that the official lists of librimix or wsj0-mix name, and SHARDS/NAME/lists gets the test mixtures for
evaluate.py. A command that was stopped goes on where it was. It needs no torch. See training/README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from unmingle.training import command
from unmingle.training.corpora.listed import LISTED, write_lists
from unmingle.training.corpora.preparing import PROBLEMS, prepare
from unmingle.training.corpora.published import PUBLISHED, read_published
from unmingle.training.errors import TrainingError

_NAMED = 20
"""So many faulty files are listed one by one; all of them are in problems.txt."""


def main(argv: Sequence[str] | None = None) -> int:
    """Survey, decode, report; returns the process's exit code."""
    asked = _parse(argv)
    return command.run(lambda: _prepare(asked), "stopped; the same command goes on from here")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="training/prepare.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("kind", choices=PUBLISHED, metavar="KIND", help=", ".join(PUBLISHED))
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder as the corpus's owners distribute it")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="SHARDS", help="folder for prepared corpora")
    parser.add_argument("--name", help="of this corpus in SHARDS (default: KIND)")
    parser.add_argument("--sample-rate", type=int, default=16000, metavar="HZ", help="of the shards (default: 16000)")
    parser.add_argument("--lists", type=Path, metavar="FOLDER", help="official lists of librimix or wsj0-mix")
    parser.add_argument(
        "--length", choices=("min", "max"), default="min", help="of listed mixtures: cut or padded (default: min)"
    )
    parser.add_argument("--licence", help="of the recordings, to be kept with them (default: as the owners state it)")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="threads that decode (default: one per core)")
    return parser.parse_args(argv)


def _prepare(asked: argparse.Namespace) -> None:
    if asked.lists and asked.kind not in LISTED:
        raise TrainingError(f"--lists goes with {' and '.join(LISTED)}; {asked.kind} has no lists.")
    if not 1000 <= asked.sample_rate <= 192_000 or asked.jobs < 0:
        raise TrainingError("Expected a --sample-rate of 1000 to 192000 Hz, and --jobs of 0 or more.")
    folder = asked.out / (asked.name or asked.kind)
    mixtures = None
    if asked.lists:
        seen, mixtures = LISTED[asked.kind](asked.source, asked.lists)
    else:
        seen = read_published(asked.kind, asked.source)
    print(f"{asked.source} is {seen.layout}")
    for note in seen.left_out:
        print(f"  left out: {note}")
    licence = asked.licence or PUBLISHED[asked.kind].licence
    done = prepare(seen, asked.source, folder, licence, asked.sample_rate, asked.jobs)
    for name, group in done.manifest.groups.items():
        print(f"  {name}: {group.hours:.2f} hours, {group.recordings} recordings, {group.speakers} speakers or classes")
    for problem in done.problems[:_NAMED]:
        print(f"warning: {problem}", file=sys.stderr)
    if len(done.problems) > _NAMED:
        print(f"warning: {len(done.problems) - _NAMED} more in {folder / PROBLEMS}", file=sys.stderr)
    print(f"train with: python training/train.py --data {asked.out}")
    for file in write_lists(mixtures or {}, folder / "lists", asked.sample_rate, asked.length):
        print(f"test with: python training/evaluate.py --list {file}")


if __name__ == "__main__":
    sys.exit(main())
