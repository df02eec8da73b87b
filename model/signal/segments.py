"""A recording -> overlapping segments that the network can take one by one, and masks of segments -> one run of masks.

Axes: (frame, band) for magnitudes, (source, frame, band) for masks.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.recording import Recording, Samples, Seekable
from unmingle.model.signal import features, stft
from unmingle.model.signal.high_pass import HighPass
from unmingle.model.stage_clock import StageClock

Magnitude = NDArray[np.float32]
Masks = NDArray[np.float32]
Overhear = Callable[[Samples], None]

_FRAMES_AT_ONCE = 128
"""Of one channel; what is worked on in pieces so small stays in the processor's cache."""


@dataclasses.dataclass(frozen=True)
class SegmentLayout:
    """How long segments are and how far neighbours overlap, in frames of the network; see `cut` for the last one."""

    frames: int = 1250
    overlap: int = 125


@dataclasses.dataclass(frozen=True)
class Segment:
    """Consecutive frames of a recording, the first of them number `start`."""

    start: int
    magnitude: Magnitude


@dataclasses.dataclass(frozen=True)
class SegmentRange:
    """Neighbouring segments of a recording.

    Attributes:
        first: number of the first of them.
        spans: first frame and length of each.
    """

    first: int
    spans: tuple[tuple[int, int], ...]

    @property
    def start(self) -> int:
        """First frame of the first of them."""
        return self.spans[0][0]

    @property
    def frames(self) -> int:
        """From the first frame to the last."""
        start, length = self.spans[-1]
        return start + length - self.start


def heard_magnitude(
    recording: Recording,
    config: ModelConfig,
    clock: StageClock | None = None,
    high_pass: HighPass | None = None,
    overhear: Overhear | None = None,
) -> Iterator[Magnitude]:
    """What the network hears of a recording, piece by piece: band magnitudes of all channels together.

    The power of the channels is averaged, so that a source that is in one channel only is heard as well as any.
    `overhear` is given the samples that they are made from, before the magnitudes come.
    """
    clock = clock or StageClock()
    high_pass = high_pass or HighPass(config.sample_rate, recording.channels)
    heard = at_rate(recording, config.sample_rate, clock)
    return _magnitude(_overheard(heard, overhear), recording.channels, config, clock, high_pass)


