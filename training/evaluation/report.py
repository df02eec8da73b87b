"""What an evaluation found, and its JSON and CSV to compute with."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from unmingle.training.evaluation.certainty import Counting, Trust, count, trust
from unmingle.training.evaluation.scoring import HARD, IDEAL, MIXTURE, SOFT, WAYS, HowMany, ScoredMixture
from unmingle.training.evaluation.speed import Speed
from unmingle.training.evaluation.summary import (
    METRICS,
    Row,
    improvements,
    levels,
    mean_known,
    summarise,
    summarise_alone,
    summarise_further,
)

UNHARMED_DB = 30.0
"""A source alone whose stem is at least this close to it has not been harmed."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """What was evaluated on what.

    Attributes:
        model: path of the model's file.
        model_hash: first 12 hex digits of the file's SHA-256.
        list: path of the list, or what the mixtures were drawn from.
        mixtures: how many of it.
        num_sources: whether the separator was told their number.
        versions: of the libraries that the figures depend on.
    """

    model: str
    model_hash: str
    list: str
    mixtures: int
    num_sources: HowMany
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that is known in the end.

    Attributes:
        subject: what was evaluated.
        scored: in the order of the list.
        speed: the one thing that differs from one time to the next.
    """

    subject: Subject
    scored: Sequence[ScoredMixture]
    speed: Speed

    @property
    def mixed(self) -> list[ScoredMixture]:
        """Mixtures of two and more sources."""
        return [mixture for mixture in self.scored if mixture.num_sources > 1]

    @property
    def alone(self) -> list[ScoredMixture]:
        """Recordings of one source."""
        return [mixture for mixture in self.scored if mixture.num_sources == 1]

    @property
    def unharmed_share(self) -> float:
        """Part of the recordings of one source that soft masks leave as they were; nan without any."""
        if not self.alone:
            return math.nan
        return float(np.mean(levels(self.alone, SOFT, "si_sdr_db") >= UNHARMED_DB))

    @property
    def counting(self) -> Counting | None:
        """How well the sources were counted; None where their number was given."""
        return count(self.scored) if self.subject.num_sources == "auto" else None

    @property
    def trust(self) -> Trust:
        """What the confidence of a stem is worth."""
        return trust(self.mixed)


def to_json(report: Report) -> str:
    """The same to compute with; what has no meaning is null. Only `speed` differs from one time to the next."""
    content = {
        "subject": dataclasses.asdict(report.subject),
        "separation": [_row(row) for row in summarise(report.mixed)] if report.mixed else [],
        "one_source_alone": [_row(row) for row in summarise_alone(report.alone)] if report.alone else [],
        **(
            {"further": further}
            if (further := [dataclasses.asdict(r) for r in summarise_further(report.mixed)])
            else {}
        ),
        "unharmed_share": report.unharmed_share,
        "counting": _counting(report.counting) if report.counting else None,
        "confidence": dataclasses.asdict(report.trust),
        "speed": dataclasses.asdict(report.speed),
    }
    return json.dumps(plain(content), indent=1) + "\n"


def _row(row: Row) -> dict[str, Any]:
    return {
        "sources": row.pairing,
        "mixtures": row.mixtures,
        "by": row.way,
        **{metric: dataclasses.asdict(spread) for metric, spread in row.level.items()},
        **{f"{metric}_improvement": dataclasses.asdict(spread) for metric, spread in row.improvement.items()},
    }


def _counting(counting: Counting) -> dict[str, Any]:
    return {
        "confusion": [
            {"true": true, "found": {str(n): times for n, times in enumerate(row, start=1)}}
            for true, row in counting.confusion.items()
        ],
        "exact_share": counting.exact_share,
        "mean_chance_when_right": counting.mean_chance_when_right,
        "mean_chance_when_wrong": counting.mean_chance_when_wrong,
    }


def plain(value: Any) -> Any:
    """NaN, which JSON does not have, becomes None; more digits than mean anything go."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 5)
    return value


def to_csv(scored: Sequence[ScoredMixture]) -> str:
    """A line per mixture: count, improvements (mean over its sources), then SI-SDR and confidence of each source."""
    most = max(mixture.num_sources for mixture in scored)
    gains = [(way, metric) for way in (SOFT, HARD, IDEAL) for metric in METRICS]
    heading = ["id", "genders", "seconds", "num_sources", "found", "count_chance"]
    heading += [f"{way}_{metric}_improvement" for way, metric in gains]
    further = list(scored[0].further.get(SOFT, ()))
    heading += [f"{way}_{measure}" for measure in further for way in (MIXTURE, SOFT)]
    heading += [
        f"source{i}_{figure}"
        for i in range(1, most + 1)
        for figure in (*(f"{way}_si_sdr_db" for way in WAYS), "confidence")
    ]
    columns = [improvements(scored, way, metric) for way, metric in gains]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    for n, mixture in enumerate(scored):
        genders = "".join(part.gender for part in mixture.listed.parts)
        values = [math.nan if mixture.count_chance is None else mixture.count_chance]
        values += [float(column[n]) for column in columns]
        values += [mean_known(mixture.further[way][measure]) for measure in further for way in (MIXTURE, SOFT)]
        for i in range(mixture.num_sources):
            values += [float(mixture.figures[way].si_sdr_db[i]) for way in WAYS]
            values.append(float(mixture.confidence[i]))
        shown = ["" if math.isnan(value) else f"{value:.5f}" for value in values]
        counts = (str(mixture.num_sources), str(mixture.found))
        cells = [mixture.listed.id, genders, f"{mixture.listed.seconds:g}", *counts, *shown]
        writer.writerow(cells + [""] * (len(heading) - len(cells)))
    return text.getvalue()
