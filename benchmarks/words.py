"""How many words are understood? `python -m benchmarks.words [--list LIST] [--limit N] [--json FILE]`

A recogniser hears each source alone, the mixture, and the stem of the source. The words of the source alone are the
reference, so that the recogniser's own mistakes do not count. Word accuracy is 1 less the word error rate, and at
least 0. The recogniser is Whisper tiny.en, so sources must be in English. Lists have the format of
training/evaluate.py. Needs the `benchmarks` extra.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as for the command and the server, see service/cli/command.py

import numpy as np
from tqdm import tqdm

from benchmarks.measuring import ROOT, Row, positive, report
from unmingle.model.errors import UnmingleError
from unmingle.model.options import SeparationOptions
from unmingle.model.separator import Separator
from unmingle.model.threads import usable_cores
from unmingle.training.evaluation.asking import SEED
from unmingle.training.evaluation.measures import assign, heard
from unmingle.training.evaluation.mixture_list import ListedMixture, load_sources, read_list
from unmingle.training.evaluation.recogniser import Recogniser, word_accuracy
from unmingle.training.evaluation.scoring import HowMany, wanted


@dataclasses.dataclass(frozen=True)
class Understood:
    """What a recogniser made of one source.

    Attributes:
        mixture: name of its mixture.
        pairing: genders of the sources of the mixture.
        words: how many it has.
        before, after: word accuracy in the mixture and in the stem, 0 to 1.
    """

    mixture: str
    pairing: str
    words: int
    before: float
    after: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table and write it as JSON; returns the process's exit code."""
    asked = _parse(argv)
    try:
        listed = read_list(asked.list, asked.limit)
        recogniser = Recogniser(usable_cores())
        separator = Separator.load(asked.model, "cpu")
        understood = [
            source
            for mixture in tqdm(listed, unit="mixture", disable=None)
            for source in understand(mixture, separator, recogniser, asked.num_sources)
        ]
    except UnmingleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    about = {
        "model": separator.embedder.config.name,
        "list": asked.list.name,
        "num_sources": asked.num_sources,
        "recogniser": f"Whisper tiny.en, faster-whisper {version('faster-whisper')}",
    }
    tables = {"Word accuracy by kind of mixture": _by_pairing(understood)}
    if len(listed) <= 10:
        tables["Each source"] = [_row(source.mixture, [source]) for source in understood]
    report("Words understood", about, tables, asked.json)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, default=ROOT / "examples" / "list.csv", help="default: examples/list.csv")
    parser.add_argument(
        "--limit", type=positive, default=40, metavar="N", help="only the first N mixtures (default: 40)"
    )
    parser.add_argument("--model", type=Path, help="an ONNX file (default: the bundled one)")
    parser.add_argument("--num-sources", choices=("true", "auto"), default="true", help="given, or found by the model")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser.parse_args(argv)


def understand(
    listed: ListedMixture, separator: Separator, recogniser: Recogniser, how_many: HowMany
) -> list[Understood]:
    """Separate a mixture and recognise what is said; sources that are not speech, or without a word, are left out.

    A source without a stem is looked for in the mixture, as nothing was gained for it.
    """
    sources, rate = load_sources(listed)
    mixture = sources.sum(0)
    stems = separator.separate(
        mixture, rate, options=SeparationOptions(wanted(how_many, len(sources)), seed=SEED)
    ).stems
    own = heard(stems, assign(stems, sources), mixture)
    before = recogniser.words(mixture, rate)
    found = []
    for part, source, stem in zip(listed.parts, sources, own, strict=True):
        if part.is_speech and (reference := recogniser.words(source, rate)):
            after = word_accuracy(reference, recogniser.words(stem, rate))
            found.append(Understood(listed.id, listed.pairing, len(reference), word_accuracy(reference, before), after))
    return found


def _by_pairing(understood: Sequence[Understood]) -> list[Row]:
    kinds = sorted({source.pairing for source in understood})
    return [
        _row("all", understood),
        *(_row(kind, [source for source in understood if source.pairing == kind]) for kind in kinds),
    ]


def _row(name: str, sources: Sequence[Understood]) -> Row:
    """Means over sources, each of which counts the same."""
    before, after = (
        100.0 * float(np.mean([getattr(source, way) for source in sources])) if sources else float("nan")
        for way in ("before", "after")
    )
    return {
        "mixtures": name,
        "sources": len(sources),
        "words": sum(source.words for source in sources),
        "in the mixture %": round(before, 1),
        "in the stem %": round(after, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
