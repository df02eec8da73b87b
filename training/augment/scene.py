"""Voices -> a scene: what is heard of each of them, what is heard behind them, and what the file holds.

Axes: (batch, source, sample) for sources, (batch, sample) for background and mixture. The pieces of one mixture are
neighbours in the batch and share their conditions.
"""

from __future__ import annotations

import dataclasses

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from unmingle.model.signal import high_pass
from unmingle.training.augment import backgrounds, channels
from unmingle.training.augment.conditions import Conditions
from unmingle.training.augment.rooms import RoomBank, heard_in
from unmingle.training.augment.turns import take_turns
from unmingle.training.mixtures import MixtureSampler

KINDS = {"recorded": 0.6, "coloured": 0.15, "hum": 0.05, "babble": 0.2}
"""Chance of each kind of background. Where there are no recordings, the others share their chance."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """A batch of recordings.

    Attributes:
        sources: (batch, source, samples) as they are in the mixture.
        background: (batch, samples) as it is in the mixture.
        mixture: (batch, samples): their sum, and what quantisation, clipping and codecs did to it.
    """

    sources: Tensor
    background: Tensor
    mixture: Tensor


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """Where scenes take their rooms and backgrounds from, all on the device of the voices.

    Attributes:
        rooms: None where no scene is in a room.
        noises: draws recorded backgrounds; None where there are none.
        babble: draws five to eight voices; None where no babble is wanted.
    """

    rooms: RoomBank | None = None
    noises: MixtureSampler | None = None
    babble: MixtureSampler | None = None

    def in_pieces(self, pieces: int) -> Surroundings:
        """The same for mixtures of so many pieces."""
        return Surroundings(self.rooms, _in_pieces(self.noises, pieces), _in_pieces(self.babble, pieces))


def make_scene(
    sources: Tensor,
    conditions: Conditions,
    surroundings: Surroundings,
    pieces: int,
    sample_rate: int,
    generator: torch.Generator,
) -> Scene:
    """Draw conditions for a batch of voices and let them be heard.

    Args:
        sources: (batch, source, samples) dry voices; absent ones are zero.
        generator: on the CPU; decides everything.
    """
    batch, device = len(sources), sources.device
    draw = _Draw(batch // pieces, pieces, device, generator)
    # What is as long as the signals is drawn where they are.
    rng = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
    sources = take_turns(sources, draw.happens(conditions.talk_chance), sample_rate, generator)
    inside = draw.happens(conditions.room_chance)
    if surroundings.rooms is not None and inside.any():
        sources = sources.clone()
        sources[inside] = heard_in(sources[inside], draw.places(surroundings.rooms, sources.shape[1])[inside])
    background = torch.zeros_like(sources[:, 0])
    noisy = draw.happens(conditions.noise_chance)
    snr_db = draw.uniform(conditions.loud_noise_db, conditions.soft_noise_db)
    if noisy.any():
        made = _backgrounds(surroundings, draw, sources.shape[-1], sample_rate, rng)
        background[noisy] = backgrounds.at_snr(made, sources.sum(1), snr_db)[noisy]
    parts = torch.cat((sources, background.unsqueeze(1)), 1)
    telephone = draw.happens(conditions.telephone_chance)
    parts = _linear(parts, telephone, conditions, draw, sample_rate, rng)
    mixture = _distorted(parts.sum(1), telephone, conditions, draw, sample_rate)
    everything = high_passed(torch.cat((parts, mixture.unsqueeze(1)), 1), sample_rate)
    return Scene(everything[:, :-2], everything[:, -2], everything[:, -1])


def _in_pieces(sampler: MixtureSampler | None, pieces: int) -> MixtureSampler | None:
    if sampler is None:
        return None
    return MixtureSampler(sampler.corpus, dataclasses.replace(sampler.config, pieces=pieces), sampler.generator)


class _Draw:
    """Draws that the pieces of a mixture share: (batch,) on the device."""

    def __init__(self, mixtures: int, pieces: int, device: torch.device, generator: torch.Generator) -> None:
        self.mixtures, self.pieces, self.device, self.generator = mixtures, pieces, device, generator

    def uniform(self, low: float, high: float) -> Tensor:
        drawn = low + (high - low) * torch.rand(self.mixtures, generator=self.generator)
        return drawn.repeat_interleave(self.pieces, 0).to(self.device)

    def happens(self, chance: float) -> Tensor:
        return self.uniform(0.0, 1.0) < chance

    def places(self, bank: RoomBank, sources: int) -> Tensor:
        """(batch, source, response): a room for each mixture, a place in it for each source."""
        rooms, places, _ = bank.responses.shape
        room = torch.randint(rooms, (self.mixtures, 1), generator=self.generator)
        place = torch.rand(self.mixtures, places, generator=self.generator).argsort(1)[:, :sources]
        where = (x.repeat_interleave(self.pieces, 0).to(self.device) for x in (room, place))
        return bank.responses[tuple(where)]


def _backgrounds(
    surroundings: Surroundings, draw: _Draw, samples: int, sample_rate: int, rng: torch.Generator
) -> Tensor:
    """(batch, samples) of one kind each."""
    batch = draw.mixtures * draw.pieces
    kinds = {
        k: c
        for k, c in KINDS.items()
        if (k != "recorded" or surroundings.noises) and (k != "babble" or surroundings.babble)
    }
    edges = torch.tensor(list(kinds.values())).cumsum(0)
    chosen = torch.bucketize(draw.uniform(0.0, float(edges[-1])).cpu(), edges).clamp_max(len(kinds) - 1)
    made = torch.zeros((batch, samples), device=rng.device)
    for number, kind in enumerate(kinds):
        where = (chosen == number).to(rng.device)
        count = int(where.sum())
        if not count:
            continue
        if kind == "coloured":
            steepness = draw.uniform(0.0, backgrounds.STEEPEST)[where]
            noise = backgrounds.coloured_noise(steepness, samples, sample_rate, rng)
            made[where] = noise * backgrounds.slow_changes(count, samples, sample_rate, rng)
        elif kind == "hum":
            hums = backgrounds.hum(count // draw.pieces, samples, sample_rate, rng)
            made[where] = hums.repeat_interleave(draw.pieces, 0)
        else:
            sampler = surroundings.noises if kind == "recorded" else surroundings.babble
            assert sampler is not None
            # For the whole batch, so that what is drawn does not depend on who wants it.
            drawn = sampler.draw(batch, samples)
            wanted = where.cpu()
            drawn = dataclasses.replace(
                drawn, **{f.name: getattr(drawn, f.name)[wanted] for f in dataclasses.fields(drawn)}
            )
            made[where] = sampler.sources(drawn, samples).sum(1)
    return made


def _linear(
    parts: Tensor, telephone: Tensor, conditions: Conditions, draw: _Draw, sample_rate: int, rng: torch.Generator
) -> Tensor:
    """(batch, source, samples) through what is linear: the same filter and the same gain for all of a mixture."""
    batch, samples = len(parts), parts.shape[-1]
    bins = samples // 2 + 1
    band = draw.happens(conditions.band_chance)
    equalised, controlled = draw.happens(conditions.equaliser_chance), draw.happens(conditions.gain_control_chance)
    phone_edges = draw.uniform(200.0, 400.0), draw.uniform(3000.0, 3800.0)
    mild_edges = draw.uniform(40.0, 160.0), draw.uniform(3400.0, 7600.0)
    strength = draw.uniform(0.3, 0.9)
    nyquist = sample_rate / 2
    if (telephone | band | equalised).any():
        low, high = (
            torch.where(telephone, p, m).clamp_max(0.95 * nyquist) for p, m in zip(phone_edges, mild_edges, strict=True)
        )
        limits = channels.band_limit(low, high, bins, sample_rate)
        gains = torch.where((telephone | band).unsqueeze(-1), limits, 1.0)
        shaped = channels.equaliser(batch // draw.pieces, bins, sample_rate, rng).repeat_interleave(draw.pieces, 0)
        gains = gains * torch.where(equalised.unsqueeze(-1), shaped, 1.0)
        where = telephone | band | equalised
        parts = parts.clone()
        parts[where] = channels.filtered(parts[where], gains[where])
    if controlled.any():
        follow = channels.gain_control(parts[controlled].sum(1), strength[controlled], sample_rate)
        parts = parts.clone()
        parts[controlled] *= follow.unsqueeze(1)
    return parts


def _distorted(mixture: Tensor, telephone: Tensor, conditions: Conditions, draw: _Draw, sample_rate: int) -> Tensor:
    """(batch, samples) through what is not linear."""
    # A line that limits the band also codes, half of the time.
    coded = telephone & draw.happens(0.5)
    law = draw.happens(0.5)
    peak, share = draw.uniform(0.1, 0.9), draw.uniform(0.3, 0.8)
    clipping, codec = draw.happens(conditions.clipping_chance), draw.happens(conditions.codec_chance)
    if clipping.any():
        mixture = torch.where(clipping.unsqueeze(-1), channels.clipped(mixture, share), mixture)
    if coded.any():
        mixture = torch.where(coded.unsqueeze(-1), channels.line_coded(mixture, law, peak, sample_rate), mixture)
    if codec.any():
        from unmingle.training.augment.codecs import CODECS  # PyAV is loaded by those who use it
        from unmingle.training.augment.codecs import coded as through

        mixture = mixture.clone()
        which = draw.uniform(0.0, len(CODECS)).long().tolist()
        for index in codec.nonzero().flatten().tolist():
            heard = through(mixture[index].cpu().numpy(), CODECS[which[index]], sample_rate)
            mixture[index] = torch.from_numpy(heard).to(mixture.device)
    return mixture


def high_passed(signals: Tensor, sample_rate: int) -> Tensor:
    """(..., samples) as the separator listens to them: model.high_pass, over the whole excerpt at once."""
    samples = signals.shape[-1]
    taps = torch.from_numpy(high_pass.kernel(sample_rate)).to(signals.device)
    size = next_fast_len(samples + len(taps) - 1, real=True)
    heard = torch.fft.irfft(torch.fft.rfft(signals, size) * torch.fft.rfft(taps, size), size)
    half = len(taps) // 2
    return heard[..., half : half + samples]
