"""The tasks that separate one recording by many workers, each on a part; what they leave to each other is in files.

As with the tasks that do it all, each may be begun again after a worker has died, and writes over what was there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.output import stems
from unmingle.service.output.part_files import PartWriter, lay_out
from unmingle.service.output.stems import StemSet
from unmingle.service.scheduling.work import Control
from unmingle.service.schemas import ModelEntry, SeparateParameters
from unmingle.service.workers.tasks import make_anew

if TYPE_CHECKING:  # the server's front makes tasks, and loads neither ONNX Runtime nor a model
    from unmingle.model.parts import Part, Plan
    from unmingle.model.separator import Separator
    from unmingle.model.spatial.survey import Survey
    from unmingle.model.spreading import Spreading

_HEARD = "heard"


@dataclasses.dataclass(frozen=True)
class Spread:
    """A recording that is cut into parts.

    Attributes:
        recording: decoded.
        heard: what the network hears, at its rate.
        surveyed: what the channels are good for.
        parts: all of them.
        place: the directory for what the tasks leave to each other.
        parameters: how to separate.
        overview: whether the stems come with one.
        stage_seconds: wall time that it took so far.
    """

    recording: DecodedRecording
    heard: DecodedRecording
    surveyed: Survey | None
    parts: tuple[Part, ...]
    place: Path
    parameters: SeparateParameters
    overview: bool
    stage_seconds: Mapping[str, float]

    def opened(self, separator: Separator) -> Spreading:
        """With the model."""
        from unmingle.model.spreading import Spreading

        return Spreading(
            separator,
            self.recording,
            self.heard,
            self.surveyed,
            self.parts,
            self.parameters.options,
            self.place,
            self.overview,
        )


@dataclasses.dataclass(frozen=True)
class Cut:
    """Cut a recording into at most so many parts; gives None of one that has to stay whole.

    Attributes:
        recording: decoded.
        place: the directory for what the tasks leave to each other, which is made.
        most: parts.
        parameters: how to separate.
        overview: whether the stems come with one.
    """

    recording: DecodedRecording
    place: Path
    most: int
    parameters: SeparateParameters
    overview: bool

    def run(self, separator: Separator, control: Control) -> Spread | None:
        """See `Task`."""
        from unmingle.model.parts import cut_into_parts
        from unmingle.model.spreading import can_be_spread, heard_blocks

        control(0.0)
        make_anew(self.place)
        begun, options = time.perf_counter(), self.parameters.options
        surveyed = separator.survey(self.recording, options)
        if not can_be_spread(self.recording, surveyed, options):
            return None
        heard, config = self.recording, separator.embedder.config
        if (blocks := heard_blocks(separator, self.recording, surveyed)) is not None:
            path, samples, channels = self.place / _HEARD, 0, 1
            with path.open("wb") as file:
                for block in blocks:
                    control(min(1.0, samples / config.sample_rate * heard.sample_rate / heard.samples))
                    channels, samples = len(block), samples + block.shape[1]
                    file.write(np.ascontiguousarray(block.T, np.float32).data)
            heard = DecodedRecording(path, config.sample_rate, channels, samples)
        parts = cut_into_parts(
            self.recording.samples, self.recording.sample_rate, heard.samples, config, separator.layout, self.most
        )
        seconds = {"cut": time.perf_counter() - begun}
        return Spread(self.recording, heard, surveyed, parts, self.place, self.parameters, self.overview, seconds)


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Look for what spoils a recording; gives it in words, first what is known of the file."""

    recording: DecodedRecording

    def run(self, separator: Separator, control: Control) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """See `Task`."""
        from unmingle.model.inspection import Inspected

        inspected, samples = Inspected(self.recording), 0
        for block in inspected.blocks():
            samples += block.shape[1]
            control(min(1.0, samples / self.recording.samples))
        return self.recording.warnings, inspected.inspection.warnings()


@dataclasses.dataclass(frozen=True)
class ListenToPart:
    """Listen to a part; gives the wall time by stage."""

    spread: Spread
    part: Part

    def run(self, separator: Separator, control: Control) -> Mapping[str, float]:
        """See `Task`."""
        control(0.0)
        return self.spread.opened(separator).listen(self.part, control)


@dataclasses.dataclass(frozen=True)
class PlanStems:
    """Find the sources in what was heard of all parts.

    Attributes:
        spread: the recording.
        target: the directory for the stems, which is made, with files of their full length.
    """

    spread: Spread
    target: Path

    def run(self, separator: Separator, control: Control) -> Plan:
        """See `Task`."""
        control(0.0)
        recording, options = self.spread.recording, self.spread.parameters.options
        plan = self.spread.opened(separator).plan(control)
        make_anew(self.target)
        channels = options.channels_of_stems(recording.channels)
        files = _sources(separator, plan, self.spread)
        lay_out(self.target, files, channels, recording.samples, recording.sample_rate)
        return plan


@dataclasses.dataclass(frozen=True)
class SeparatePart:
    """Make a part of every stem, in files that are there."""

    spread: Spread
    part: Part
    plan: Plan
    target: Path

    def run(self, separator: Separator, control: Control) -> None:
        """See `Task`."""
        control(0.0)
        channels = self.spread.parameters.options.channels_of_stems(self.spread.recording.channels)
        writer = PartWriter(self.target, _sources(separator, self.plan, self.spread), channels, self.part.start)
        with contextlib.closing(writer):
            self.spread.opened(separator).separate(self.part, self.plan, writer.write, control)


@dataclasses.dataclass(frozen=True)
class JoinParts:
    """Make stems of what was made of all parts.

    Attributes:
        spread: the recording.
        plan: of its stems.
        target: the directory with them.
        model: in use.
        warnings: of the file, and of what is in it.
        stage_seconds: wall time that it took so far.
    """

    spread: Spread
    plan: Plan
    target: Path
    model: ModelEntry
    warnings: tuple[tuple[str, ...], tuple[str, ...]]
    stage_seconds: Mapping[str, float]

    def run(self, separator: Separator, control: Control) -> StemSet:
        """See `Task`."""
        control(1.0)
        recording = self.spread.recording
        of_file, of_content = self.warnings
        outcome = self.spread.opened(separator).outcome(self.plan, of_content, self.stage_seconds)
        recording.warnings = of_file
        return stems.finish(outcome, recording, self.target, self.model, self.spread.parameters)


def _sources(separator: Separator, plan: Plan, spread: Spread) -> int:
    """How many files there are: with the background, where that is a stem."""
    return len(plan.centroids) + (separator.background_of(spread.parameters.options) == "stem")
