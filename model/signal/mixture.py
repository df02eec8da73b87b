"""The recording itself, as the second pass asks for it. Axes: (channel, sample), (channel, frame, bin)."""

from __future__ import annotations

import numpy as np

from unmingle.model.recording import Recording, Samples, seekable
from unmingle.model.signal import stft
from unmingle.model.signal.high_pass import HighPass
from unmingle.model.signal.masks import Grid


class Mixture:
    """Frames of its spectrum, and its samples once their frames were taken."""

    def __init__(self, recording: Recording, grid: Grid, without_rumble: bool, first_frame: int = 0) -> None:
        """Args:
        recording: `Seekable`, where it is not wanted from its start on.
        grid: where frames lie.
        without_rumble: whether the spectrum, not the samples, is that of what can be heard only.
        first_frame: the first that is wanted; the first sample is the one under this frame and none before.
        """
        # The analyser begins as if there was nothing before; the frames which that is wrong for are left out.
        analysed = max(0, first_frame - grid.window // grid.hop + 1)
        begin = analysed * grid.hop
        channels = recording.channels
        self._high_pass = HighPass(recording.sample_rate, channels, begin) if without_rumble else None
        read_from = self._high_pass.reads_from if self._high_pass else begin
        self._blocks = seekable(recording).blocks_from(read_from) if read_from else recording.blocks()
        self._early_samples = first_frame * grid.hop - read_from
        self._early_audible = begin - self._high_pass.gives_from if self._high_pass else 0
        self._early_frames = first_frame - analysed
        self._hop = grid.hop
        self._analyser = stft.Analyser(grid.window, grid.hop)
        self._nothing = np.zeros((channels, 0), np.float32)
        self._block = self._nothing
        self._heard: list[Samples] = []
        self._spectra: list[stft.Spectrum] = []
        self._ended = False

    def take(self, frames: int) -> stft.Spectrum:
        """(channels, frames, bins): the next `frames` frames, fewer only at the end."""
        while not self._ended and sum(part.shape[1] for part in self._spectra) < frames:
            piece = self._next(frames * self._hop)
            self._ended = piece.shape[-1] < frames * self._hop
            self._heard.append(piece[:, self._early_samples :])
            self._early_samples = max(0, self._early_samples - piece.shape[-1])
            self._analyse(self._high_pass.push(piece) if self._high_pass else piece)
            if self._ended:
                if self._high_pass:
                    self._analyse(self._high_pass.finish())
                self._take(self._analyser.finish())
        waiting = self._spectra[0] if len(self._spectra) == 1 else np.concatenate(self._spectra, axis=1)
        self._spectra = [waiting[:, frames:]]
        return waiting[:, :frames]

    def _analyse(self, audible: Samples) -> None:
        self._take(self._analyser.push(audible[:, self._early_audible :]))
        self._early_audible = max(0, self._early_audible - audible.shape[-1])

    def _take(self, spectrum: stft.Spectrum) -> None:
        self._spectra.append(spectrum[:, self._early_frames :])
        self._early_frames = max(0, self._early_frames - spectrum.shape[1])

    def samples(self, count: int) -> Samples:
        """(channels, samples): the next `count` samples, fewer only at the end."""
        waiting = np.concatenate(self._heard, axis=-1) if self._heard else self._nothing
        self._heard = [waiting[:, count:]]
        return waiting[:, :count]

    def _next(self, count: int) -> Samples:
        """(channels, samples) of the recording, fewer than `count` only at its end."""
        parts = []
        while count:
            if not self._block.shape[-1]:
                block = next(self._blocks, None)
                if block is None:
                    break
                self._block = block
            part, self._block = self._block[:, :count], self._block[:, count:]
            parts.append(part)
            count -= part.shape[-1]
        return np.concatenate(parts, axis=-1) if parts else self._nothing
