"""Rooms by image sources: a bank of impulse responses, and voices heard through it.

One implementation for the trainer and for evaluation. Axes: (room, place, sample) for the bank.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

SMALLEST_M, LARGEST_M = (2.5, 2.5, 2.3), (10.0, 8.0, 4.0)
RT60_S = (0.12, 0.8)
NEAR_CHANCE = 0.4
"""That a place is within NEAR_M of the microphone; others are anywhere in the room."""
NEAR_M = (0.2, 1.0)
WALL_M = 0.2
"""Nothing is nearer to a wall than this."""
MOST_REFLECTIONS = 12
"""Of an image source. Later ones come so densely that a decaying noise stands in for them (Polack's model)."""
SOUND_M_PER_S = 343.0


@dataclasses.dataclass(frozen=True)
class RoomBank:
    """Impulse responses of rooms.

    Attributes:
        responses: (rooms, places, samples) float32; each has energy 1 and begins with the direct sound.
        sample_rate: Hz.
    """

    responses: Tensor
    sample_rate: int

    def to(self, device: torch.device | str) -> RoomBank:
        """The same bank on another device."""
        return dataclasses.replace(self, responses=self.responses.to(device))


def make_rooms(
    rooms: int, places: int, sample_rate: int, rng: np.random.Generator, rt60_s: tuple[float, float] = RT60_S
) -> RoomBank:
    """Rooms with one microphone and `places` where somebody may talk, near and far (30 ms of one core each)."""
    samples = round(rt60_s[1] * sample_rate)
    bank = np.stack([_room(places, sample_rate, samples, rt60_s, rng) for _ in range(rooms)])
    return RoomBank(torch.from_numpy(bank), sample_rate)


def absorption(size_m: NDArray[np.float64], rt60_s: float) -> float:
    """Part of the energy that the walls of a room take at each reflection (Eyring's formula).

    Args:
        size_m: (3,) length, width and height.
        rt60_s: time in which sound is to fall by 60 dB.
    """
    volume = float(np.prod(size_m))
    surface = 2.0 * volume * float(np.sum(1.0 / size_m))
    return 1.0 - math.exp(-24.0 * math.log(10.0) * volume / (SOUND_M_PER_S * surface * rt60_s))


def _room(
    places: int, sample_rate: int, samples: int, rt60_s: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    size = rng.uniform(SMALLEST_M, LARGEST_M)
    wanted_s = rng.uniform(*rt60_s)
    import pyroomacoustics

    room = pyroomacoustics.ShoeBox(
        size,
        fs=sample_rate,
        materials=pyroomacoustics.Material(absorption(size, wanted_s)),
        max_order=MOST_REFLECTIONS,
    )
    microphone = rng.uniform(WALL_M + NEAR_M[1] / 2, size - WALL_M - NEAR_M[1] / 2)
    room.add_microphone(microphone)
    for _ in range(places):
        room.add_source(_place(microphone, size, rng))
    room.compute_rir()
    # The first image that is missing is one reflection more away, along the shortest side.
    complete = round(MOST_REFLECTIONS * size.min() / SOUND_M_PER_S * sample_rate)
    return np.stack([_finished(response, sample_rate, samples, complete, wanted_s, rng) for response in room.rir[0]])


def _place(microphone: NDArray[np.float64], size: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    if rng.random() >= NEAR_CHANCE:
        return np.asarray(rng.uniform(WALL_M, size - WALL_M))
    direction = rng.standard_normal(3) * (1.0, 1.0, 0.3)
    step = direction / np.linalg.norm(direction) * rng.uniform(*NEAR_M)
    return np.asarray(np.clip(microphone + step, WALL_M, size - WALL_M))


def _finished(
    response: NDArray[np.floating],
    sample_rate: int,
    samples: int,
    complete: int,
    rt60_s: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """From the direct sound on, with a tail from where images are missing (sample `complete`), and with energy 1."""
    strength = np.abs(response)
    direct = int(np.argmax(strength > 0.3 * strength.max()))
    kept = np.zeros(samples)
    known = response[direct : direct + samples]
    kept[: len(known)] = known
    begin = min(samples, len(known), complete - direct)
    window = round(0.02 * sample_rate)
    decay = 10.0 ** (-3.0 * np.arange(samples) / sample_rate / rt60_s)
    # The level at `begin` of a decay that has the energy of the last images.
    last = slice(max(0, begin - window), begin)
    level = np.sqrt(np.square(kept[last]).sum() / np.square(decay[last]).sum())
    tail = level * decay[begin:] * rng.standard_normal(samples - begin)
    fade = np.clip(np.arange(samples - begin) / (0.01 * sample_rate), 0.0, 1.0)
    kept[begin:] = np.sqrt(1.0 - fade) * kept[begin:] + np.sqrt(fade) * tail
    return np.asarray(kept / np.sqrt(np.square(kept).sum()), np.float32)


def heard_in(sources: Tensor, responses: Tensor) -> Tensor:
    """Each source through its own impulse response: (..., samples), (..., response) -> (..., samples)."""
    size = next_fast_len(sources.shape[-1] + responses.shape[-1] - 1, real=True)
    spectrum = torch.fft.rfft(sources, size) * torch.fft.rfft(responses, size)
    return torch.fft.irfft(spectrum, size)[..., : sources.shape[-1]]
