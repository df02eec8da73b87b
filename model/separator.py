"""The path from mixture to stems. It composes the other rooms of this package and holds no maths of its own."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np

from unmingle.model.abilities import UNCOUNTED, Abilities
from unmingle.model.analysis import Analysis, analyse
from unmingle.model.apart import separate_channels
from unmingle.model.diarisation.config import Diariser
from unmingle.model.diarisation.local import bundled_diariser
from unmingle.model.embedding.device import Device
from unmingle.model.embedding.embedder import Embedder, OnnxEmbedder
from unmingle.model.errors import ParameterError
from unmingle.model.inspection import Inspected, of_result
from unmingle.model.listening import Listening, expected_frames
from unmingle.model.masking import Masking
from unmingle.model.options import Background, NumSources, SeparationOptions
from unmingle.model.overview import Gathering
from unmingle.model.parts import Plan
from unmingle.model.reading.recordings import FileRecording
from unmingle.model.recording import ArrayRecording, Progress, Recording, Samples, Sink
from unmingle.model.refining.refiner import Refiner, open_refiner
from unmingle.model.results import Outcome, Separation
from unmingle.model.signal.segments import SegmentLayout
from unmingle.model.spatial.blocks import Locating
from unmingle.model.spatial.survey import Survey, survey, what_the_network_hears
from unmingle.model.stage_clock import StageClock
from unmingle.model.streaming import StemBlocks
from unmingle.model.weights.bundled import bundled_model

SAMPLE_RATES_HZ = (4_000, 192_000)
DEFAULT_OPTIONS = SeparationOptions()


class Separator:
    """Separates recordings with one embedder. Holds no state between calls; safe to call from several threads."""

    def __init__(
        self,
        embedder: Embedder,
        layout: SegmentLayout | None = None,
        refiner: Refiner | None = None,
        diariser: Diariser | None = None,
    ) -> None:
        """Args:
        refiner: makes soft masks better, for quality="high".
        diariser: tells who speaks within a segment of a longer recording; by default that of the package.
        """
        self.embedder = embedder
        self.layout = layout or SegmentLayout()
        self.refiner = refiner
        self.diariser = diariser or bundled_diariser()

    @classmethod
    def load(
        cls, path: str | Path | None = None, device: Device = "auto", refiner: str | Path | None = None
    ) -> Separator:
        """Load a model.

        Args:
            path: an ONNX file; None is the one that comes with the package.
            device: where the networks run.
            refiner: the ONNX file of a refiner that was published for this model, for quality="high".

        Raises:
            ModelError: a file is missing, damaged, or not one of ours; or the refiner is another model's.
            ParameterError: there is no such device.
        """
        if device not in get_args(Device):
            raise ParameterError(f"device is {device!r}; expected one of {', '.join(map(repr, get_args(Device)))}.")
        embedder = OnnxEmbedder(Path(path) if path else bundled_model(device), device)
        if refiner is None:
            return cls(embedder)
        return cls(embedder, refiner=open_refiner(Path(refiner), embedder.model_hash, device))

    def separate(
        self,
        mixture: object,
        sample_rate: int | None = None,
        num_sources: NumSources | None = None,
        *,
        options: SeparationOptions = DEFAULT_OPTIONS,
        progress: Progress | None = None,
    ) -> Separation:
        """Separate a recording in memory into stems.

        Args:
            mixture: (samples,) or (channels, samples), floating point: an array, a list, a tensor; or the path of a
                file in any format that the command reads.
            sample_rate: Hz, 4000 to 192000; of a file, its own.
            num_sources: that of the options, where it is given here.
            options: how to separate.
            progress: told the part that is done.

        Raises:
            AudioError: no samples, samples that are not finite, or a shape that is not audio.
            ParameterError: `num_sources` or `sample_rate` is out of range.
        """
        if num_sources is not None:
            options = dataclasses.replace(options, num_sources=num_sources)
        recording = as_recording(mixture, sample_rate)
        parts: list[Samples] = []
        outcome = self.separate_recording(recording, parts.append, options, progress=progress)
        everything = np.concatenate(parts, axis=-1)
        is_one = recording.channels > 1 or getattr(recording, "is_mono_vector", True)
        if options.channels_of_stems(recording.channels) == 1 and is_one:
            everything = everything[:, 0]
        return Separation(
            everything[list(outcome.order)],
            everything[-1] if outcome.background == "stem" else None,
            recording.sample_rate,
            outcome.stems,
            outcome.count_chance,
            outcome.stage_seconds,
            (*getattr(recording, "warnings", ()), *outcome.warnings),
            outcome.spatial,
            outcome.reference,
        )

    def separate_all(
        self, mixtures: Iterable[object], sample_rate: int | None = None, options: SeparationOptions = DEFAULT_OPTIONS
    ) -> Iterator[Separation]:
        """Separate several recordings, given as in `separate`, one after the other as they are asked for."""
        for mixture in mixtures:
            yield self.separate(mixture, sample_rate, options=options)

    def blocks(
        self, mixture: object, sample_rate: int | None = None, options: SeparationOptions = DEFAULT_OPTIONS
    ) -> StemBlocks:
        """The stems of a recording of any length, block by block: (sources, channels, samples) each.

        Memory does not grow with the length. A recording that is a path is read from disk, twice.
        """
        recording = as_recording(mixture, sample_rate)
        return StemBlocks(lambda sink: self.separate_recording(recording, sink, options))

    def analyse(self, mixture: object, sample_rate: int | None = None) -> Analysis:
        """The embeddings of a recording, given as in `separate`, for pictures and for one's own clustering."""
        recording = as_recording(mixture, sample_rate)
        _check_rate(recording.sample_rate)
        heard = what_the_network_hears(recording, self.survey(recording, DEFAULT_OPTIONS))
        return analyse(heard, self.embedder, self.layout)

    def separate_recording(
        self,
        recording: Recording,
        sink: Sink,
        options: SeparationOptions = DEFAULT_OPTIONS,
        *,
        progress: Progress | None = None,
        overview: bool = False,
    ) -> Outcome:
        """Separate a recording of any length; the stems go to `sink` piece by piece. Memory does not grow with length.

        The recording is read twice: first to listen (embed its segments and cluster a sample of all of them, so that
        a source is the same stem from beginning to end), then to mask. With `overview`, the outcome has one, unless
        channels were separated one by one.

        Raises:
            ParameterError: the sample rate is out of range, or the model cannot count as far as `min_sources`.
        """
        _check_rate(recording.sample_rate)
        self.abilities.check(options)
        tell = progress or _tell_nobody
        inspected = Inspected(recording)

        surveyed = self.survey(inspected, options)
        sink = narrowed(sink, options, surveyed)

        def separate(part: Recording, part_sink: Sink, part_tell: Progress) -> Outcome:
            return self._separate(part, part_sink, options, part_tell, surveyed, overview and not apart)

        apart = options.channels == "separate" and recording.channels > 1
        if apart:
            has_background = self.background_of(options) == "stem"
            outcome = separate_channels(inspected, separate, sink, tell, has_background)
        else:
            outcome = separate(inspected, sink, tell)
        warnings = inspected.inspection.warnings() + of_result(outcome.stems, outcome.count_chance)
        return dataclasses.replace(outcome, warnings=warnings, reference=reference_of(surveyed, options))

    def survey(self, recording: Recording, options: SeparationOptions) -> Survey | None:
        """What the channels are good for, where there are several that are not separated one by one."""
        if recording.channels == 1 or options.channels == "separate":
            return None
        return survey(recording, locate=options.spatial == "auto" and options.mask_kind == "soft")

    def _separate(
        self,
        recording: Recording,
        sink: Sink,
        options: SeparationOptions,
        tell: Progress,
        surveyed: Survey | None,
        overview: bool,
    ) -> Outcome:
        clock = StageClock()
        heard = what_the_network_hears(recording, surveyed)
        listening = Listening(heard, self.embedder, self.layout, clock, diariser=self.diariser)
        listening.listen(options.seed, tell)
        plan = self.planned(listening, options)
        background = self.background_of(options)
        locating = locating_by(surveyed, options)
        gathering = None
        if overview:
            config = self.embedder.config
            gathering = Gathering(config, math.ceil(expected_frames(recording, config)))
        masking = Masking(
            recording,
            listening,
            plan,
            self.embedder,
            clock,
            options.mask_kind,
            background,
            locating,
            gathering=gathering,
            refiner=self.refiner_of(options),
        )
        return masking.run(sink, tell)

    def planned(self, listening: Listening, options: SeparationOptions) -> Plan:
        """Count the sources, if that is wanted, and find them, once all was listened to."""
        rng = listening.heard.rng
        chance = None
        num_sources = options.num_sources
        if self.abilities.to_count(options):
            num_sources, chance = listening.count(options.min_sources, options.max_sources, rng)
        elif not isinstance(num_sources, int):
            num_sources = max(options.min_sources, min(UNCOUNTED, options.max_sources))
        listening.settle(num_sources, given=isinstance(options.num_sources, int))
        centroids, talk = listening.sources(num_sources, rng)
        return listening.plan(centroids, chance, talk)

    @property
    def abilities(self) -> Abilities:
        """What its model can do."""
        return Abilities(self.embedder.config, self.refiner is not None)

    def background_of(self, options: SeparationOptions) -> Background:
        """What becomes of the background."""
        return self.abilities.background_of(options)

    def refiner_of(self, options: SeparationOptions) -> Refiner | None:
        """What makes the masks better, where that is wanted."""
        return self.refiner if options.quality == "high" else None


