"""What is known of a talk within windows of it -> what it says along the whole, and of the stems.

Within a window, people are told apart; who of them is whom in the next one, the stems have to say. Axes: (person,
block) within a window, (voice, block) along the recording.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SPEECH_BIAS, _OVERLAP_BIAS = -0.25, -1.0
"""Added to log odds: the rule for stems is made for those that the model itself gives, which are too low."""
_SURE = 1e-3
"""No chance is nearer to 0 or to 1."""
_UNKNOWN = 0.5
"""Chance that a voice speaks of which nothing is known."""
_LEAST_ALONE = 10.0
"""Whoever speaks alone for fewer blocks of a window is known by all the blocks in which they speak."""


@dataclasses.dataclass(frozen=True)
class Window:
    """Who speaks in a piece of a recording.

    Attributes:
        start: its first block.
        speaking: (people, blocks) chance that each of them speaks.
        alone: (people, blocks) chance that each speaks and nobody else does.
        somebody: (blocks,) chance that anybody speaks.
        several: (blocks,) chance that more than one does.
        weight: (blocks,) what counts where windows overlap.
        voices: (people,) number of the voice that each of them has, -1 where that is not known; None where nobody is.
    """

    start: int
    speaking: Array
    alone: Array
    somebody: Array
    several: Array
    weight: Array
    voices: NDArray[np.int64] | None = None

    def grouped(self, gains: Array) -> Array:
        """(voices, blocks) of the window, each block with the mean over the time in which the same people speak."""
        known_by = np.where(self.alone.sum(1, keepdims=True) > _LEAST_ALONE, self.alone, self.speaking)
        by_person = known_by @ gains.T / np.maximum(known_by.sum(1, keepdims=True), _SURE)
        shares = self.speaking / np.maximum(self.speaking.sum(0), _SURE)
        return np.asarray(by_person.T @ shares)


def grouped(gains: Array, windows: Sequence[Window]) -> Array:
    """What speaks for each voice in each block, half of it what speaks for it while the same people speak nearby.

    Args:
        gains: (voices, blocks).
        windows: that cover all blocks; without any, the gains stay what they are.
    """
    if not windows:
        return gains
    total, weights = np.zeros_like(gains), np.zeros(gains.shape[1])
    for window in windows:
        here = slice(window.start, window.start + len(window.somebody))
        total[:, here] += window.weight * window.grouped(gains[:, here])
        weights[here] += window.weight
    return np.asarray(np.where(weights > 0, 0.5 * (gains + total / np.maximum(weights, _SURE)), gains))


def speaking(windows: Sequence[Window], voices: int, sources: int, blocks: int) -> Array:
    """(sources, blocks) chance that each source speaks, by windows that say whose voices they hear.

    The first `voices` sources are those voices; of the others, nothing is known.
    """
    total, weights = np.zeros((sources, blocks)), np.zeros(blocks)
    for window in windows:
        here = slice(window.start, window.start + len(window.somebody))
        weights[here] += window.weight
        for person, voice in enumerate(() if window.voices is None else window.voices):
            if voice >= 0:
                total[voice, here] += window.weight * window.speaking[person]
    found = np.where(weights > 0, total / np.maximum(weights, _SURE), _UNKNOWN).clip(0.0, 1.0)
    found[voices:] = _UNKNOWN
    return np.asarray(found)


def agreed(own: Array | None, windows: Sequence[Window], blocks: int) -> Array | None:
    """(2, blocks) log odds of somebody speaking, and of several who do; None where nobody can tell.

    For speech, windows and the model itself count the same. Overlap is the windows' alone: they were taught on people
    who interrupt each other in earnest.

    Args:
        own: what the model says itself, of the same form; None where it was not taught.
        windows: that cover all blocks, or none.
        blocks: how many there are.
    """
    if not windows:
        return own
    chances, weights = np.zeros((2, blocks)), np.zeros(blocks)
    for window in windows:
        here = slice(window.start, window.start + len(window.somebody))
        chances[:, here] += window.weight * np.stack((window.somebody, window.several))
        weights[here] += window.weight
    chances = np.clip(chances / np.maximum(weights, _SURE), _SURE, 1.0 - _SURE)
    speech, overlap = np.log(chances / (1.0 - chances))
    if own is not None:
        speech = 0.5 * (own[0] + speech)
    return np.stack((speech + _SPEECH_BIAS, overlap + _OVERLAP_BIAS))
