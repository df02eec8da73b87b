"""What is separated: something that gives its samples block by block, as often as asked; and who takes the stems.

Axes: (channel, sample), (source, channel, sample).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from unmingle.model.errors import AudioError, FileError

Samples = NDArray[np.float32]
Sink = Callable[[Samples], None]
"""Takes the next (sources, channels, samples) of the stems; the background, where it is a stem, is the last."""
Progress = Callable[[float], None]
"""Called with the part done, 0 to 1, several times a second. What it raises ends the separation."""

BLOCK_S = 10.0
"""Seconds in one block, about: long enough to be efficient, short enough to be nothing in memory."""


MAX_CHANNELS = 8
MAX_AMPLITUDE = 1e10
"""The largest sample that is taken; full scale is 1. Whole numbers of 32 bits, held as floats, are below it."""


def check_samples(block: NDArray[np.floating], axis: int, sample_rate: int, before: int = 0) -> None:
    """See that samples are finite, and not so large that their squares are not.

    Args:
        block: two axes, of which `axis` is that of the samples.
        axis: 0 or 1.
        sample_rate: Hz.
        before: samples per channel that came before the block.

    Raises:
        FileError: they are not; the message says where.
    """
    peak = float(np.max(np.abs(block), initial=0.0))
    if peak <= MAX_AMPLITUDE:  # which NaN is not
        return
    good = (np.abs(block) <= MAX_AMPLITUDE).all(axis=1 - axis)
    at = (before + int(np.argmin(good))) / sample_rate
    if not np.isfinite(block).all():
        finite = np.isfinite(block).all(axis=1 - axis)
        at = (before + int(np.argmin(finite))) / sample_rate
        raise FileError(
            "audio_unusable",
            f"The recording has samples that are not finite (NaN or infinity), first at {at:.4f} s; expected numbers "
            "only.",
        )
    raise FileError(
        "audio_unusable",
        f"The recording has samples as large as {peak:.3g}, first at {at:.4f} s, where full scale is 1; expected at "
        f"most {MAX_AMPLITUDE:g}. Scale it down, or repair it.",
    )


class Recording(Protocol):
    """A recording of any length that can be read from the start more than once."""

    @property
    def sample_rate(self) -> int:
        """Hz."""
        ...

    @property
    def channels(self) -> int:
        """How many channels every block has."""
        ...

    @property
    def samples(self) -> int:
        """Samples per channel as announced, for progress only; the blocks decide."""
        ...

    def blocks(self) -> Iterator[Samples]:
        """Read from the start: (channels, any number of samples) float32, finite."""
        ...


@runtime_checkable
class Seekable(Recording, Protocol):
    """A recording that can be read from any sample on."""

    def blocks_from(self, start: int) -> Iterator[Samples]:
        """As `blocks`, without the first `start` samples."""
        ...


def seekable(recording: Recording) -> Seekable:
    """The recording itself.

    Raises:
        TypeError: it can be read from its start only.
    """
    if not isinstance(recording, Seekable):
        raise TypeError(f"{type(recording).__name__} can be read from its start only")
    return recording


def as_array(given: object) -> NDArray[np.floating]:
    """An array of what somebody has: an array, a list, or a tensor that may lie on a GPU or have a gradient.

    Raises:
        AudioError: it is not numbers.
    """
    for step in ("detach", "cpu"):  # of torch, which is not imported for this
        if hasattr(given, step) and not isinstance(given, np.ndarray):
            given = getattr(given, step)()
    try:
        signal = np.asarray(given)
        if isinstance(given, list | tuple):
            signal = signal.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise AudioError(
            f"The recording is of type {type(given).__name__}, which is no audio; expected floating-point samples of "
            "shape (samples,) or (channels, samples), or the path of a file."
        ) from error
    return signal


class ArrayRecording:
    """A recording that is in memory already.

    Attributes: is_mono_vector: whether it was given as (samples,).
    """

    def __init__(self, given: object, sample_rate: int) -> None:
        """Take (samples,) or (channels, samples): an array, a list, or a tensor of torch or another library.

        Raises:
            AudioError: not floating point, no audio shape, no samples, or samples that are not finite.
        """
        signal = as_array(given)
        self.is_mono_vector = signal.ndim == 1
        if signal.ndim not in (1, 2) or not np.issubdtype(signal.dtype, np.floating):
            raise AudioError(
                f"The recording has shape {signal.shape} and type {signal.dtype}; expected floating-point samples of "
                "shape (samples,) or (channels, samples)."
            )
        if signal.size == 0:
            raise AudioError("The recording has no samples; expected at least one.")
        signal = np.atleast_2d(signal)
        channels, samples = signal.shape
        if channels > MAX_CHANNELS:
            turned = samples <= MAX_CHANNELS
            raise AudioError(
                f"The recording has {channels} channels of {samples} samples; expected (channels, samples) with 1 to "
                f"{MAX_CHANNELS} channels." + (" It looks like (samples, channels): give its transpose, .T." * turned)
            )
        check_samples(signal, 1, sample_rate)
        self._signal = signal.astype(np.float32, copy=False)
        self.sample_rate = sample_rate
        self.channels, self.samples = self._signal.shape

    def blocks(self) -> Iterator[Samples]:
        """Views of the array, BLOCK_S seconds each."""
        return self.blocks_from(0)

    def blocks_from(self, start: int) -> Iterator[Samples]:
        """The same from sample `start` on."""
        step = max(1, round(BLOCK_S * self.sample_rate))
        for first in range(start, self.samples, step):
            yield self._signal[:, first : first + step]


class OneChannel:
    """One channel of a recording, as a recording of its own."""

    def __init__(self, recording: Recording, number: int) -> None:
        """Args: number: which channel, from 0."""
        self._recording, self._number = recording, number
        self.sample_rate, self.samples, self.channels = recording.sample_rate, recording.samples, 1

    def blocks(self) -> Iterator[Samples]:
        """(1, samples) of the channel, in the blocks of the whole recording."""
        for block in self._recording.blocks():
            yield np.ascontiguousarray(block[self._number, None])
