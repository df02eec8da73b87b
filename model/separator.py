"""The path from mixture to stems. It composes the other rooms of this package and holds no maths of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unmingle.model.clustering import counting
from unmingle.model.embedding.device import Device
from unmingle.model.embedding.embedder import Embedder, OnnxEmbedder
from unmingle.model.errors import ParameterError
from unmingle.model.passes import Listening, Masking, MaskKind, Progress, Sink
from unmingle.model.recording import ArrayRecording, Recording, Samples
from unmingle.model.results import Outcome, Separation
from unmingle.model.signal.segments import SegmentLayout
from unmingle.model.stage_clock import StageClock
from unmingle.model.weights.bundled import bundled_model

NumSources = int | Literal["auto"]

MAX_SOURCES = 8
UNCOUNTED = 2
"""Sources to find where nobody says how many there are, and the model was not taught to count."""
SAMPLE_RATES_HZ = (4_000, 192_000)


class Separator:
    """Separates recordings with one embedder. Holds no state between calls; safe to call from several threads."""

    def __init__(self, embedder: Embedder, layout: SegmentLayout | None = None) -> None:
        self.embedder = embedder
        self.layout = layout or SegmentLayout()

    @classmethod
    def load(cls, path: str | Path | None = None, device: Device = "auto") -> Separator:
        """Load a model.

        Args:
            path: an ONNX file; None is the one that comes with the package.
            device: where the network runs.

        Raises:
            ModelError: the file is missing, damaged, or not one of ours.
        """
        return cls(OnnxEmbedder(Path(path) if path else bundled_model(device), device))

    def separate(
        self,
        mixture: NDArray[np.floating],
        sample_rate: int,
        num_sources: NumSources | None = None,
        *,
        min_sources: int = 1,
        max_sources: int = MAX_SOURCES,
        seed: int = 0,
        mask_kind: MaskKind = "soft",
        residual: bool = False,
        progress: Progress | None = None,
    ) -> Separation:
        """Separate a recording in memory into `num_sources` stems.

        Args:
            mixture: (samples,) or (channels, samples), floating point.
            sample_rate: Hz, 4000 to 192000.
            num_sources: 1 to 8, or "auto" to have them counted; None counts them if the model can, else it is 2.
            min_sources, max_sources: bounds of counting. A model counts no further than it was taught to.
            seed: decides the starts of the clustering; the same seed gives the same stems.
            mask_kind: "soft" masks sound better, "hard" ones are the paper's.
            residual: put what no source claims with confidence into a residual instead of into the stems.
            progress: told the part that is done.

        Raises:
            AudioError: no samples, samples that are not finite, or a shape that is not audio.
            ParameterError: `num_sources` or `sample_rate` is out of range.
        """
        recording = ArrayRecording(mixture, sample_rate)
        parts: list[Samples] = []
        outcome = self.separate_recording(
            recording,
            parts.append,
            num_sources,
            min_sources=min_sources,
            max_sources=max_sources,
            seed=seed,
            mask_kind=mask_kind,
            residual=residual,
            progress=progress,
        )
        everything = np.concatenate(parts, axis=-1)
        if mixture.ndim == 1:
            everything = everything[:, 0]
        return Separation(
            everything[list(outcome.order)],
            everything[-1] if residual else None,
            sample_rate,
            outcome.stems,
            outcome.count_chance,
            outcome.stage_seconds,
        )

    def separate_recording(
        self,
        recording: Recording,
        sink: Sink,
        num_sources: NumSources | None = None,
        *,
        min_sources: int = 1,
        max_sources: int = MAX_SOURCES,
        seed: int = 0,
        mask_kind: MaskKind = "soft",
        residual: bool = False,
        progress: Progress | None = None,
    ) -> Outcome:
        """Separate a recording of any length; the stems go to `sink` piece by piece. Memory does not grow with length.

        The recording is read twice: first to listen (embed its segments and cluster a sample of all of them, so that
        a source is the same stem from beginning to end), then to mask. Arguments are those of `separate`.

        Raises:
            ParameterError: `num_sources` or the sample rate is out of range.
        """
        _check(recording, num_sources, min_sources, max_sources)
        clock = StageClock()
        tell = progress or _tell_nobody
        rng = np.random.default_rng(seed)
        listening = Listening(recording, self.embedder, self.layout, clock)
        listening.listen(rng, tell)
        chance = None
        taught = self._counts_up_to
        if num_sources is None:
            num_sources = "auto" if taught >= min_sources else max(min_sources, min(UNCOUNTED, max_sources))
        if num_sources == "auto":
            if taught < min_sources:
                raise ParameterError(
                    f"The model {self.embedder.config.name} counts "
                    + (f"up to {taught} sources" if taught else "no sources")
                    + "; give num_sources, or calibrate the model with training/calibrate.py."
                )
            num_sources, chance = listening.count(min_sources, max_sources, rng)
        centroids = listening.centroids(num_sources, rng)
        masking = Masking(recording, listening, self.embedder, clock, mask_kind, residual)
        return masking.run(centroids, chance, sink, tell)

    def most_stems(self, num_sources: NumSources | None, max_sources: int) -> int:
        """How many stems there can be, which is what a recording needs room for."""
        if isinstance(num_sources, int):
            return num_sources
        return min(max_sources, max(UNCOUNTED, self._counts_up_to))

    @property
    def _counts_up_to(self) -> int:
        return counting.counts_up_to(self.embedder.config.count_weights)


def _check(recording: Recording, num_sources: NumSources | None, min_sources: int, max_sources: int) -> None:
    if isinstance(num_sources, int) and not 1 <= num_sources <= MAX_SOURCES:
        raise ParameterError(f'num_sources is {num_sources}; expected 1 to {MAX_SOURCES}, or "auto".')
    if not 1 <= min_sources <= max_sources <= MAX_SOURCES:
        raise ParameterError(
            f"min_sources is {min_sources} and max_sources is {max_sources}; expected 1 to {MAX_SOURCES}, and "
            "min_sources not above max_sources."
        )
    low, high = SAMPLE_RATES_HZ
    if not low <= recording.sample_rate <= high:
        raise ParameterError(f"The sample rate is {recording.sample_rate} Hz; expected {low} to {high} Hz.")


def _tell_nobody(_done: float) -> None:
    """For callers that do not ask for progress."""
