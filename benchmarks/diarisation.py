"""Diarisation error rate, by pyannote.metrics: without a collar, overlapping speech included.

H. Bredin, "pyannote.metrics: a toolkit for reproducible evaluation, diagnostic, and error analysis of speaker
diarization systems", Interspeech 2017.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from unmingle.model.results import StemReport
from unmingle.training.evaluation.rttm import Turn


@dataclasses.dataclass(frozen=True)
class Errors:
    """Seconds of speech, and of each kind of error. Two people talking at once for a second are two seconds.

    Attributes:
        speech_s: that there are.
        missed_s: nobody found, or too few people.
        false_alarm_s: somebody found where nobody speaks, or too many people.
        confusion_s: somebody else found.
    """

    speech_s: float = 0.0
    missed_s: float = 0.0
    false_alarm_s: float = 0.0
    confusion_s: float = 0.0

    def __add__(self, other: Errors) -> Errors:
        """Of several recordings together."""
        return Errors(
            *(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)),
        )

    @property
    def percent(self) -> dict[str, float]:
        """The diarisation error rate and its three parts, in per cent of the speech."""
        parts = {"missed": self.missed_s, "false alarm": self.false_alarm_s, "confusion": self.confusion_s}
        return {name: 100.0 * value / self.speech_s for name, value in {"DER": sum(parts.values()), **parts}.items()}


def errors(truth: Sequence[Turn], answer: Sequence[Turn], seconds: float) -> Errors:
    """Compare two lists of turns of a recording; names in the answer are matched to those in the truth as is best.

    Args:
        truth: at least one turn.
        seconds: length of the recording; what is later does not count.
    """
    parts = DiarizationErrorRate(collar=0.0, skip_overlap=False).compute_components(
        _annotation(truth, seconds), _annotation(answer, seconds), uem=Timeline([Segment(0.0, seconds)])
    )
    return Errors(parts["total"], parts["missed detection"], parts["false alarm"], parts["confusion"])


def found_turns(reports: Sequence[StemReport]) -> tuple[Turn, ...]:
    """Who speaks when, as a separation has it: each stem is a person."""
    return tuple(
        Turn(f"stem_{number}", stretch.start_s, stretch.end_s)
        for number, report in enumerate(reports, start=1)
        for stretch in report.active
    )


def _annotation(turns: Sequence[Turn], seconds: float) -> Annotation:
    annotation = Annotation()
    for track, turn in enumerate(turns):
        segment = Segment(turn.start_s, min(turn.end_s, seconds))
        if segment:
            annotation[segment, track] = turn.speaker
    # Turns of one person that overlap count once.
    return annotation.support()
