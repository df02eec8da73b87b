"""What an evaluation under conditions found: a line per condition, as Markdown, JSON and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmingle.training.evaluation.case_scoring import ScoredCase
from unmingle.training.evaluation.markdown import lined_up, number, spread
from unmingle.training.evaluation.report import Subject, plain
from unmingle.training.evaluation.summary import Spread

_READING = """\
SI-SDR improvements over the mixture are *mean / median / mean of the worst tenth*, with the number of sources *given*
and *counted* by the model. The background is no source and is not counted. A source for which there is no stem is
measured on the mixture itself. *Quietest*: the source of each mixture with the least energy, given the number."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        condition: its title.
        mixtures: how many.
        given, counted: SI-SDR improvement in dB; each mixture counts once, with the mean over its sources.
        counted_right: part of the mixtures whose count is right; nan if the model cannot count.
        quietest_before_db, quietest_db: mean SI-SDR of the quietest source in the mixture and, given the number, in its
            stem.
    """

    condition: str
    mixtures: int
    given: Spread
    counted: Spread
    counted_right: float
    quietest_before_db: float
    quietest_db: float


def rows(scored: Sequence[ScoredCase]) -> list[Row]:
    """A line per condition, in the order in which they come."""
    groups: dict[str, list[ScoredCase]] = {}
    for item in scored:
        groups.setdefault(item.case.condition.title, []).append(item)
    return [_row(title, group) for title, group in groups.items()]


def _row(title: str, group: Sequence[ScoredCase]) -> Row:
    right = [float(item.found == len(item.before_db)) for item in group if item.found is not None]
    return Row(
        title,
        len(group),
        Spread.of(np.array([_mean(item.given_db - item.before_db) for item in group])),
        Spread.of(np.array([_mean(item.counted_db - item.before_db) for item in group])),
        float(np.mean(right)) if right else math.nan,
        _mean(np.array([item.before_db[item.quietest] for item in group])),
        _mean(np.array([item.given_db[item.quietest] for item in group])),
    )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def to_markdown(subject: Subject, table: Sequence[Row]) -> str:
    """The table to read."""
    heading = (
        "condition",
        "mixtures",
        "SI-SDRi dB, given",
        "SI-SDRi dB, counted",
        "counted right",
        "quietest: SI-SDR dB before",
        "after",
    )
    lines = [
        [
            row.condition,
            str(row.mixtures),
            spread(row.given, "si_sdr_db"),
            spread(row.counted, "si_sdr_db"),
            "-" if math.isnan(row.counted_right) else f"{row.counted_right:.0%}",
            number(row.quietest_before_db, "si_sdr_db"),
            number(row.quietest_db, "si_sdr_db"),
        ]
        for row in table
    ]
    versions = ", ".join(f"{name} {version}" for name, version in subject.versions.items())
    sections = (
        f"# {subject.model} on {subject.list} under conditions",
        f"{subject.mixtures} mixtures, model {subject.model_hash}.",
        lined_up(heading, lines),
        _READING,
        f"Versions: {versions}",
    )
    return "\n\n".join(sections) + "\n"


def to_json(subject: Subject, table: Sequence[Row]) -> str:
    """The table to compute with; what has no meaning is null."""
    about = {key: value for key, value in dataclasses.asdict(subject).items() if key != "num_sources"}
    content = {"subject": about, "conditions": [dataclasses.asdict(row) for row in table]}
    return json.dumps(plain(content), indent=1) + "\n"


def to_csv(scored: Sequence[ScoredCase]) -> str:
    """A line per case: counts, then SI-SDR of each source before, given the number, and counted."""
    most = max(len(item.before_db) for item in scored)
    ways = ("before", "given", "counted")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heading = ["condition", "id", "num_sources", "found"]
    writer.writerow(heading + [f"source{i}_{way}_si_sdr_db" for i in range(1, most + 1) for way in ways])
    for item in scored:
        cells = [item.case.condition.title, item.case.listed.id, str(len(item.before_db))]
        cells.append("" if item.found is None else str(item.found))
        for figures in zip(item.before_db, item.given_db, item.counted_db, strict=True):
            cells += ["" if math.isnan(value) else f"{value:.5f}" for value in figures]
        writer.writerow(cells + [""] * (len(heading) + len(ways) * most - len(cells)))
    return text.getvalue()
