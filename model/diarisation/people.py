"""Whom local diarisation hears in each segment of a recording: whose voice it is, and where its embeddings lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmingle.model.diarisation.config import Chances, DiarisationConfig, Diariser

_LEAST_S = 0.3
"""Whoever speaks for less is not listened to."""
_SURELY_ALONE_S = 0.5
"""Whoever speaks alone for less is known by all that they say, with whatever is said over it."""
_LISTENED_S = 3.0
"""So much of what somebody says is enough to know the voice."""


@dataclasses.dataclass
class People:
    """Those of each segment. Axes: (person, number) for what is known of a voice.

    Attributes:
        alone_s: (people,) of each segment: for how long each of them speaks alone.
        vectors: (people, numbers) float16 of each segment: the speaker vectors; zeros where somebody says too little.
        embedded: (people, dim) of each segment: sums of the embeddings of what is heard while each speaks alone.
    """

    alone_s: list[NDArray[np.float32]] = dataclasses.field(default_factory=list)
    vectors: list[NDArray[np.float16]] = dataclasses.field(default_factory=list)
    embedded: list[NDArray[np.float32]] = dataclasses.field(default_factory=list)

    def add(
        self,
        diariser: Diariser,
        samples: NDArray[np.float32],
        chances: Chances,
        points: NDArray[np.float32],
        weights: NDArray[np.float32],
        at: NDArray[np.float64],
    ) -> None:
        """Take in a segment.

        Args:
            diariser: listens to the voices.
            samples: (samples,) of the segment at its rate.
            chances: (frames, sets) that it gave for them.
            points: (points, dim) embeddings of some of what is heard.
            weights: (points,) of them.
            at: (points,) sample at which each of them lies.
        """
        config = diariser.config
        speaking = config.membership[chances.argmax(1)] > 0
        alone = speaking & (speaking.sum(1, keepdims=True) == 1)
        frame_s = config.step / config.sample_rate
        alone_s = frame_s * alone.sum(0)
        known_by = np.where(alone_s >= _SURELY_ALONE_S, alone, speaking)
        vectors = [
            diariser.vector(_said(samples, said, config)) if frame_s * said.sum() >= _LEAST_S else None
            for said in known_by.T
        ]
        numbers = max((len(vector) for vector in vectors if vector is not None), default=0)
        self.alone_s.append(alone_s.astype(np.float32))
        self.vectors.append(np.stack([np.zeros(numbers) if v is None else v for v in vectors]).astype(np.float16))
        frame = np.rint((at - config.first) / config.step).astype(np.int64).clip(0, len(alone) - 1)
        self.embedded.append((alone[frame] * weights[:, None]).T.astype(np.float32) @ points)

    def centroids(self, voices: NDArray[np.int64], count: int) -> NDArray[np.float32]:
        """(count, dim) unit norm: where the embeddings of each voice lie, by (segments, people) numbers of voices."""
        sums = np.zeros((count, self.embedded[0].shape[1]), np.float64)
        for numbers, embedded in zip(voices, self.embedded, strict=True):
            known = numbers >= 0
            np.add.at(sums, numbers[known], embedded[known])
        return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-8), np.float32)

    def extend(self, later: People) -> None:
        """Take in those of what follows in the same recording."""
        self.alone_s += later.alone_s
        self.vectors += later.vectors
        self.embedded += later.embedded

    def known(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(segments, people) seconds alone and (segments, people, numbers) speaker vectors; there is a segment."""
        numbers = max(vectors.shape[1] for vectors in self.vectors)
        vectors = [np.pad(v, ((0, 0), (0, numbers - v.shape[1]))) for v in self.vectors]
        return np.stack(self.alone_s).astype(np.float64), np.stack(vectors).astype(np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of them, to be written down; nothing where there are none."""
        if not self.alone_s:
            return {}
        alone_s, vectors = self.known()
        return {
            "alone_s": alone_s.astype(np.float32),
            "vectors": vectors.astype(np.float16),
            "embedded": np.stack(self.embedded),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> People:
        """Read what was written down."""
        if not arrays:
            return cls()
        return cls(list(arrays["alone_s"]), list(arrays["vectors"]), list(arrays["embedded"]))


def _said(samples: NDArray[np.float32], said: NDArray[np.bool_], config: DiarisationConfig) -> NDArray[np.float32]:
    """The samples in those frames, one after the other: as many of them as are listened to."""
    begin = config.first - config.step // 2
    wanted = np.repeat(said, config.step)[: max(0, len(samples) - begin)]
    return samples[begin : begin + len(wanted)][wanted][: int(_LISTENED_S * config.sample_rate)]
