"""Speakers -> mixtures -> training targets, on the fly, seeded, in batches on the corpus's device.

Axes: (batch, source, sample) for signals, (batch, frame, bin, source) for memberships as in losses.py.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from model.config import ModelConfig
from training.corpus import Corpus


@dataclasses.dataclass(frozen=True)
class MixtureConfig:
    """How mixtures are drawn."""

    num_sources: tuple[float, ...] = (0.0, 0.7, 0.3)
    """Chance of 1, 2, 3... sources."""
    level_range_db: float = 5.0
    """Sources differ by at most this much: each gets a gain uniform in +- half of it."""
    sound_chance: float = 0.1
    """Chance that one source is not speech, where the corpus has such sounds."""
    speed_range: float = 0.0
    """Sources are played faster or slower by up to this fraction (changes pitch and formants: a new voice)."""


@dataclasses.dataclass(frozen=True)
class Draw:
    """Which pieces of which recordings make a batch: small tensors on the CPU, all of (batch, source)."""

    recording: Tensor
    start: Tensor
    gain: Tensor
    speed: Tensor


class MixtureSampler:
    """Draws batches of mixtures from a corpus; its generator's state is all the state there is."""

    def __init__(self, corpus: Corpus, config: MixtureConfig, generator: torch.Generator) -> None:
        self.corpus = corpus
        self.config = config
        self.generator = generator
        self._by_speaker = [torch.nonzero(corpus.speaker == s).flatten() for s in range(len(corpus.speakers))]
        seconds = torch.stack([corpus.lengths[r].sum() for r in self._by_speaker]).float()
        # Between uniform over speakers (every voice counts) and over hours (every second counts).
        weight = seconds.sqrt()
        self._speech_weight = torch.where(corpus.is_speech, weight, torch.zeros(()))
        self._sound_weight = torch.where(corpus.is_speech, torch.zeros(()), weight)

    def draw(self, batch: int, samples: int) -> Draw:
        """Choose speakers, recordings, places, gains and speeds for a batch of mixtures of `samples` samples."""
        c, g = self.config, self.generator
        most = len(c.num_sources)
        counts = torch.multinomial(torch.tensor(c.num_sources), batch, replacement=True, generator=g) + 1
        who = torch.multinomial(self._speech_weight.expand(batch, -1), most, generator=g)
        if bool(self._sound_weight.any()):
            sound = torch.multinomial(self._sound_weight, batch, replacement=True, generator=g)
            is_sound = (torch.rand(batch, generator=g) < c.sound_chance) & (counts > 1)
            who[:, 0] = torch.where(is_sound, sound, who[:, 0])
        pick = torch.rand(batch, most, generator=g)
        recording = torch.stack(
            [
                torch.stack(
                    [self._by_speaker[s][int(p * len(self._by_speaker[s]))] for s, p in zip(row, ps, strict=True)]
                )
                for row, ps in zip(who.tolist(), pick.tolist(), strict=True)
            ]
        )
        speed = 1.0 + c.speed_range * (2.0 * torch.rand(batch, most, generator=g) - 1.0)
        room = (self.corpus.lengths[recording] - (samples * speed).ceil().long() - 1).clamp_min(0)
        start = (torch.rand(batch, most, generator=g) * (room + 1)).long().clamp_max(room)
        level_db = c.level_range_db * (torch.rand(batch, most, generator=g) - 0.5)
        gain = 0.05 * 10.0 ** (level_db / 20.0) / self.corpus.rms[recording]
        present = torch.arange(most) < counts.unsqueeze(1)
        return Draw(recording, start, torch.where(present, gain, torch.zeros(())), speed)

    def sources(self, draw: Draw, samples: int) -> Tensor:
        """(batch, source, samples) float32 on the corpus's device; absent sources are zero."""
        data = self.corpus.samples
        at = draw.speed.unsqueeze(-1) * torch.arange(samples)
        whole = at.floor().long()
        position = draw.start.unsqueeze(-1) + whole
        last = (self.corpus.lengths[draw.recording] - 2).unsqueeze(-1)
        inside = (position <= last).to(data.device)
        index = (self.corpus.starts[draw.recording].unsqueeze(-1) + position.minimum(last)).to(data.device)
        fraction = (at - whole).to(data.device)
        left = data[index].float()
        if self.config.speed_range:
            left = left + fraction * (data[index + 1].float() - left)
        return left * inside * (draw.gain.to(data.device).unsqueeze(-1) / 32768.0)


@dataclasses.dataclass(frozen=True)
class Batch:
    """What one training step needs.

    Attributes:
        features: (batch, frame, band).
        memberships: (batch, frame, band, source) one-hot; the loudest source of each band.
        weights: (batch, frame, band), sum 1 over each item.
        targets: (batch, frame, band, source) truncated phase-sensitive magnitudes.
        magnitudes: (batch, frame, band) of the mixture.
    """

    features: Tensor
    memberships: Tensor
    weights: Tensor
    targets: Tensor
    magnitudes: Tensor


def samples_for(frames: int, config: ModelConfig) -> int:
    """Samples under exactly `frames` frames, without padding."""
    return (frames - 1) * config.hop + config.window


def spectra(signals: Tensor, config: ModelConfig) -> Tensor:
    """STFT without padding, as model.stft computes it inside a signal.

    (..., samples) -> (..., frames, bins) complex64.
    """
    window = torch.hann_window(config.window, device=signals.device).sqrt()
    framed = signals.unfold(-1, config.window, config.hop)
    return torch.fft.rfft(framed * window)


def log_magnitude(magnitude: Tensor, floor_db: float) -> Tensor:
    """model.features.log_magnitude in torch."""
    rms = magnitude.square().mean((-2, -1), keepdim=True).sqrt().clamp_min(1e-12)
    return torch.log(magnitude / rms + 10.0 ** (floor_db / 20.0))


def make_batch(sources: Tensor, config: ModelConfig, active_db: float = -40.0) -> Batch:
    """(batch, source, samples) -> features and targets, on the same device."""
    separate = spectra(sources, config)
    mixture = separate.sum(1)
    magnitude = mixture.abs()
    phase = mixture / magnitude.clamp_min(1e-12)
    sensitive = (separate * phase.conj().unsqueeze(1)).real
    targets = sensitive.clamp_min(0.0).minimum(magnitude.unsqueeze(1))
    power = separate.real.square() + separate.imag.square()
    power_bands = _group(power, config).movedim(1, -1)
    magnitude_bands = _group(magnitude, config)
    memberships = torch.nn.functional.one_hot(power_bands.argmax(-1), sources.shape[1]).float()
    peak = magnitude_bands.amax((1, 2), keepdim=True)
    weights = torch.where(magnitude_bands >= peak * 10.0 ** (active_db / 20.0), magnitude_bands, 0.0)
    weights = weights / weights.sum((1, 2), keepdim=True).clamp_min(1e-12)
    # As model.features.band_magnitude, which is what the network will be shown when it serves.
    heard = _group(magnitude.square(), config).sqrt()
    return Batch(
        log_magnitude(heard, config.floor_db),
        memberships,
        weights,
        _group(targets, config).movedim(1, -1),
        magnitude_bands,
    )


def _group(x: Tensor, config: ModelConfig) -> Tensor:
    """(..., bins) -> (..., bands), high bins summed in groups (their energy is what the group's embedding moves)."""
    low = config.full_resolution_bins
    high = x[..., low:].reshape(*x.shape[:-1], -1, config.high_group).sum(-1)
    return torch.cat((x[..., :low], high), -1)
