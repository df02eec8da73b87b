"""Speakers -> mixtures -> training targets, on the fly, seeded, in batches on the corpus's device.

Axes: (batch, source, sample) for signals, (batch, frame, band, source) for memberships as in losses.py.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor

from unmingle.model.config import ModelConfig
from unmingle.model.signal import features
from unmingle.training.corpus import Corpus
from unmingle.training.errors import TrainingError

Weighting = Literal["magnitude", "equal"]

QUIET_DB = 15.0
"""How far apart sources are at most where some are much farther away than others."""


@dataclasses.dataclass(frozen=True)
class MixtureConfig:
    """How mixtures are drawn."""

    num_sources: tuple[float, ...] = (0.0, 0.7, 0.3)
    """Chance of 1, 2, 3... sources."""
    level_range_db: float = 5.0
    """Sources differ by at most this much: each gets a gain uniform in +- half of it."""
    quiet_chance: float = 0.0
    """Chance that they differ by up to QUIET_DB instead: some voices are much farther away than others."""
    sound_chance: float = 0.1
    """Chance that one source is not speech, where the corpus has such sounds."""
    speed_range: float = 0.0
    """Sources are played faster or slower by up to this fraction (changes pitch and formants: a new voice)."""
    pieces: int = 1
    """The sources of a mixture are heard in this many pieces, each from another place of their recordings. The network
    hears each piece alone and the objective takes them as one: a source keeps its embeddings through a recording."""

    def __post_init__(self) -> None:
        if not self.num_sources or min(self.num_sources) < 0 or sum(self.num_sources) <= 0:
            raise TrainingError(
                f"num_sources is {self.num_sources}; expected the chances of 1, 2, 3... sources, for example 0,0.7,0.3."
            )
        if self.pieces < 1:
            raise TrainingError(f"pieces is {self.pieces}; expected 1 or more.")
        if (
            self.level_range_db < 0
            or not 0 <= self.sound_chance <= 1
            or not 0 <= self.quiet_chance <= 1
            or not 0 <= self.speed_range < 0.5
        ):
            raise TrainingError(
                "Expected level_range_db of 0 or more, sound_chance and quiet_chance from 0 to 1, and speed_range from "
                f"0 to below 0.5; got {self.level_range_db}, {self.sound_chance}, {self.quiet_chance} and "
                f"{self.speed_range}."
            )


@dataclasses.dataclass(frozen=True)
class Draw:
    """Which pieces of which recordings make a batch: small tensors on the CPU, all of (batch, source).

    Attributes:
        recording: index into the corpus.
        start: in samples, from the recording's first.
        gain: factor on samples of full scale 1; 0 for a source that is absent.
        speed: samples of the recording per sample of the mixture.
    """

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
        most = len(config.num_sources)
        if int(corpus.is_speech.sum()) < most:
            raise TrainingError(
                f"Mixtures of {most} sources need as many speakers; the corpus has {int(corpus.is_speech.sum())}. "
                "Give more speakers, or chances for fewer sources with --num-sources."
            )
        speakers = len(corpus.speakers)
        # Recordings in the order of their speakers: speaker s has _count[s] of them, from _in_order[_first[s]] on.
        self._in_order = torch.argsort(corpus.speaker, stable=True)
        self._count = torch.bincount(corpus.speaker, minlength=speakers)
        self._first = self._count.cumsum(0) - self._count
        weight = _speaker_weights(corpus)
        self._speech_weight = weight * corpus.is_speech
        self._sound_weight = weight * ~corpus.is_speech

    def draw(self, batch: int, samples: int) -> Draw:
        """Choose speakers, recordings, places, gains and speeds for a batch of mixtures of `samples` samples.

        Sources of one mixture are different speakers; at most one of them is a sound that is not speech. The pieces
        of a mixture are neighbours in the batch, which must be a multiple of them.
        """
        c, g, most = self.config, self.generator, len(self.config.num_sources)
        mixtures = batch // c.pieces
        counts = torch.multinomial(torch.tensor(c.num_sources), mixtures, replacement=True, generator=g) + 1
        who = torch.multinomial(self._speech_weight.expand(mixtures, -1), most, generator=g)
        if bool(self._sound_weight.any()):
            sound = torch.multinomial(self._sound_weight, mixtures, replacement=True, generator=g)
            is_sound = (torch.rand(mixtures, generator=g) < c.sound_chance) & (counts > 1)
            who[:, 0] = torch.where(is_sound, sound, who[:, 0])
        speed = 1.0 + c.speed_range * (2.0 * torch.rand(mixtures, most, generator=g) - 1.0)
        range_db = torch.where(torch.rand(mixtures, 1, generator=g) < c.quiet_chance, QUIET_DB, c.level_range_db)
        level_db = range_db * (torch.rand(mixtures, most, generator=g) - 0.5)
        counts, who, speed, level_db = (x.repeat_interleave(c.pieces, 0) for x in (counts, who, speed, level_db))
        nth = (torch.rand(batch, most, generator=g) * self._count[who]).long().minimum(self._count[who] - 1)
        recording = self._in_order[self._first[who] + nth]
        room = (self.corpus.lengths[recording] - (samples * speed).ceil().long() - 1).clamp_min(0)
        start = (torch.rand(batch, most, generator=g) * (room + 1)).long().minimum(room)
        gain = 0.05 * 10.0 ** (level_db / 20.0) / self.corpus.rms[recording]
        present = torch.arange(most) < counts.unsqueeze(1)
        return Draw(recording, start, torch.where(present, gain, torch.zeros(())), speed)

    def sources(self, draw: Draw, samples: int) -> Tensor:
        """(batch, source, samples) float32 on the corpus's device; absent sources are zero."""
        c = self.config
        # With speeds, the last sample needs its right neighbour, too.
        reach = samples if not c.speed_range else math.ceil(samples * (1.0 + c.speed_range)) + 2
        data = self.corpus.cut(draw.recording, draw.start, reach, draw.gain > 0)
        last = self.corpus.lengths[draw.recording] - draw.start - 1
        # Only these small tensors travel to the device; everything of (batch, source, samples) is made there.
        last, speed, gain = (
            x.to(data.device, non_blocking=True).unsqueeze(-1)
            for x in (last.clamp_max(reach - 1), draw.speed, draw.gain / 32768.0)
        )
        if not c.speed_range:
            return data * gain
        position = speed * torch.arange(samples, device=data.device)
        at = position.long()
        left, right = data.gather(-1, at.minimum(last)).float(), data.gather(-1, (at + 1).minimum(last)).float()
        return (left + (position - at) * (right - left)) * (gain * (at <= last))


