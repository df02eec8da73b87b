"""A part of a recording, from one time to another. Axes: (channels, samples)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmingle.model.errors import AudioError
from unmingle.service.cli.wishes import Wishes
from unmingle.service.decoding.recordings import FileRecording
from unmingle.service.schemas import SeparateParameters


def opened(path: Path, parameters: SeparateParameters, wishes: Wishes) -> FileRecording:
    """A file, or the part of it that is wanted.

    Raises:
        AudioError: it cannot be read.
    """
    if not wishes.part:
        return FileRecording(path, mono=parameters.mono, track=parameters.track)
    excerpt = Excerpt(path, mono=parameters.mono, track=parameters.track)
    return excerpt.select(wishes.start_s, wishes.end_s)


class Excerpt(FileRecording):
    """A file from `start_s` to `end_s`. Attributes: as of FileRecording, of the part."""

    def select(self, start_s: float, end_s: float | None) -> Excerpt:
        """Choose the part; the end of the file ends it, too."""
        self._begin = round(start_s * self.sample_rate)
        self._end = None if end_s is None else round(end_s * self.sample_rate)
        if self.samples:
            self.samples = max(0, min(self._end or self.samples, self.samples) - self._begin)
        return self

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Read the part.

        Raises:
            AudioError: the file is damaged, or ends before the part begins.
        """
        at, given = 0, 0
        for block in super().blocks():
            stop = None if self._end is None else max(0, self._end - at)
            piece = block[:, max(0, self._begin - at) : stop]
            at += block.shape[1]
            given += piece.shape[1]
            if piece.shape[1]:
                yield piece
            if self._end is not None and at >= self._end:
                break
        if not given:
            raise AudioError(
                f"it lasts {at / self.sample_rate:.2f} s, and the part begins at "
                f"{self._begin / self.sample_rate:.2f} s; expected an earlier --start."
            )
