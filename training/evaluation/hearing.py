"""A mixture under a condition -> what the microphone's file holds, by the functions that training uses.

Axes: (source, sample); for tensors (batch, source, sample), where the batch is one mixture.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmingle.training.augment import backgrounds, channels, codecs
from unmingle.training.augment.rooms import heard_in, make_rooms
from unmingle.training.evaluation.conditions import Case, Channel
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.mixture_list import load_sources

Samples = NDArray[np.float32]

LEVEL = 0.05
"""RMS of the louder source, where levels are asked for."""
TELEPHONE_HZ = (300.0, 3400.0)
FULL_SCALE = 0.5
"""Peak of what goes through a telephone line."""
CLIPPED_SHARE = 0.3
GAIN_CONTROL = 0.9
AMR, OPUS = codecs.CODECS[0], codecs.CODECS[2]


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is heard.

    Attributes:
        sources: (source, sample) as they are in the mixture: with their room, filtered as it is. The references.
        background: (sample,) as it is in the mixture; no source.
        mixture: (sample,): the sum of them, and what coding and clipping did to it.
        sample_rate: Hz, of the file that the separator gets.
    """

    sources: Samples
    background: Samples
    mixture: Samples
    sample_rate: int


def hear(case: Case) -> Scene:
    """Sources, background and mixture of a case; the same each time.

    Raises:
        EvaluationError: a recording is not usable.
    """
    loaded, rate = load_sources(case.listed)
    condition = case.condition
    sources = torch.from_numpy(loaded).unsqueeze(0)
    if condition.level_db is not None:
        sources = LEVEL * backgrounds.at_rms_1(sources)
        sources[:, 1:] *= 10.0 ** (-condition.level_db / 20.0)
    if condition.rt60_s:
        decay_s = (condition.rt60_s, condition.rt60_s)
        rooms = make_rooms(1, sources.shape[1], rate, np.random.default_rng(case.seed), decay_s)
        sources = heard_in(sources, rooms.responses)
    behind = torch.zeros_like(sources[:, 0])
    if condition.background:
        behind = backgrounds.at_snr(
            _background(case, behind.shape[-1], rate), sources.sum(1), torch.tensor([condition.snr_db])
        )
    parts, mixture, rate = _through(condition.channel, torch.cat((sources, behind.unsqueeze(1)), 1), rate)
    return Scene(parts[0, :-1].numpy(), parts[0, -1].numpy(), mixture[0].numpy(), rate)


def _background(case: Case, samples: int, rate: int) -> Tensor:
    """(1, samples), at any level."""
    rng = torch.Generator().manual_seed(case.seed)
    kind = case.condition.background
    if kind == "hum":
        return backgrounds.hum(1, samples, rate, rng)
    if kind in ("white", "pink"):
        steepness = torch.tensor([0.5 if kind == "pink" else 0.0])
        return backgrounds.coloured_noise(steepness, samples, rate, rng)
    recorded = torch.from_numpy(np.stack([_recorded(file, samples, rate) for file in case.behind]))
    return backgrounds.at_rms_1(recorded).sum(0, keepdim=True)


def _recorded(file: Path, samples: int, rate: int) -> Samples:
    """The beginning of a recording, again and again where it is too short."""
    try:
        signal, its_rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise EvaluationError(f"The recording {file} cannot be read ({error}); expected an audio file.") from error
    mono = signal.mean(1)
    if its_rate != rate:
        mono = soxr.resample(mono, its_rate, rate)
    if not len(mono):
        raise EvaluationError(f"The recording {file} is empty; expected sound.")
    return np.asarray(np.resize(mono, samples), np.float32)


def _through(channel: Channel, parts: Tensor, rate: int) -> tuple[Tensor, Tensor, int]:
    """(1, parts, samples) through a channel: the parts, the (1, samples) mixture, and their sample rate."""
    if channel == "telephone":
        low, high = (torch.tensor([edge]) for edge in TELEPHONE_HZ)
        parts = channels.filtered(parts, channels.band_limit(low, high, parts.shape[-1] // 2 + 1, rate))
    if channel in ("telephone", "8khz", "amr"):
        parts, rate = channels.resampled(parts, rate, channels.LINE_HZ), channels.LINE_HZ
    if channel == "gain_control":
        parts = parts * channels.gain_control(parts.sum(1), torch.tensor([GAIN_CONTROL]), rate).unsqueeze(1)
    mixture = parts.sum(1)
    if channel == "telephone":
        mixture = channels.mu_law(mixture, torch.tensor([FULL_SCALE]))
    if channel == "clipped":
        mixture = channels.clipped(mixture, torch.tensor([CLIPPED_SHARE]))
    if channel in ("amr", "opus"):
        heard = codecs.coded(mixture[0].numpy(), AMR if channel == "amr" else OPUS, rate)
        mixture = torch.from_numpy(heard).unsqueeze(0)
    return parts, mixture, rate
