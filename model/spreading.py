"""One recording separated in parts, each by whoever has time, with files in a directory between them.

    prepare -> listen to every part -> plan, once for all -> separate every part -> outcome

The stems have the bytes of `Separator.separate_recording`. Recordings whose channels tell where sounds come from, or
are separated one by one, stay whole: what their filters learn goes on from beginning to end.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from unmingle.model.embedding.keeping import Forgetting
from unmingle.model.heard import Heard
from unmingle.model.inspection import of_result
from unmingle.model.listening import Listening, expected_bytes, expected_frames
from unmingle.model.masking import Masking
from unmingle.model.measured import Measured, added
from unmingle.model.options import SeparationOptions
from unmingle.model.overview import Gathering
from unmingle.model.parts import Part, Plan
from unmingle.model.recording import Progress, Recording, Samples, Seekable, Sink
from unmingle.model.results import Outcome
from unmingle.model.separator import SAMPLE_RATES_HZ, Separator, locating_by, narrowed, reference_of
from unmingle.model.signal.segments import SegmentRange, at_rate
from unmingle.model.spatial.survey import Survey, what_the_network_hears
from unmingle.model.stage_clock import StageClock


def can_be_spread(recording: Recording, surveyed: Survey | None, options: SeparationOptions) -> bool:
    """Whether parts of a recording can be separated by themselves."""
    apart = options.channels == "separate" and recording.channels > 1
    low, high = SAMPLE_RATES_HZ
    return low <= recording.sample_rate <= high and not apart and locating_by(surveyed, options) is None


def heard_blocks(separator: Separator, recording: Recording, surveyed: Survey | None) -> Iterator[Samples] | None:
    """What the network hears, at its rate; None where that is the recording itself."""
    heard = what_the_network_hears(recording, surveyed)
    rate = separator.embedder.config.sample_rate
    return None if heard is recording and recording.sample_rate == rate else at_rate(heard, rate, StageClock())


@dataclasses.dataclass(frozen=True)
class Spreading:
    """What every step needs to know.

    Attributes:
        separator: with the same model everywhere.
        recording: as it came.
        heard: of `heard_blocks`, or the recording itself.
        surveyed: what its channels are good for.
        parts: all of them.
        options: how to separate.
        directory: exists; what parts give is in its files.
        overview: whether one is wanted.
    """

    separator: Separator
    recording: Seekable
    heard: Seekable
    surveyed: Survey | None
    parts: Sequence[Part]
    options: SeparationOptions
    directory: Path
    overview: bool = False

    def listen(self, part: Part, tell: Progress) -> Mapping[str, float]:
        """The first pass over a part; the seconds that each stage took."""
        clock = StageClock()
        listening = self._listening(part.listened, clock)
        listening.listen(self.options.seed, lambda done: tell(2.0 * done))
        listening.heard.save(part.heard_file(self.directory))
        return clock.seconds

    def plan(self, tell: Progress) -> Plan:
        """Count and find the sources of the whole recording, once all parts were listened to."""
        first, *others = self.parts
        heard = Heard.load(first.heard_file(self.directory))
        for part in others:
            tell(part.number / len(self.parts))
            heard.extend(Heard.load(part.heard_file(self.directory)))
        listening = self._listening(None, StageClock())
        listening.remember(heard)
        return self.separator.planned(listening, self.options)

    def separate(self, part: Part, plan: Plan, sink: Sink, tell: Progress) -> None:
        """The second pass over a part, of which the stems, as the options want them, go to `sink`."""
        separator, clock = self.separator, StageClock()
        masking = Masking(
            self.recording,
            self._listening(part.masked, clock),
            plan,
            separator.embedder,
            clock,
            self.options.mask_kind,
            separator.background_of(self.options),
            gathering=self._gathering(),
            refiner=separator.refiner_of(self.options),
            part=part,
        )
        measured = masking.measured(
            narrowed(sink, self.options, self.surveyed), lambda done: tell(max(0.0, 2.0 * done - 1.0))
        )
        measured.save(part.measured_file(self.directory))

    def outcome(self, plan: Plan, warnings: Sequence[str], stage_seconds: Mapping[str, float]) -> Outcome:
        """What is known of the stems, once all parts are separated.

        Args:
            plan: that they were separated by.
            warnings: of the recording's inspection.
            stage_seconds: that the steps before took.
        """
        found = self._measured(plan, self.parts[0])
        for part in self.parts[1:]:
            found.extend(self._measured(plan, part))
        outcome = found.outcome(plan, self.separator.background_of(self.options))
        return dataclasses.replace(
            outcome,
            stage_seconds=added(stage_seconds, outcome.stage_seconds),
            warnings=(*warnings, *of_result(outcome.stems, outcome.count_chance)),
            reference=reference_of(self.surveyed, self.options),
        )

    def _listening(self, wanted: SegmentRange | None, clock: StageClock) -> Listening:
        separator = self.separator
        forgetting = Forgetting(expected_bytes(self.recording, separator.embedder.config))
        return Listening(
            self.heard, separator.embedder, separator.layout, clock, forgetting, wanted, separator.diariser
        )

    def _measured(self, plan: Plan, part: Part) -> Measured:
        sources = len(plan.centroids)
        measured = Measured.nothing(
            self.recording, sources, self.separator.embedder.config, StageClock(), self._gathering()
        )
        measured.restore(part.measured_file(self.directory), sources)
        return measured

    def _gathering(self) -> Gathering | None:
        config = self.separator.embedder.config
        return Gathering(config, math.ceil(expected_frames(self.recording, config))) if self.overview else None
