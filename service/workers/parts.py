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
from unmingle.service.output.part_files import PartWriter, place_of
from unmingle.service.output.stems import StemSet
from unmingle.service.scheduling.work import Control, Files, TaskFiles
from unmingle.service.schemas import ModelEntry, SeparateParameters
from unmingle.service.workers.tasks import file_of, make_anew

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

    def around(self, part: Part) -> Spread:
        """The same, of which nothing is read but what a part needs."""
        recording, heard = self.recording.within(*part.recorded), self.heard.within(*part.heard)
        return dataclasses.replace(self, recording=recording, heard=heard)

    @property
    def heard_of_parts(self) -> tuple[Files, ...]:
        """What listening to parts gave."""
        return tuple(Files(part.heard_file(self.place)) for part in self.parts)

    @property
    def measured_of_parts(self) -> tuple[Files, ...]:
        """What separating them gave, beside the stems."""
        return tuple(Files(part.measured_file(self.place)) for part in self.parts)

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

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles((file_of(self.recording),), (Files(self.place),))

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

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles((file_of(self.recording),))

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

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles((file_of(self.spread.heard),), (Files(self.part.heard_file(self.spread.place)),))

    def run(self, separator: Separator, control: Control) -> Mapping[str, float]:
        """See `Task`."""
        control(0.0)
        return self.spread.opened(separator).listen(self.part, control)


@dataclasses.dataclass(frozen=True)
class PlannedStems:
    """What there are to be.

    Attributes:
        plan: how they are made.
        sources: how many files there are: with the background, where that is a stem.
    """

    plan: Plan
    sources: int


@dataclasses.dataclass(frozen=True)
class PlanStems:
    """Find the sources in what was heard of all parts."""

    spread: Spread

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles(self.spread.heard_of_parts)

    def run(self, separator: Separator, control: Control) -> PlannedStems:
        """See `Task`."""
        control(0.0)
        plan = self.spread.opened(separator).plan(control)
        background = separator.background_of(self.spread.parameters.options)
        return PlannedStems(plan, len(plan.centroids) + (background == "stem"))


@dataclasses.dataclass(frozen=True)
class SeparatePart:
    """Make a part of every stem, in files that are there in `target`."""

    spread: Spread
    part: Part
    stems: PlannedStems
    target: Path

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        start, end = (place_of(sample, self._channels) for sample in (self.part.start, self.part.end))
        written = Files(self.part.measured_file(self.spread.place)), Files(self.target, start, end)
        return TaskFiles((file_of(self.spread.recording), file_of(self.spread.heard)), written)

    @property
    def _channels(self) -> int:
        return self.spread.parameters.options.channels_of_stems(self.spread.recording.channels)

    def run(self, separator: Separator, control: Control) -> None:
        """See `Task`."""
        control(0.0)
        writer = PartWriter(self.target, self.stems.sources, self._channels, self.part.start)
        with contextlib.closing(writer):
            self.spread.opened(separator).separate(self.part, self.stems.plan, writer.write, control)


@dataclasses.dataclass(frozen=True)
class Joined:
    """All stems, though their files do not have their names yet.

    Attributes:
        stems: in their directory.
        order: of each, the number of the source that it is.
    """

    stems: StemSet
    order: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class JoinParts:
    """Say what is known of the stems, once all parts of them are made.

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

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        written = tuple(Files(self.target / name) for name in (stems.MANIFEST, stems.ACTIVITY, stems.OVERVIEW))
        return TaskFiles(self.spread.measured_of_parts, written)

    def run(self, separator: Separator, control: Control) -> Joined:
        """See `Task`."""
        control(1.0)
        recording = self.spread.recording
        of_file, of_content = self.warnings
        outcome = self.spread.opened(separator).outcome(self.plan, of_content, self.stage_seconds)
        recording.warnings = of_file
        found = stems.describe(outcome, recording, self.target, self.model, self.spread.parameters)
        return Joined(found, outcome.order)
