"""What was measured, as Markdown tables: one per part of the page."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.quality.measuring import Measured
from unmingle.training.evaluation.summary import Spread

SEMITONES = (0.0, 2.0, 4.0, 8.0, np.inf)
"""Edges of how far apart two voices are."""
HEARD_DB = 5.0
"""From this improvement on, the other voice is clearly behind; below 1 dB one hardly hears that anything was done."""

Group = Sequence[Measured]


def tables(measured: Group) -> dict[str, str]:
    """By name of the part of the page."""
    groups: dict[str, list[Measured]] = {}
    for item in measured:
        groups.setdefault(item.case.group, []).append(item)
    made: Mapping[str, Callable[[Group], str]] = {
        "pairs": pairs,
        "conditions": conditions,
        "levels": levels,
        "numbers": numbers,
        "sounds": lambda group: _table(HEADING, [_row("speech and a sound", group)]),
    }
    found = {name: made[name](group) for name, group in groups.items()}
    if "pairs" in groups:
        found["pitch"] = pitch(groups["pairs"])
    return found


HEADING = (
    "",
    "mixtures",
    "SI-SDRi dB, mean",
    "median",
    "worst tenth",
    f"over {HEARD_DB:.0f} dB",
    "under 1 dB",
    "ideal mask, mean",
)


def _row(title: str, group: Group) -> list[str]:
    gains = np.array([item.improvement_db for item in group])
    spread = Spread.of(gains)
    ideal = Spread.of(np.array([item.ideal_improvement_db for item in group]))
    return [
        title,
        str(len(group)),
        *map(_db, (spread.mean, spread.median, spread.worst_tenth)),
        f"{(gains > HEARD_DB).mean():.0%}",
        f"{(gains < 1.0).mean():.0%}",
        _db(ideal.mean),
    ]


def pairs(group: Group) -> str:
    """Two speakers by gender."""
    names = {"": "all", "FM": "a woman and a man", "FF": "two women", "MM": "two men"}
    chosen = {title: [m for m in group if m.case.listed.pairing == pairing] for pairing, title in names.items()}
    chosen["all"] = list(group)
    return _table(HEADING, [_row(title, items) for title, items in chosen.items() if items])


def semitones(item: Measured) -> float:
    """How far apart the pitches of two voices are; nan where one is not known."""
    return float(abs(12.0 * np.log2(item.pitch_hz[0] / item.pitch_hz[1])))


def pitch(group: Group) -> str:
    """Two speakers by how far apart their voices are in pitch."""
    apart = np.array([semitones(item) for item in group])
    lines = []
    for low, high in itertools.pairwise(SEMITONES):
        chosen = [item for item, distance in zip(group, apart, strict=True) if low <= distance < high]
        if chosen:
            title = f"{low:.0f} semitones and more" if high == np.inf else f"{low:.0f} to {high:.0f} semitones"
            lines.append(_row(title, chosen))
    return _table(HEADING, lines)


def conditions(group: Group) -> str:
    """The same mixtures under one condition after another, and how often they are still counted right."""
    lines = [[*_row(title, items), _exact(items)] for title, items in _by_title(group).items()]
    return _table((*HEADING, "counted right"), lines)


def levels(group: Group) -> str:
    """The louder and the quieter of two apart: SI-SDR in the mixture and in the stem."""
    lines = []
    for title, items in _by_title(group).items():
        before = np.mean([item.before_db for item in items], 0)
        after = np.mean([item.after_db for item in items], 0)
        cells = [_db(value) for pair in zip(before, after, after - before, strict=True) for value in pair]
        lines.append([title, str(len(items)), *cells])
    heading = ("apart", "mixtures", "louder: in the mixture", "in its stem", "better by")
    return _table((*heading, "quieter: in the mixture", "in its stem", "better by"), lines)


def numbers(group: Group) -> str:
    """More and more speakers."""
    lines = [[*_row(title, items), _exact(items)] for title, items in _by_title(group).items()]
    return _table(("speakers", *HEADING[1:], "counted right"), lines)


def _by_title(group: Group) -> dict[str, list[Measured]]:
    found: dict[str, list[Measured]] = {}
    for item in group:
        found.setdefault(item.case.title, []).append(item)
    return found


def _exact(group: Group) -> str:
    counts = [item.counted == len(item.case.listed.parts) for item in group if item.counted is not None]
    return f"{np.mean(counts):.0%}" if counts else ""


def _db(value: float) -> str:
    # Adding 0 makes 0.0 of the -0.0 that rounding may leave.
    return f"{round(value, 1) + 0.0:.1f}"


def _table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heading, ["---"] * len(heading), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
