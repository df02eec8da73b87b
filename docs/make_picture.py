"""Draw the README's picture: the spectrogram of a mixture, the masks that were found, the stems.

Run as: python docs/make_picture.py [--mixture FILE] [--model PATH] [--num-sources N] [--output PNG]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import soundfile
from matplotlib.axes import Axes
from numpy.typing import NDArray

from unmingle import Separator
from unmingle.model.signal import stft

HERE = Path(__file__).parent
RANGE_DB = 50.0
HIGHEST_KHZ = 5.0
"""Above, there is little of a voice to see."""


def main() -> None:
    """Separate the mixture and draw what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mixture", type=Path, default=HERE.parent / "examples/two_speakers/mixture.flac")
    parser.add_argument("--model", type=Path, help="an ONNX file (default: the bundled one)")
    parser.add_argument("--num-sources", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE / "images/two_speakers.png")
    options = parser.parse_args()
    mixture, sample_rate = soundfile.read(options.mixture, dtype="float32", always_2d=True)
    mono = mixture.mean(1)
    stems = Separator.load(options.model, device="cpu").separate(mono, sample_rate, options.num_sources).stems
    draw(mono, stems, sample_rate, options.output)


def draw(mixture: NDArray[np.float32], stems: NDArray[np.float32], sample_rate: int, output: Path) -> None:
    """Write the picture: (samples,) mixture on the left, a row with mask and spectrogram for each of the stems."""
    hop = sample_rate // 125
    whole = np.abs(stft.analyse(mixture, 4 * hop, hop))
    parts = np.abs(stft.analyse(stems, 4 * hop, hop))
    # What is heard of a stem is its part of every bin, whatever made the mask.
    shares = parts / np.maximum(parts.sum(0), 1e-9)
    extent = (0.0, len(mixture) / sample_rate, 0.0, sample_rate / 2000)
    peak = whole.max()

    figure = plt.figure(figsize=(12, 1.2 + 2.0 * len(stems)), layout="constrained")
    grid = figure.add_gridspec(len(stems), 3)
    _spectrogram(figure.add_subplot(grid[:, 0]), whole, peak, extent, "the mixture")
    for number, (share, part) in enumerate(zip(shares, parts, strict=True)):
        axes = figure.add_subplot(grid[number, 1])
        axes.imshow(share.T, origin="lower", aspect="auto", extent=extent, cmap="gray", vmin=0, vmax=1)
        _label(axes, f"mask {number + 1}")
        _spectrogram(figure.add_subplot(grid[number, 2]), part, peak, extent, f"stem {number + 1}")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=90, metadata={"Software": None})


def _spectrogram(
    axes: Axes, magnitude: NDArray[np.float32], peak: float, extent: tuple[float, float, float, float], title: str
) -> None:
    level_db = 20.0 * np.log10(np.maximum(magnitude / peak, 1e-9))
    axes.imshow(level_db.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-RANGE_DB, vmax=0.0)
    _label(axes, title)


def _label(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_ylim(top=min(HIGHEST_KHZ, axes.get_ylim()[1]))
    axes.set_xlabel("seconds")
    axes.set_ylabel("kHz")
    axes.label_outer()


if __name__ == "__main__":
    main()