def locating_by(surveyed: Survey | None, options: SeparationOptions) -> Locating | None:
    """How to use where sounds come from; None where the channels do not tell."""
    if not surveyed or len(surveyed.located_by) < 2:
        return None
    return Locating(surveyed.located_by, options.enhance, surveyed.heard)


def reference_of(surveyed: Survey | None, options: SeparationOptions) -> int | None:
    """Which channel the stems have; None if it is not one of several."""
    return surveyed.reference if surveyed and options.channels == "reference" else None


def narrowed(sink: Sink, options: SeparationOptions, surveyed: Survey | None) -> Sink:
    """A sink for stems with all channels, of which one is wanted."""
    if options.channels == "mono":
        return lambda stems: sink(stems.mean(1, keepdims=True))
    if options.channels == "reference" and surveyed:
        one = slice(surveyed.reference, surveyed.reference + 1)
        return lambda stems: sink(stems[:, one])
    return sink


def as_recording(mixture: object, sample_rate: int | None) -> ArrayRecording | FileRecording:
    """A recording of what somebody has: samples with their rate, or a path.

    Raises:
        AudioError: it is not audio.
        ParameterError: the sample rate is missing, not a whole number, or not the file's.
    """
    if isinstance(mixture, str | os.PathLike):
        file = FileRecording(Path(mixture))
        if sample_rate not in (None, file.sample_rate):
            raise ParameterError(
                f"sample_rate is {sample_rate}, and {mixture} has {file.sample_rate} Hz; leave it out."
            )
        return file
    if sample_rate is None:
        raise ParameterError("sample_rate is missing; expected that of the samples, in Hz.")
    try:
        rate = int(sample_rate)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"sample_rate is {sample_rate!r}; expected a whole number of Hz.") from error
    if rate != sample_rate:
        raise ParameterError(f"sample_rate is {sample_rate!r}; expected a whole number of Hz.")
    _check_rate(rate)
    return ArrayRecording(mixture, rate)


def _check_rate(sample_rate: int) -> None:
    low, high = SAMPLE_RATES_HZ
    if not low <= sample_rate <= high:
        raise ParameterError(f"The sample rate is {sample_rate} Hz; expected {low} to {high} Hz.")


def _tell_nobody(_done: float) -> None:
    """For callers that do not ask for progress."""
