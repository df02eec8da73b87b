"""Whether somebody speaks, and whether several people do at once: what the embeddings tell of it.

The mean of a band's embeddings over a third of a second is long where one source goes on in it, and lies elsewhere for
voices than for noise. A logistic regression on the means of all bands answers both questions, as detectors of speech
and of overlapping speech do for diarisation (Bullock, Bredin and Garcia-Perera, "Overlap-aware diarization", ICASSP
2020). training/speech_detection.py teaches it. It recognises nobody.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedded import Embedded
from unmingle.model.errors import ModelError

BLOCK_FRAMES = 48
"""That are looked at together; what is left over at the end of a segment is not, but in a shorter one."""
QUESTIONS = 2
"""Somebody speaks; several people do, where somebody does."""

LogOdds = NDArray[np.float64]


@functools.lru_cache(maxsize=4)
def weights_of(config: ModelConfig) -> NDArray[np.float32] | None:
    """(bands * dim + 1, QUESTIONS), the constants last; None of a model that was not taught.

    Raises:
        ModelError: they are damaged.
    """
    if not config.speech_weights:
        return None
    shape = (config.bands * config.embedding_dim + 1, QUESTIONS)
    try:
        stored = np.frombuffer(base64.b64decode(config.speech_weights, validate=True), "<f2")
        return stored.reshape(shape).astype(np.float32)
    except (binascii.Error, ValueError) as error:
        raise ModelError(f"The model's speech_weights are damaged ({error}); publish it again.") from error


def stored(weights: NDArray[np.floating[Any]]) -> str:
    """(bands * dim + 1, QUESTIONS) as a configuration has them."""
    return base64.b64encode(np.asarray(weights, "<f2").tobytes()).decode("ascii")


def log_odds(embedded: Embedded, weights: NDArray[np.float32]) -> LogOdds:
    """(QUESTIONS, blocks) of a segment."""
    scores = embedded.block_scores(np.ascontiguousarray(weights[:-1]), BLOCK_FRAMES)
    return np.asarray((scores + weights[-1]).T, np.float64)


class SpeechTrack:
    """What was found along a recording, segment after segment."""

    def __init__(self, config: ModelConfig) -> None:
        self._weights = weights_of(config)
        self._block_s = BLOCK_FRAMES * config.hop / config.sample_rate
        self._hop_s = config.hop / config.sample_rate
        self._found: list[LogOdds] = []
        """(1 + QUESTIONS, blocks) of each segment: the middle of each block in seconds, and the log odds there."""
        self._whole = True
        """Whether all segments so far are in it."""

    def push(self, first_frame: int, embedded: Embedded) -> None:
        """Take in a segment."""
        if self._weights is not None:
            odds = log_odds(embedded, self._weights)
            middle = first_frame * self._hop_s + (np.arange(odds.shape[1]) + 0.5) * self._block_s
            self._found.append(np.concatenate((middle[None], odds)))

    def extend(self, later: SpeechTrack) -> None:
        """Take in what follows."""
        self._found += later._found
        self._whole &= later._whole

    def at(self, seconds: NDArray[np.float64]) -> LogOdds | None:
        """(QUESTIONS, len(seconds)) log odds at these times; None where nothing, or not all, was found out."""
        if not self._found or not self._whole:
            return None
        found = np.concatenate(self._found, axis=1)
        found = found[:, np.argsort(found[0], kind="stable")]  # neighbouring segments overlap
        return np.stack([np.interp(seconds, found[0], row) for row in found[1:]])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that was found, to be written down."""
        nothing = np.zeros((1 + QUESTIONS, 0))
        return {"found": np.concatenate((nothing, *self._found), axis=1)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what was written down, in place of what was found. Versions before there was a track wrote nothing."""
        found = arrays.get("found")
        self._whole = found is not None
        self._found = [] if found is None or not found.size else [found]
