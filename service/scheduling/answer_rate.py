"""How fast answers get done, learned from those that were: decides how many recordings can be in work at a time."""

from __future__ import annotations

import time

_BUSY = 3
"""With so many at work, the time from one answer to the next is what one more costs."""

_ALWAYS = 4
"""There may always be so many, however slow the server is: it learns its speed from them."""


class AnswerRate:
    """The time between two answers while there is enough to do."""

    def __init__(self, longest_s: float) -> None:
        """Take the longest time that the last in line is to wait."""
        self._longest_s = longest_s
        self._each_s = 0.0
        self._last_answer_at: float | None = None
        self.held_s = 1.0
        """How long a recording is in work, of late."""

    def most(self, most: float) -> float:
        """How many may be in work, `most` at the most: the last in line can still expect its answer in time."""
        return min(most, max(_ALWAYS, int(self._longest_s / self._each_s))) if self._each_s > 0 else most

    def left(self, held_s: float, answered: bool, others_at_work: int) -> None:
        """One has left: how long was it since the one before, if there was enough to do all the time?"""
        now = time.monotonic()
        self.held_s += 0.1 * (held_s - self.held_s)
        if answered and self._last_answer_at is not None:
            each_s = now - self._last_answer_at
            self._each_s += (0.2 if self._each_s else 1.0) * (each_s - self._each_s)
        if others_at_work < _BUSY - 1:
            self._last_answer_at = None
        elif answered:
            self._last_answer_at = now
