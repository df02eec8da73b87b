"""What local diarisation says along a recording, segment after segment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmingle.model.diarisation.config import Chances, DiarisationConfig
from unmingle.model.diarisation.linking import Talk
from unmingle.model.signal.turn_taking import Window

_MERGED = 2
"""Frames that are kept as one: 34 ms are as fine as anybody needs."""
_LEVELS = 255
"""Chances are kept in a byte."""


@dataclasses.dataclass
class LocalTurns:
    """Small enough to be passed around: less than 1 MB an hour.

    Attributes:
        config: of the network; None where nothing was looked at.
        found: the time in the middle of the first frame of each segment, in seconds; and chances of its frames, as
            bytes of (frames, sets).
        is_whole: whether all of the recording so far was looked at.
    """

    config: DiarisationConfig | None = None
    found: list[tuple[float, NDArray[np.uint8]]] = dataclasses.field(default_factory=list)
    is_whole: bool = True

    def add(self, config: DiarisationConfig, start: int, chances: Chances) -> None:
        """Take in a segment that begins with the sample `start`, at the network's rate."""
        self.config = config
        whole = len(chances) // _MERGED * _MERGED
        merged = chances[:whole].reshape(-1, _MERGED, chances.shape[1]).mean(1)
        middle = start + config.first + 0.5 * (_MERGED - 1) * config.step
        self.found.append((middle / config.sample_rate, np.rint(merged * _LEVELS).astype(np.uint8)))

    def extend(self, later: LocalTurns) -> None:
        """Take in what follows in the same recording."""
        self.config = self.config or later.config
        self.found += later.found
        self.is_whole &= later.is_whole

    @property
    def overlap(self) -> float:
        """Part of the time with speech in which several speak."""
        if self.config is None or not self.found:
            return 0.0
        at_once = self.config.membership.sum(1)
        total = sum(kept.sum(0, dtype=np.float64) for _, kept in self.found)
        return float(total[at_once > 1].sum() / max(float(total[at_once > 0].sum()), 1.0))

    def windows(self, seconds: NDArray[np.float64], talk: Talk | None = None) -> tuple[Window, ...]:
        """What was found at these times, which rise; empty where nothing, or not all, was looked at.

        Args: talk: which voice each of the people has.
        """
        if self.config is None or not self.is_whole or not len(seconds):
            return ()
        frame_s = _MERGED * self.config.step / self.config.sample_rate
        member = self.config.membership
        at_once = member.sum(1)
        windows = []
        for number, (first_s, kept) in enumerate(self.found):
            ends_s = first_s + frame_s * (len(kept) + 2)
            if not len(kept) or ends_s < seconds[0] or first_s - 2 * frame_s > seconds[-1]:
                continue
            times = first_s + frame_s * np.arange(len(kept))
            begin, end = np.searchsorted(seconds, (times[0] - 2 * frame_s, times[-1] + 2 * frame_s))
            here = seconds[begin:end]
            if not len(here):
                continue
            chances = np.stack([np.interp(here, times, row) for row in kept.T / _LEVELS], axis=1)
            alone = chances[:, at_once == 1] @ member[at_once == 1]
            nobody, several = chances[:, at_once == 0].sum(1), chances[:, at_once > 1].sum(1)
            voices = None if talk is None else talk.voices[number]
            # Near the border, the least is known.
            weight = np.interp(here, times, np.hanning(len(times) + 2)[1:-1] + 0.01)
            windows.append(Window(int(begin), (chances @ member).T, alone.T, 1.0 - nobody, several, weight, voices))
        return tuple(windows)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that was found, to be written down; nothing where nothing was looked at."""
        if self.config is None:
            return {}
        return {
            "config": np.array(self.config.to_json()),
            "first_s": np.array([first_s for first_s, _ in self.found]),
            "frames": np.array([len(kept) for _, kept in self.found]),
            "chances": np.concatenate([kept for _, kept in self.found]),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> LocalTurns:
        """Read what was written down. Where that is nothing, what follows does not make it whole."""
        if not arrays:
            return cls(is_whole=False)
        ends = np.cumsum(arrays["frames"])[:-1]
        found = zip(arrays["first_s"].tolist(), np.split(arrays["chances"], ends), strict=True)
        return cls(DiarisationConfig.from_json(str(arrays["config"])), list(found))
