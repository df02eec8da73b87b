"""Measure what docs/quality.md says, and write its tables, pictures and examples to listen to anew.

Run as: python -m benchmarks.quality.page --data CORPUS [--model PATH] [--subset N] [--jobs N] [--page FILE]

Only what stands between the markers of the page is replaced.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks.quality.conditions import SEED, cases
from benchmarks.quality.listening import choose, write_examples
from benchmarks.quality.measuring import measure
from benchmarks.quality.pictures import pictures
from benchmarks.quality.tables import tables
from unmingle.model.clustering import counting
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.errors import UnmingleError
from unmingle.model.separator import Separator
from unmingle.model.threads import usable_cores
from unmingle.model.weights.bundled import bundled_model
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.workers import spread

PAGE = Path(__file__).resolve().parents[2] / "docs" / "quality.md"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write; returns the process's exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="corpus with the lists of the model card")
    parser.add_argument("--model", type=Path, default=bundled_model(), help="an ONNX file (default: the bundled one)")
    parser.add_argument("--subset", type=int, default=50, help="mixtures per condition (default: 50)")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes (default: one per core)")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to write into (default: docs/quality.md)")
    asked = parser.parse_args(argv)
    try:
        write(asked.data, asked.model, asked.subset, asked.jobs, asked.page)
    except UnmingleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def write(corpus: Path, model: Path, subset: int, jobs: int, page: Path) -> None:
    """Everything: measurements first, then the files, the page last.

    Raises:
        EvaluationError: a list or a recording is not usable.
        ModelError: the model is not.
    """
    empty = read(page)
    embedder = OnnxEmbedder(model, device="cpu", threads=1)
    wanted = cases(corpus, subset)
    measured = list(tqdm(spread(measure, wanted, model, jobs), total=len(wanted), unit="mixture", mininterval=10.0))
    parts = tables(measured)
    most = counting.counts_up_to(embedder.config.count_weights)
    parts["about"] = (
        f"Model `{embedder.config.name}`, {embedder.model_hash}. "
        + (f"It counts up to {most}. " if most else "")
        + f"{len(wanted)} separations: {3 * subset} pairs, and {subset} mixtures for every other line, drawn with the "
        f"seed {SEED} (`--subset {subset}`)."
    )
    parts["listening"] = write_examples(choose(measured), Separator(embedder), page.parent / "audio")
    images = page.parent / "images" / "quality"
    images.mkdir(parents=True, exist_ok=True)
    for name, content in pictures(measured).items():
        (images / name).write_bytes(content)
    partial = page.with_name(page.name + ".partial")
    partial.write_text(filled(empty, parts), encoding="utf-8")
    os.replace(partial, page)
    print(f"written: {page}, {images}, {page.parent / 'audio'}")


def read(page: Path) -> str:
    """The page as it is, before anything is measured.

    Raises:
        EvaluationError: it is not there.
    """
    try:
        return page.read_text(encoding="utf-8")
    except OSError as error:
        raise EvaluationError(
            f"The page {page} cannot be read ({error.strerror}); --page names docs/quality.md."
        ) from error


def filled(page: str, parts: Mapping[str, str]) -> str:
    """The page with each part between its markers, <!-- quality: NAME --> and <!-- end -->.

    Raises:
        EvaluationError: the page has no place for a part.
    """
    for name, text in parts.items():
        pattern = re.compile(rf"(<!-- quality: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        places = pattern.findall(page)
        if len(places) != 1:
            raise EvaluationError(
                f"The page has {len(places)} places for '{name}'; expected <!-- quality: {name} --> and "
                "<!-- end --> once."
            )
        begin, end = places[0]
        page = pattern.sub(lambda _: f"{begin}\n{text}\n\n{end}", page)  # noqa: B023  # called at once
    return page


if __name__ == "__main__":
    sys.exit(main())
