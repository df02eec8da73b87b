"""One mixture of the validation as the network separates it by now: to look at, and to listen to."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from unmingle.model.metrics import best_permutation, si_sdr_db
from unmingle.model.network.trunk import EmbeddingNet
from unmingle.model.separator import Separator
from unmingle.model.signal import stft
from unmingle.training.run_log import RunLog
from unmingle.training.validation import TorchEmbedder, Validation

FOLDER, PICTURE = "preview", "stems.png"
_WINDOW, _HOP = 512, 128
_RANGE_DB = 60.0


class Preview:
    """Writes the same mixture into a run's folder and its TensorBoard log, again and again."""

    def __init__(self, folder: Path, validation: Validation) -> None:
        self._folder = folder / FOLDER
        self._sources, self._rate = validation.mixtures[0]

    def write(self, network: EmbeddingNet, step: int, log: RunLog) -> None:
        """Separate the mixture; `preview/` has the mixture, its stems and a picture afterwards."""
        sources = np.asarray(self._sources, np.float32)
        mixture = sources.sum(0)
        found = Separator(TorchEmbedder(network)).separate(mixture, self._rate, len(sources)).stems
        stems = np.nan_to_num(found, posinf=0.0, neginf=0.0)  # of a network that has diverged
        # Stem i is source i, from one validation to the next.
        stems = stems[best_permutation(si_sdr_db(stems[None], sources[:, None]))]
        self._folder.mkdir(exist_ok=True)
        self._write_audio("mixture", mixture)
        for number, stem in enumerate(stems, start=1):
            self._write_audio(f"stem_{number}", stem)
            log.add_audio(f"stem_{number}", stem, self._rate, step)
        partial = self._folder / (PICTURE + ".partial")
        self._draw(partial, mixture, stems, sources, step)
        os.replace(partial, self._folder / PICTURE)
        log.add_picture(PICTURE, self._folder / PICTURE, step)

    def _write_audio(self, name: str, samples: NDArray[np.float32]) -> None:
        partial = self._folder / f"{name}.flac.partial"
        loudest = max(float(np.abs(samples).max()), 1.0)
        soundfile.write(partial, samples / loudest, self._rate, format="FLAC")
        os.replace(partial, self._folder / f"{name}.flac")

    def _draw(
        self,
        path: Path,
        mixture: NDArray[np.float32],
        stems: NDArray[np.float32],
        sources: NDArray[np.float32],
        step: int,
    ) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        rows = len(stems) + 1
        height = 2.2 * rows
        figure = Figure(figsize=(10, height))
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, 2, sharex=True, sharey=True)
        # Margins that are known: matplotlib's search for some takes longer than a validation of a small network.
        figure.subplots_adjust(0.06, 0.55 / height, 0.99, 1.0 - 0.3 / height, wspace=0.04, hspace=0.2)
        top = _log_magnitude(mixture).max()
        panels = {(0, 0): ("mixture", mixture)}
        for number, (stem, source) in enumerate(zip(stems, sources, strict=True), start=1):
            panels[number, 0] = (f"stem {number} after step {step}", stem)
            panels[number, 1] = (f"source {number}", source)
        extent = (0.0, len(mixture) / self._rate, 0.0, self._rate / 2000.0)
        for place in np.ndindex(axes.shape):
            if place not in panels:
                axes[place].axis("off")
                continue
            title, samples = panels[place]
            picture = _log_magnitude(samples)
            axes[place].imshow(
                picture.T, origin="lower", aspect="auto", extent=extent, vmin=top - _RANGE_DB, vmax=top, cmap="magma"
            )
            axes[place].set_title(title, fontsize=9)
        figure.supxlabel("seconds")
        figure.supylabel("kHz")
        figure.savefig(path, dpi=80, format="png")


def _log_magnitude(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """(frames, bins) in dB."""
    return np.asarray(20.0 * np.log10(np.abs(stft.analyse(samples, _WINDOW, _HOP)) + 1e-7))