def _speaker_weights(corpus: Corpus) -> Tensor:
    """(speakers,) chance of each speaker, not normalised.

    Within a dataset, between uniform over speakers (every voice counts) and over hours (every second counts). Datasets
    are weighed by hours to the power of 3/4, so that one that calls every utterance a speaker does not outweigh others.
    """
    seconds = torch.zeros(len(corpus.speakers), dtype=torch.float64)
    seconds.index_add_(0, corpus.speaker, corpus.lengths.double())
    datasets = int(corpus.dataset.max()) + 1
    hours = torch.zeros(datasets, dtype=torch.float64).index_add_(0, corpus.dataset, seconds)
    spread = torch.zeros(datasets, dtype=torch.float64).index_add_(0, corpus.dataset, seconds.sqrt())
    return (seconds.sqrt() * (hours**0.75 / spread)[corpus.dataset]).float()


@dataclasses.dataclass(frozen=True)
class Batch:
    """What one training step needs.

    Attributes:
        features: (batch, frame, band).
        memberships: (batch, frame, band, source + 1) one-hot; the loudest of the sources and, last, the background.
        weights: (batch, frame, band), sum 1 over each item.
        targets: (batch, frame, band, source + 1) truncated phase-sensitive magnitudes.
        magnitudes: (batch, frame, band) of the mixture.
    """

    features: Tensor
    memberships: Tensor
    weights: Tensor
    targets: Tensor
    magnitudes: Tensor

    def joined(self, pieces: int) -> Batch:
        """The same with the pieces of each mixture as one item: (batch / pieces, pieces * frame, ...)."""
        return Batch(
            join(self.features, pieces),
            join(self.memberships, pieces),
            join(self.weights, pieces) / pieces,
            join(self.targets, pieces),
            join(self.magnitudes, pieces),
        )

    def loudest(self, share: float) -> tuple[Batch, Tensor]:
        """The bands that weigh most, and where they are: losses over all bands spend their time where nothing is heard.

        Args:
            share: of the bands to keep.

        Returns:
            A batch with (batch, frame, kept) in place of (batch, frame, band), in which the order of frames and bands
            means nothing, without features; and (batch, frame * kept) indices for `pick`.
        """
        frames, bands = self.weights.shape[1:]
        kept = frames * max(1, round(share * bands))
        index = self.weights.flatten(1).topk(kept).indices.sort().values
        weights = pick(self.weights, index, frames)
        weights = weights / weights.sum((1, 2), keepdim=True).clamp_min(1e-12)
        batch = Batch(
            self.features,
            pick(self.memberships, index, frames),
            weights,
            pick(self.targets, index, frames),
            pick(self.magnitudes, index, frames),
        )
        return batch, index