def heard_magnitude_from(
    frame: int,
    recording: Seekable,
    config: ModelConfig,
    clock: StageClock,
    high_pass: HighPass,
    overhear: Overhear | None = None,
) -> Iterator[Magnitude]:
    """What `heard_magnitude` gives of a recording at the model's rate, to the last bit, but from a frame of it on.

    Args:
        frame: the first one that is wanted.
        recording: at the model's rate.
        config: of the model.
        clock: counts the time.
        high_pass: from `first_sample_of(frame, config)` on.
        overhear: is given the samples, from the high-pass's `reads_from` on.
    """
    heard = _overheard(clock.around("read", recording.blocks_from(high_pass.reads_from)), overhear)
    # The analyser begins as if there was nothing before; the frames which that is wrong for are left out.
    early = frame - max(0, frame - config.window // config.hop + 1)
    skip = first_sample_of(frame, config) - high_pass.gives_from
    for magnitude in _magnitude(heard, recording.channels, config, clock, high_pass, skip):
        yield magnitude[early:]
        early = max(0, early - len(magnitude))


def _overheard(blocks: Iterable[Samples], overhear: Overhear | None) -> Iterator[Samples]:
    for block in blocks:
        if overhear:
            overhear(block)
        yield block


def first_sample_of(frame: int, config: ModelConfig) -> int:
    """Where to begin, so that this frame is right."""
    return max(0, frame - config.window // config.hop + 1) * config.hop


def _magnitude(
    heard: Iterable[Samples],
    channels: int,
    config: ModelConfig,
    clock: StageClock,
    high_pass: HighPass,
    skip: int = 0,
) -> Iterator[Magnitude]:
    """Args: skip: samples that come out of the high-pass and are left out."""
    analyser = stft.Analyser(config.window, config.hop)
    step = max(1, _FRAMES_AT_ONCE // channels) * config.hop

    def bands(analysed: Callable[[], stft.Spectrum]) -> Magnitude:
        with clock.stage("listen"):
            spectrum = analysed()
            power = np.square(spectrum.real)
            power += np.square(spectrum.imag)
            return features.band_magnitude(power[0] if len(power) == 1 else power.mean(0), config)

    def filtered() -> Iterator[Samples]:
        for block in heard:
            with clock.stage("listen"):
                audible = high_pass.push(block)
            yield audible
        with clock.stage("listen"):
            audible = high_pass.finish()
        yield audible

    for audible in filtered():
        wanted, skip = audible[:, skip:], max(0, skip - audible.shape[-1])
        for start in range(0, wanted.shape[-1], step):
            yield bands(functools.partial(analyser.push, wanted[:, start : start + step]))
    yield bands(analyser.finish)


def at_rate(recording: Recording, sample_rate: int, clock: StageClock) -> Iterator[Samples]:
    """The blocks of a recording at another rate: (channels, samples), at least one sample in all."""
    if recording.sample_rate == sample_rate:
        yield from clock.around("read", recording.blocks())
        return
    resampler = soxr.ResampleStream(recording.sample_rate, sample_rate, recording.channels, dtype="float32")
    heard_any = False
    for block in clock.around("read", recording.blocks()):
        with clock.stage("resample"):
            heard = resampler.resample_chunk(np.ascontiguousarray(block.T)).reshape(-1, recording.channels).T
        heard_any |= heard.size > 0
        yield heard
    with clock.stage("resample"):
        nothing = np.zeros((0, recording.channels), np.float32)
        rest = resampler.resample_chunk(nothing, last=True).reshape(-1, recording.channels).T
    # Less than one sample of the network's still is a recording: it is heard as silence.
    yield rest if heard_any or rest.size else np.zeros((recording.channels, 1), np.float32)


def cut(pieces: Iterable[Magnitude], layout: SegmentLayout) -> Iterator[Segment]:
    """Cut a run of frames into segments of one length, but for the last one.

    Where little is left over at the end, the last segment is up to half a step longer, since one more segment would
    read most of it twice. Else there is one more, which reaches back as far as it must to be as long as the others. A
    recording shorter than a segment is one shorter segment. No frames give no segments.
    """
    step = layout.frames - layout.overlap
    start = 0
    parts: list[Magnitude] = []
    for piece in pieces:
        parts.append(piece)
        if sum(map(len, parts)) < layout.frames + step:
            continue
        waiting = np.concatenate(parts)
        while len(waiting) >= layout.frames + step:
            # One whole segment stays back, so that the last one can reach back into it.
            yield Segment(start, waiting[: layout.frames])
            waiting = waiting[step:]
            start += step
        parts = [waiting]
    if not any(map(len, parts)):
        return
    waiting = np.concatenate(parts)
    rest = len(waiting) - layout.frames
    if rest <= step // 2:
        yield Segment(start, waiting)
        return
    yield Segment(start, waiting[: layout.frames])
    yield Segment(start + rest, waiting[rest:])


def spans(frames: int, layout: SegmentLayout) -> list[tuple[int, int]]:
    """First frame and length of each segment that `cut` makes of so many frames."""
    step = layout.frames - layout.overlap
    whole = max(0, (frames - layout.frames) // step)
    found = [(number * step, layout.frames) for number in range(whole)]
    rest = frames - whole * step
    if rest > layout.frames + step // 2:
        return [*found, (whole * step, layout.frames), (frames - layout.frames, layout.frames)]
    return [*found, (whole * step, rest)] if rest else found


def taken(pieces: Iterable[Magnitude], wanted: SegmentRange) -> Iterator[Segment]:
    """Some segments, of a run of frames that begins with the first of them.

    Raises:
        EOFError: the frames end before the last of them does.
    """
    run, begin = iter(pieces), wanted.start
    parts: list[Magnitude] = []
    for start, length in wanted.spans:
        while begin + sum(map(len, parts)) < start + length:
            if (piece := next(run, None)) is None:
                raise EOFError(f"The recording ends before frame {start + length}.")
            parts.append(piece)
        waiting = np.concatenate(parts)[start - begin :]
        yield Segment(start, waiting[:length])
        parts, begin = [waiting], start


def batches(segments: Iterable[Segment], most: int) -> Iterator[list[Segment]]:
    """Neighbouring segments of equal length, at most `most` together."""
    batch: list[Segment] = []
    for segment in segments:
        if batch and (len(batch) == most or len(batch[0].magnitude) != len(segment.magnitude)):
            yield batch
            batch = []
        batch.append(segment)
    if batch:
        yield batch


def blend(masked: Iterable[tuple[int, Masks]]) -> Iterator[Masks]:
    """Masks of overlapping segments -> consecutive masks without a seam.

    Where two segments overlap the masks fade linearly from one to the next, so their sum over sources stays 1, and
    the frames near a segment's border, which the network knew least about, count least.

    Args:
        masked: (first frame, (sources, frames, bands)) in order; the masks are written over.

    Yields:
        (sources, frames, bands), which concatenate to the masks of all frames.
    """
    held: Masks | None = None
    held_start = 0
    for start, masks in masked:
        if held is None:
            held, held_start = masks, start
            continue
        if start > held_start:
            yield held[:, : start - held_start]
        fading = held[:, start - held_start :]
        overlap = fading.shape[1]
        rise = ((np.arange(overlap, dtype=np.float32) + 0.5) / np.float32(max(1, overlap)))[:, None]
        masks[:, :overlap] = fading + rise * (masks[:, :overlap] - fading)
        held, held_start = masks, start
    if held is not None:
        yield held
