"""A picture of a separation: the mixture coloured by source, each stem, and who is heard when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmingle.model.errors import UnmingleError
from unmingle.service.output.stems import StemSet

PICTURE = "picture.png"
_COLOURS = (
    *((0.0, 0.45, 0.70), (0.84, 0.37, 0.0), (0.0, 0.62, 0.45), (0.80, 0.47, 0.65)),
    *((0.94, 0.89, 0.26), (0.34, 0.71, 0.91), (0.90, 0.62, 0.0), (0.4, 0.4, 0.4)),
)
"""Of Okabe and Ito: told apart also by who does not see all colours."""
_COLUMNS, _WINDOW, _RANGE_DB = 1200, 1024, 70.0


def check_matplotlib() -> None:
    """Look whether there is what it takes to draw.

    Raises:
        UnmingleError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UnmingleError("--plot takes matplotlib, which is not installed: pip install 'unmingle[plot]'.") from error


def draw(stems: StemSet, target: Path) -> None:
    """Write the picture as PNG, at 200 dots per inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    manifest = stems.manifest
    powers = np.stack([_power(stems.samples(stems.directory / entry.file)) for entry in manifest.stems])
    seconds, top_khz = manifest.seconds, manifest.sample_rate / 2000
    rows = len(powers) + 2
    figure = Figure(figsize=(8, 1.5 * rows), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True)
    extent = (0.0, seconds, 0.0, top_khz)
    total = powers.sum(0)
    colours = np.array([_COLOURS[i % len(_COLOURS)] for i in range(len(powers))])
    hue = np.tensordot(powers / np.maximum(total, 1e-30), colours, (0, 0))
    shade = _shade(total, total.max())
    axes[0].imshow(1 - shade[..., None] * (1 - hue), origin="lower", aspect="auto", extent=extent)
    axes[0].set_title("mixture, coloured by source", loc="left", fontsize=9)
    for number, (axis, power) in enumerate(zip(axes[1:-1], powers, strict=True)):
        picture = 1 - _shade(power, total.max())[..., None] * (1 - colours[number])
        axis.imshow(picture, origin="lower", aspect="auto", extent=extent)
        axis.set_title(f"stem {number + 1}", loc="left", fontsize=9)
    for axis in axes[:-1]:
        axis.set_ylabel("kHz", fontsize=8)
    for number, entry in enumerate(manifest.stems):
        bars = [(stretch.start_s, stretch.end_s - stretch.start_s) for stretch in entry.active]
        axes[-1].broken_barh(bars, (len(manifest.stems) - number - 0.9, 0.8), facecolors=[tuple(colours[number])])
    axes[-1].set_yticks([len(manifest.stems) - n - 0.5 for n in range(len(manifest.stems))])
    axes[-1].set_yticklabels([f"stem {n + 1}" for n in range(len(manifest.stems))], fontsize=8)
    axes[-1].set_xlabel("seconds", fontsize=8)
    axes[-1].set_xlim(0, seconds)
    figure.savefig(target, format="png", metadata={"Software": None})


def _power(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """(bins, columns) of a recording's power, at so many places as the picture has columns."""
    window = np.hanning(_WINDOW)
    places = np.linspace(0, max(0, len(samples) - _WINDOW), min(_COLUMNS, max(1, len(samples) // 256))).astype(int)
    columns = []
    for place in places:
        piece = samples[place : place + _WINDOW].mean(1)
        padded = np.pad(piece, (0, _WINDOW - len(piece)))
        columns.append(np.square(np.abs(np.fft.rfft(padded * window))))
    return np.stack(columns, 1)


def _shade(power: NDArray[np.float64], loudest: float) -> NDArray[np.float64]:
    level = 10 * np.log10(power / max(loudest, 1e-30) + 1e-30)
    return np.asarray(np.clip(1 + level / _RANGE_DB, 0, 1))