def pick(x: Tensor, index: Tensor, frames: int) -> Tensor:
    """(batch, frame, band, ...) -> (batch, frame, kept, ...): the bands of an index that `Batch.loudest` gave."""
    flat = x.flatten(1, 2)
    where = index.reshape(*index.shape, *(1,) * (flat.dim() - 2)).expand(-1, -1, *flat.shape[2:])
    return flat.gather(1, where).reshape(x.shape[0], frames, -1, *x.shape[3:])


def join(x: Tensor, pieces: int) -> Tensor:
    """(batch, frame, ...) -> (batch / pieces, pieces * frame, ...)."""
    return x.reshape(x.shape[0] // pieces, -1, *x.shape[2:])


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


def band_sums(x: Tensor, config: ModelConfig) -> Tensor:
    """(..., bins) -> (..., bands): low bins as they are, high ones summed in groups."""
    low = config.full_resolution_bins
    high = x[..., low:].reshape(*x.shape[:-1], -1, config.high_group).sum(-1)
    return torch.cat((x[..., :low], high), -1)


def limits(magnitude: Tensor) -> Tensor:
    """model.features.limits in torch: (batch, frame, band) -> (batch, frame, 1)."""
    energy = magnitude.square().sum(-1, keepdim=True)
    frames, ordered = energy.shape[-2], energy.sort(-2).values
    loud = ordered[..., features.loud_frame(frames), None, :]
    heard = energy > loud * 10.0 ** (features.HEARD_DB / 10.0)
    rank = frames - 1 - heard.sum(-2, keepdim=True) * features.LOUD_PERCENT // 100
    most = ordered.gather(-2, rank)
    return (most / energy.clamp_min(1e-20)).clamp_max(1.0).sqrt()


def log_magnitude(magnitude: Tensor, floor_db: float) -> Tensor:
    """model.features.log_magnitude in torch."""
    gains = limits(magnitude)
    rms = (magnitude * gains).square().mean((-2, -1), keepdim=True).sqrt().clamp_min(1e-12)
    heard = magnitude * (gains * 10.0 ** (features.HEADROOM_DB / 20.0)).clamp_max(1.0)
    return torch.log(heard / rms + 10.0 ** (floor_db / 20.0))


def make_batch(
    sources: Tensor,
    config: ModelConfig,
    weighting: Weighting = "magnitude",
    active_db: float = -40.0,
    background: Tensor | None = None,
    mixture: Tensor | None = None,
) -> Batch:
    """(batch, source, samples) -> features and targets, on the same device.

    Features are those of model/features.py. A band's target is |X| m, with m the real mask that brings the mixture X
    nearest to the source S over the band's bins, Re<S, X> / |X|^2, truncated to 0..1: for a band of one bin, the
    truncated phase-sensitive mask of Erdogan et al. (ICASSP 2015).

    Args:
        weighting: active bands weigh their magnitude, or all the same (the paper's objective).
        active_db: bands further below the loudest of their item than this weigh nothing.
        background: (batch, samples), heard in the mixture but no source; silence where it is left out.
        mixture: (batch, samples), where it is more than the sum of sources and background.
    """
    if background is None:
        background = torch.zeros_like(sources[:, 0])
    separate = spectra(torch.cat((sources, background.unsqueeze(1)), 1), config)
    heard = separate.sum(1) if mixture is None else spectra(mixture, config)
    power = band_sums(_product(separate, separate), config)
    magnitude = band_sums(_product(heard, heard), config).sqrt()
    shared = band_sums(_product(separate, heard.unsqueeze(1)), config) / magnitude.unsqueeze(1).clamp_min(1e-12)
    targets = shared.clamp_min(0.0).minimum(magnitude.unsqueeze(1))
    memberships = torch.nn.functional.one_hot(power.max(1).indices, separate.shape[1]).float()
    gains = limits(magnitude)
    limited = magnitude * gains
    active = limited >= limited.amax((1, 2), keepdim=True) * 10.0 ** (active_db / 20.0)
    active &= gains >= 10.0 ** (-features.HEADROOM_DB / 20.0)
    weights = limited * active if weighting == "magnitude" else active.float()
    weights = weights / weights.sum((1, 2), keepdim=True).clamp_min(1e-12)
    return Batch(log_magnitude(magnitude, config.floor_db), memberships, weights, targets.movedim(1, -1), magnitude)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Re(a b*) of complex tensors."""
    return a.real * b.real + a.imag * b.imag
