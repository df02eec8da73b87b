"""What in a recording spoils a separation, found while it is read. Axes: (channels, samples)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from unmingle.model.recording import Recording, Samples
from unmingle.model.results import StemReport

_FRAME_S = 0.025
_LOWEST_DB, _HIGHEST_DB = -200, 201  # of the histogram of frames' levels; MAX_AMPLITUDE is 200 dB
_CLIPPED_PART = 1e-4
_QUIET_DB = -55.0
_SILENCE_DB = -55.0
"""Below the loudest tenth of the frames."""
_SILENT_PART = 0.7
_TELEPHONE_HZ = 3_400
_BAND_DB = -50.0
_SPECTRUM_SAMPLES, _SPECTRUM_EVERY = 1024, 4
_UNSURE = 0.5
_LEAST_SHARE = 0.05


class Inspection:
    """Gathers what there is to know of a recording, block by block."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._rate, self._channels = sample_rate, channels
        self._frame = max(1, round(_FRAME_S * sample_rate))
        self._samples, self._flat = 0, 0
        self._sums, self._squares = np.zeros(channels), np.zeros(channels)
        self._mixed_square, self._mixed_sum = 0.0, 0.0
        self._levels = np.zeros(_HIGHEST_DB - _LOWEST_DB, np.int64)
        self._spectrum = np.zeros(_SPECTRUM_SAMPLES // 2 + 1)
        self._window = np.hanning(_SPECTRUM_SAMPLES)

    def push(self, block: Samples) -> None:
        """Take the next samples."""
        if not block.shape[1]:
            return
        self._samples += block.shape[1]
        self._sums += block.sum(1, dtype=np.float64)
        self._squares += np.einsum("cs,cs->c", block, block, dtype=np.float64)
        self._flat += sum(_flat_samples(channel) for channel in block)
        mixed = block[0] if self._channels == 1 else block.mean(0)
        self._mixed_sum += float(mixed.sum(dtype=np.float64))
        self._mixed_square += float(np.einsum("s,s->", mixed, mixed, dtype=np.float64))
        self._push_levels(mixed)
        frames = mixed[: len(mixed) // _SPECTRUM_SAMPLES * _SPECTRUM_SAMPLES].reshape(-1, _SPECTRUM_SAMPLES)
        bands = np.fft.rfft(frames[::_SPECTRUM_EVERY] * self._window)
        self._spectrum += np.square(np.abs(bands)).sum(0)

    def _push_levels(self, mixed: NDArray[np.float32]) -> None:
        whole = mixed[: len(mixed) // self._frame * self._frame].reshape(-1, self._frame).astype(np.float64)
        power = np.square(whole - whole.mean(1, keepdims=True)).mean(1) if len(whole) else np.zeros(0)
        level = np.clip(np.round(10 * np.log10(power + 1e-20)), _LOWEST_DB, _HIGHEST_DB - 1).astype(int)
        self._levels += np.bincount(level - _LOWEST_DB, minlength=len(self._levels))

    def warnings(self) -> tuple[str, ...]:
        """What a listener should know, in words."""
        if not self._samples:
            return ()
        if not self._squares.any():
            return ("The recording is silent.",)
        found = (self._clipping(), self._offset(), *self._level(), self._band(), self._cancelling())
        return tuple(text for text in found if text)

    def _clipping(self) -> str:
        part = self._flat / (self._samples * self._channels)
        return f"The recording is clipped: {100 * part:.2g} % of its samples lie in flat tops." * (part > _CLIPPED_PART)

    def _offset(self) -> str:
        means, squares = self._sums / self._samples, self._squares / self._samples
        offset = means[np.abs(means).argmax()]
        wrong = bool(((np.abs(means) > 0.005) & (means**2 > 0.01 * squares)).any())
        return f"The recording has a DC offset of {offset:+.3f}; it is left out of what the network hears." * wrong

    def _level(self) -> Iterator[str]:
        counted = np.cumsum(self._levels)
        if not counted[-1]:
            return
        loud = int(np.searchsorted(counted, 0.95 * counted[-1])) + _LOWEST_DB
        loudest = int(np.flatnonzero(self._levels)[-1]) + _LOWEST_DB
        if loudest < _QUIET_DB:
            yield f"The recording is very quiet: its loudest parts are at {loudest} dB of full scale."
        silent = self._levels[: max(0, int(max(loud, loudest - 20) + _SILENCE_DB) - _LOWEST_DB)].sum() / counted[-1]
        if silent > _SILENT_PART:
            yield f"{100 * silent:.0f} % of the recording is silence."

    def _band(self) -> str:
        hz = np.fft.rfftfreq(_SPECTRUM_SAMPLES, 1 / self._rate)
        below = self._spectrum[(hz > 200) & (hz <= _TELEPHONE_HZ)].sum()
        above = self._spectrum[hz > _TELEPHONE_HZ + 300].sum()
        narrow = self._rate <= 8_000 or (below > 0 and above < below * 10 ** (_BAND_DB / 10))
        return (
            f"The recording has nothing above {_TELEPHONE_HZ / 1000} kHz, as on a telephone; voices are harder to tell "
            "apart."
        ) * bool(narrow)

    def _cancelling(self) -> str:
        if self._channels == 1:
            return ""
        whole = float((self._squares - self._sums**2 / self._samples).mean())
        mixed = self._mixed_square - self._mixed_sum**2 / self._samples
        return (
            "The channels cancel each other where they are mixed to one. The network hears each of them, so the stems "
            "are as good as ever; but do without mono, here and later."
        ) * (whole > 0 and mixed < whole / (2 * self._channels))


class Inspected:
    """A recording that is inspected when it is read for the first time."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.sample_rate, self.channels, self.samples = recording.sample_rate, recording.channels, recording.samples
        self.inspection = Inspection(recording.sample_rate, recording.channels)
        self._inspected = False

    def blocks(self) -> Iterator[Samples]:
        """Read from the start."""
        first, self._inspected = not self._inspected, True
        for block in self._recording.blocks():
            if first:
                self.inspection.push(block)
            yield block


def of_result(reports: Sequence[StemReport], count_chance: float | None) -> tuple[str, ...]:
    """What a listener should know of the stems."""
    unsure = [
        number
        for number, report in enumerate(reports, 1)
        if report.confidence < _UNSURE and report.energy_share > _LEAST_SHARE
    ]
    found = []
    if unsure:
        names = ", ".join(f"stem {number}" for number in unsure)
        found.append(f"Low confidence: {names} may hold more than one sound, or a part of one.")
    if count_chance is not None and count_chance < _UNSURE:
        found.append(
            f"The number of sources is not certain ({100 * count_chance:.0f} %); give num_sources if you know it."
        )
    return tuple(found)


def _flat_samples(channel: NDArray[np.float32]) -> int:
    """How many samples lie in runs of three or more that are equal, at the channel's loudest."""
    size = np.abs(channel)
    peak = size.max()
    if peak < 0.05:
        return 0
    top = size >= 0.999 * peak
    if np.count_nonzero(top) < 3:
        return 0
    return int(np.count_nonzero(top[2:] & top[1:-1] & top[:-2] & (np.abs(channel[2:] - channel[:-2]) < 1e-3 * peak)))
