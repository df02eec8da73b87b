"""How many workers there should be, from the audio that waits or runs."""

from __future__ import annotations

import collections
import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class ScalingRule:
    """One worker for every so many seconds of audio, between two bounds.

    Attributes:
        least, most: workers.
        audio_s_per_worker: seconds of audio.
        idle_s: a worker that has not been needed for so long may go.
    """

    least: int
    most: int
    audio_s_per_worker: float
    idle_s: float


class Scaling:
    """Applies the rule: up at once, and down to the most that was needed within the last `idle_s`.

    Starting a worker takes seconds, so those that are there are kept for a while.
    """

    def __init__(self, rule: ScalingRule) -> None:
        self.rule = rule
        self._needed: collections.deque[tuple[float, int]] = collections.deque()
        """(when, how many), falling from the oldest to the newest: what is less than a newer one does not matter."""

    def wanted(self, audio_s: float, now: float) -> int:
        """How many there should be.

        Args:
            audio_s: seconds of audio that wait or run.
            now: seconds on a clock that never goes back.
        """
        rule = self.rule
        needed = min(rule.most, max(rule.least, math.ceil(audio_s / rule.audio_s_per_worker)))
        while self._needed and self._needed[-1][1] <= needed:
            self._needed.pop()
        self._needed.append((now, needed))
        while now - self._needed[0][0] > rule.idle_s:
            self._needed.popleft()
        return self._needed[0][1]
