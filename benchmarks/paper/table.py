"""Results of all rows -> results.json and a table to read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.paper import experiment

Result = Mapping[str, Any]
"""Of one row: its title and, by list, the figures of scoring.score; of one that was trained also how."""

HEADING = (
    *("row", "mixtures of", "SI-SDRi dB, global", "same gender", "different", "local", "same", "different"),
    *("SDRi dB, global", "s"),
)


def write(out: Path, about: Mapping[str, Any], results: Mapping[str, Result]) -> str:
    """Write results.json and table.md, each whole or not at all; returns the table."""
    text = to_markdown(about, results)
    content = json.dumps({"about": about, "rows": results}, indent=1) + "\n"
    experiment.write_whole(out / "results.json", content)
    experiment.write_whole(out / "table.md", text)
    return text


def to_markdown(about: Mapping[str, Any], results: Mapping[str, Result]) -> str:
    """A table per list, what each network heard, and how it was made."""
    lists = dict.fromkeys(name for result in results.values() for name in result["lists"])
    parts = [_list_table(name, results) for name in lists]
    trained = [(result["title"], result) for result in results.values() if result.get("hours_heard")]
    if trained:
        heading = ("network", "hours of mixtures heard", "million weights", "wall minutes", "corpus")
        lines = [
            (
                title,
                f"{r['hours_heard']:.2f}",
                f"{r['weights'] / 1e6:.2f}",
                f"{r['training_s'] / 60.0:.0f}",
                r["corpus"],
            )
            for title, r in trained
        ]
        parts.append("### Training\n\n" + _table(heading, lines))
    made = "\n".join(f"- {key}: {value}" for key, value in about.items())
    parts.append(f"### How it was made\n\n{made}")
    return "\n\n".join(parts) + "\n"


def _list_table(name: str, results: Mapping[str, Result]) -> str:
    lines = []
    mixtures = 0
    for result in results.values():
        figures = result["lists"].get(name)
        if figures is None:
            continue
        mixtures = figures["mixtures"]
        ways = [figures.get(way, {}) for way in ("global", "local")]
        cells = [_number(way, group) for way in ways for group in ("all", "same", "different")]
        seconds = ways[0].get("seconds")
        cells.append(_number(ways[0], "sdr"))
        lines.append((result["title"], result.get("trained_on", ""), *cells, f"{seconds:.2f}" if seconds else ""))
    return f"### {name}, {mixtures} mixtures\n\n" + _table(HEADING, lines)


def _number(figures: Mapping[str, float], group: str) -> str:
    return f"{round(figures[group], 1) + 0.0:.1f}" if group in figures else ""


def _table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heading, ["---"] * len(heading), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
