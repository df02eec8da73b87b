"""What an evaluation found, as Markdown to read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from unmingle.training.evaluation.certainty import Counting, Trust
from unmingle.training.evaluation.further_measures import MEASURES
from unmingle.training.evaluation.measures import HIGHEST_DB, LOWEST_DB
from unmingle.training.evaluation.report import UNHARMED_DB, Report
from unmingle.training.evaluation.scoring import WAYS
from unmingle.training.evaluation.summary import (
    METRICS,
    FurtherRow,
    Row,
    Spread,
    summarise,
    summarise_alone,
    summarise_further,
)

_DECIMALS = {"si_sdr_db": 1, "sdr_db": 1, "stoi": 3, "pesq": 2, "dnsmos": 2, "words": 2}

_READING = f"""\
SI-SDR, SDR and STOI are means; improvements over the mixture (SI-SDRi, SDRi, STOIi) are *mean / median / mean of the
worst tenth*. Each mixture counts once, with the mean over its sources. SDR is that of BSS Eval, STOI is of speech only.
Stems are assigned to sources by the best SI-SDR. The ideal binary mask is that of the model's own bands: each band goes
to the source that is loudest there. Ratios are held between {LOWEST_DB:.0f} and {HIGHEST_DB:.0f} dB."""

_READING_FURTHER = """\
Of speech, by soft masks; means, and for the improvement *mean / median / mean of the worst tenth*."""

_READING_ALONE = f"""\
The stem beside what went in, *mean / median / mean of the worst tenth*. Ratios are held between {LOWEST_DB:.0f} and
{HIGHEST_DB:.0f} dB; {HIGHEST_DB:.0f} dB is a stem that equals its source. No harm is done from {UNHARMED_DB:.0f} dB of
SI-SDR on."""

_GIVEN = {"true": "true number of sources given", "auto": "number of sources found by the model"}

_READING_COUNTED = """\
A source for which there is no stem is measured on the mixture itself (improvement 0); a stem too many is left out."""


def to_markdown(report: Report) -> str:
    """The report to read."""
    subject, speed = report.subject, report.speed
    sections = [
        f"# {subject.model} on {subject.list}",
        f"{subject.mixtures} mixtures, model {subject.model_hash}, {_GIVEN[subject.num_sources]}.",
    ]
    if report.counting:
        sections += ["## Number of sources", _confusion_table(report.counting), _READING_COUNTED]
    if report.mixed:
        sections += ["## Separation", _improvement_table(summarise(report.mixed)), _READING]
        if further := summarise_further(report.mixed):
            sections += ["## Further measures", _further_table(further), _READING_FURTHER]
        sections += ["## Confidence", _confidence(report.trust)]
    if report.alone:
        sections += ["## One source alone", _alone_table(report), _READING_ALONE]
    sections += [
        "## Speed",
        f"Real-time factor {speed.real_time_factor:.3f}: {speed.recordings} recordings, one after another, soft masks, "
        f"from samples to samples on {speed.threads} CPU threads.",
        "## Versions",
        ", ".join(f"{name} {version}" for name, version in subject.versions.items()),
    ]
    return "\n\n".join(sections) + "\n"


def _improvement_table(rows: Sequence[Row]) -> str:
    heading = ("sources", "mixtures", "by", "SI-SDR dB", "SI-SDRi dB", "SDR dB", "SDRi dB", "STOI", "STOIi")
    lines = []
    for row in rows:
        cells = [row.pairing, str(row.mixtures), WAYS[row.way]]
        for metric in METRICS:
            cells.append(number(row.level[metric].mean, metric))
            cells.append(spread(row.improvement[metric], metric) if row.improvement else "")
        lines.append(cells)
    return lined_up(heading, lines)


def _further_table(rows: Sequence[FurtherRow]) -> str:
    heading = ("measure", "in the mixture", "in the stem", "improvement")
    lines = [
        [MEASURES[row.measure], f"{row.before.mean:.2f}", f"{row.after.mean:.2f}", spread(row.improvement, row.measure)]
        for row in rows
    ]
    return lined_up(heading, lines)


def _alone_table(report: Report) -> str:
    heading = ("source", "recordings", "by", "SI-SDR dB", "SDR dB", "STOI")
    lines = [
        [row.pairing, str(row.mixtures), WAYS[row.way], *(spread(row.level[metric], metric) for metric in METRICS)]
        for row in summarise_alone(report.alone)
    ]
    return lined_up(heading, lines) + f"\n\nUnharmed, with soft masks: {report.unharmed_share:.0%}."


def _confusion_table(counting: Counting) -> str:
    most = max(map(len, counting.confusion.values()))
    heading = ("true number", *(f"found {n}" for n in range(1, most + 1)), "exact")
    lines = [[str(true), *map(str, row), f"{row[true - 1] / sum(row):.0%}"] for true, row in counting.confusion.items()]
    right, wrong = (_share(c) for c in (counting.mean_chance_when_right, counting.mean_chance_when_wrong))
    return lined_up(heading, lines) + (
        f"\n\nExact: {counting.exact_share:.1%}. The model's own chance of being right, mean: {right} where it is, "
        f"{wrong} where it is not."
    )


def _confidence(trust: Trust) -> str:
    return (
        "Spearman's rank correlation between the confidence of a stem and the SI-SDR of its source, soft masks: "
        f"{_share(trust.rank_correlation)} over {trust.stems} stems."
    )


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def spread(figures: Spread, metric: str) -> str:
    """Mean, median and worst tenth."""
    return " / ".join(number(value, metric) for value in dataclasses.astuple(figures))


def number(value: float, metric: str) -> str:
    """With as many decimals as the metric deserves; a dash for nan."""
    # Adding 0 makes 0.0 of the -0.0 that rounding may leave.
    return "-" if math.isnan(value) else f"{round(value, _DECIMALS[metric]) + 0.0:.{_DECIMALS[metric]}f}"


def lined_up(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown whose columns also line up in a terminal."""
    widths = [max(len(line[i]) for line in (heading, *lines)) for i in range(len(heading))]
    rows = [heading, ["-" * width for width in widths], *lines]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in rows)
