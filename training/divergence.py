"""A loss that stays NaN: noticed, gone back from with a smaller learning rate, and given up on in the end."""

from __future__ import annotations

import math

from unmingle.training.errors import TrainingError

BAD_STEPS = 20
"""So many steps in a row without a finite loss and gradient are no accident."""
RATE_FACTOR = 0.3
MOST_REWINDS = 5


class Divergence:
    """Counts steps that led nowhere.

    Attributes:
        bad_steps: in a row, up to now.
    """

    def __init__(self) -> None:
        self.bad_steps = 0

    def note(self, loss: float, gradient_norm: float) -> bool:
        """Take up a step; returns whether the run has to go back."""
        self.bad_steps = 0 if math.isfinite(loss) and math.isfinite(gradient_norm) else self.bad_steps + 1
        return self.bad_steps >= BAD_STEPS


def check_rewinds(rewinds: int, step: int, rate: float) -> None:
    """Give up where going back did not help.

    Raises:
        TrainingError: it went back often enough.
    """
    if rewinds >= MOST_REWINDS:
        raise TrainingError(
            f"The loss or its gradient stays NaN after step {step}, although the run went back {rewinds} times, in the "
            f"end to a learning rate of {rate:.3g}. Start a new run with a much smaller --learning-rate, with "
            "--precision float32, or with other weights for --init."
        )
