"""Pictures of an evaluation, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from unmingle.training.evaluation.scoring import IDEAL, MIXTURE, SOFT, WAYS, ScoredMixture
from unmingle.training.evaluation.summary import ALL, improvements, pairings

_SIZE_INCHES = (7.0, 4.5)


def histogram(scored: Sequence[ScoredMixture]) -> bytes:
    """How many mixtures improve by how much, with the model's soft masks and with the ideal binary mask."""
    found = {way: improvements(scored, way, "si_sdr_db") for way in (SOFT, IDEAL)}
    found = {way: values[~np.isnan(values)] for way, values in found.items()}
    together = np.concatenate(list(found.values()))
    low, high = (np.floor(together.min()), np.ceil(together.max())) if len(together) else (0.0, 1.0)
    edges = np.arange(low, max(high, low + 1.0) + 0.5).tolist()
    figure = Figure(_SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    for (way, values), colour in zip(found.items(), ("C0", "0.6"), strict=True):
        mean = values.mean() if len(values) else np.nan
        axes.hist(values, edges, color=colour, alpha=0.6, label=f"{WAYS[way]}, mean {mean:.1f} dB")
        axes.axvline(mean, color=colour, linestyle="--")
    axes.set(xlabel="SI-SDR improvement of a mixture in dB", ylabel="mixtures")
    axes.legend()
    return _png(figure)


def scatter(scored: Sequence[ScoredMixture]) -> bytes:
    """SI-SDR of each source in the mixture against how much the model's soft masks improve it."""
    figure = Figure(_SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    for pairing, group in pairings(scored).items():
        if pairing == ALL:
            continue
        before = np.concatenate([mixture.figures[MIXTURE].si_sdr_db for mixture in group])
        after = np.concatenate([mixture.figures[SOFT].si_sdr_db for mixture in group])
        axes.scatter(before, after - before, s=12, alpha=0.7, label=pairing)
    axes.axhline(0.0, color="0.6", linewidth=1.0)
    axes.set(xlabel="SI-SDR of a source in the mixture in dB", ylabel="SI-SDR improvement in dB")
    axes.legend(title="sources")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()
