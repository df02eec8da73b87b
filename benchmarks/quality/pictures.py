"""What was measured, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.quality.measuring import Measured
from benchmarks.quality.tables import semitones

PAIRINGS = {"FM": "a woman and a man", "FF": "two women", "MM": "two men"}


def pictures(measured: Sequence[Measured]) -> dict[str, bytes]:
    """By file name."""
    pairs = [item for item in measured if item.case.group == "pairs"]
    conditions = [item for item in measured if item.case.group == "conditions"]
    return {"pairs.png": _pairs(pairs), "pitch.png": _pitch(pairs), "conditions.png": _conditions(conditions)}


def _pairs(group: Sequence[Measured]) -> bytes:
    """How many mixtures improve by how much, one histogram above the other."""
    figure = Figure((7.0, 5.0), layout="constrained")
    gains = {p: [m.improvement_db for m in group if m.case.listed.pairing == p] for p in PAIRINGS}
    every = np.array([gain for some in gains.values() for gain in some] or [0.0])
    edges = np.arange(np.floor(every.min()), np.ceil(every.max()) + 1.5)
    rows = np.atleast_1d(figure.subplots(len(PAIRINGS), 1, sharex=True))
    for axes, (pairing, some), colour in zip(rows, gains.items(), ("C0", "C1", "C2"), strict=True):
        axes.hist(some, edges.tolist(), color=colour, alpha=0.7)
        if some:
            axes.axvline(float(np.mean(some)), color=colour, linestyle="--")
            axes.set_title(f"{PAIRINGS[pairing]}: mean {np.mean(some):.1f} dB", loc="left", fontsize=10)
        axes.set_ylabel("mixtures")
    rows[-1].set_xlabel("SI-SDR improvement in dB; 0 is the mixture as it was")
    return _png(figure)


def _pitch(group: Sequence[Measured]) -> bytes:
    """How far apart two voices are in pitch against how much is gained."""
    figure = Figure((7.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for (pairing, title), colour in zip(PAIRINGS.items(), ("C0", "C1", "C2"), strict=True):
        some = [item for item in group if item.case.listed.pairing == pairing]
        axes.scatter(
            [semitones(m) for m in some], [m.improvement_db for m in some], s=14, alpha=0.7, label=title, color=colour
        )
    axes.axhline(0.0, color="0.6", linewidth=1.0)
    axes.set(xlabel="semitones between the median pitches of the voices", ylabel="SI-SDR improvement in dB")
    axes.legend()
    return _png(figure)


def _conditions(group: Sequence[Measured]) -> bytes:
    """Mean, and from the worst to the best tenth, of each condition."""
    titles = list(dict.fromkeys(item.case.title for item in group))
    figure = Figure((7.5, 0.8 + 0.35 * len(titles)), layout="constrained")
    axes = figure.add_subplot()
    for y, title in enumerate(reversed(titles)):
        gains = [item.improvement_db for item in group if item.case.title == title]
        axes.barh(y, float(np.mean(gains)), color="C0", alpha=0.7)
        low, high = np.percentile(gains, [10, 90])
        axes.plot([low, high], [y, y], color="0.3", linewidth=1.5)
    axes.set_yticks(range(len(titles)), titles[::-1])
    axes.axvline(0.0, color="0.6", linewidth=1.0)
    axes.set_xlabel("SI-SDRi in dB: mean; the line spans the middle 80 %")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()
