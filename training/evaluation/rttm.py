"""Who speaks when, as a list of turns, and the RTTM files that hold such lists (NIST Rich Transcription, 2009)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from unmingle.training.evaluation.errors import EvaluationError

_EXPECTED = (
    "expected lines such as 'SPEAKER meeting 1 12.30 4.05 <NA> <NA> Anna <NA> <NA>': the fourth and fifth fields are "
    "start and duration in seconds, the eighth is the speaker."
)


@dataclasses.dataclass(frozen=True)
class Turn:
    """One stretch of time in which a person speaks, from `start_s` to `end_s` in seconds."""

    speaker: str
    start_s: float
    end_s: float


def read_rttm(path: Path) -> tuple[Turn, ...]:
    """The turns of an RTTM file, which describes one recording. Lines of other types than SPEAKER are skipped.

    Raises:
        EvaluationError: the file cannot be read, has no turns, or a line is not RTTM.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"The RTTM file {path} cannot be read ({error}).") from error
    numbered = [(number, line.split()) for number, line in enumerate(lines, start=1)]
    turns = [_turn(fields, f"{path}, line {number}") for number, fields in numbered if fields[:1] == ["SPEAKER"]]
    if not turns:
        raise EvaluationError(f"The RTTM file {path} has no turns; {_EXPECTED}")
    return tuple(turns)


def _turn(fields: Sequence[str], where: str) -> Turn:
    try:
        start_s, duration_s, speaker = float(fields[3]), float(fields[4]), fields[7]
    except (ValueError, IndexError) as error:
        raise EvaluationError(f"{where} is not RTTM; {_EXPECTED}") from error
    if not (math.isfinite(start_s) and math.isfinite(duration_s) and start_s >= 0 and duration_s >= 0):
        raise EvaluationError(f"{where} has a start of {start_s} s and a duration of {duration_s} s; {_EXPECTED}")
    return Turn(speaker, start_s, start_s + duration_s)


def to_rttm(turns: Sequence[Turn], recording: str) -> str:
    """The text of an RTTM file, turns in order of time. The recording's name must have no spaces."""
    return "".join(
        f"SPEAKER {recording} 1 {turn.start_s:.3f} {turn.end_s - turn.start_s:.3f} <NA> <NA> {turn.speaker} <NA> <NA>\n"
        for turn in sorted(turns, key=lambda turn: (turn.start_s, turn.speaker))
    )
