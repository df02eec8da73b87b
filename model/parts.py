"""Where a long recording can be cut, so that its parts are worked on side by side, and what all of them need to know.

Nothing is heard of the cuts: a part gives, to the last bit, what a separation in one go gives there.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

from unmingle.model.config import ModelConfig
from unmingle.model.diarisation.linking import Talk
from unmingle.model.diarisation.track import LocalTurns
from unmingle.model.signal import segments, stft
from unmingle.model.signal.activity import block_samples
from unmingle.model.signal.masks import Vectors
from unmingle.model.signal.segments import SegmentLayout, SegmentRange

_REACH_S = 10.0
"""How far filters, windows and blocks may reach out of a part, at the very most."""
_MARGIN = 8
"""Frames that a part of the stems ends before the next segment begins: masks reach a window ahead, and are
interpolated."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a recording.

    Attributes:
        number: from 0.
        listened: the segments that are listened to.
        masked: the segments whose masks the stems are made with: one more, before those, as masks fade from one segment
            to the next.
        start, end: samples, at the recording's own rate, of the stems that it gives.
        is_last: whether the recording ends with it.
        heard, recorded: from which sample to which it needs what the network hears, and the recording.
    """

    number: int
    listened: SegmentRange
    masked: SegmentRange
    start: int
    end: int
    is_last: bool
    heard: tuple[int, int]
    recorded: tuple[int, int]

    def heard_file(self, directory: Path) -> Path:
        """Where listening to it leaves what was heard."""
        return directory / f"heard-{self.number}.npz"

    def measured_file(self, directory: Path) -> Path:
        """Where separating it leaves what was measured on its stems."""
        return directory / f"measured-{self.number}.npz"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the second pass needs to know of the first.

    Attributes:
        centroids: (sources, dim).
        count_chance: how sure the number of sources is, 0 to 1; None where it was given.
        has_background: whether some of the recording is background, beside what is to be separated.
        rumbles: whether much of it is too low for anybody to hear.
        segments: how many there are in all.
        turns: who speaks when, within each of them.
        talk: which source each of those people is; None where the embeddings alone tell the sources apart.
    """

    centroids: Vectors
    count_chance: float | None
    has_background: bool
    rumbles: bool
    segments: int
    turns: LocalTurns
    talk: Talk | None = None


def cut_into_parts(
    samples: int, sample_rate: int, heard_samples: int, config: ModelConfig, layout: SegmentLayout, most: int
) -> tuple[Part, ...]:
    """About equal parts, at most so many; fewer where there are fewer segments.

    Args:
        samples: of the recording, at least one.
        sample_rate: Hz, the recording's.
        heard_samples: of the recording at the model's rate.
        config: of the model.
        layout: of segments.
        most: how many parts there may be.
    """
    spans = segments.spans(stft.frame_count(heard_samples, config.window, config.hop), layout)
    count = min(most, len(spans))
    first = [len(spans) * number // count for number in range(count + 1)]
    at = [0, *(_border(spans[number][0], sample_rate, config) for number in first[1:-1]), samples]
    parts = []
    for number, (start, end) in enumerate(itertools.pairwise(at)):
        masked = _range(spans, max(0, first[number] - 1), first[number + 1])
        frames = (masked.start * config.hop, (masked.start + masked.frames) * config.hop)
        parts.append(
            Part(
                number,
                _range(spans, first[number], first[number + 1]),
                masked,
                start,
                end,
                number == count - 1,
                _reaching(*frames, heard_samples, config.sample_rate),
                _reaching(start, end, samples, sample_rate),
            )
        )
    return tuple(parts)


def _reaching(start: int, end: int, samples: int, sample_rate: int) -> tuple[int, int]:
    reach = int(_REACH_S * sample_rate)
    return max(0, start - reach), min(samples, end + reach)


def _range(spans: Sequence[tuple[int, int]], first: int, end: int) -> SegmentRange:
    return SegmentRange(first, tuple(spans[first:end]))


def _border(frame: int, sample_rate: int, config: ModelConfig) -> int:
    """A sample shortly before the segment that begins with `frame`, where a block of activity begins."""
    block = block_samples(sample_rate)
    return (frame - _MARGIN) * config.hop * sample_rate // config.sample_rate // block * block
