"""Voices at several microphones: simulated rooms, and a studio's mixing desk. Axes: (source, channel, sample)."""

from __future__ import annotations

import csv
import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyroomacoustics
import soundfile
from numpy.typing import NDArray
from scipy.signal import fftconvolve

Samples = NDArray[np.float32]

RATE = 16_000
LEVEL = 0.05
MOST_REFLECTIONS = 40


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a recording is made with.

    Attributes:
        geometry: of the microphones: circular (5 cm from the middle), linear (5 cm apart), ad hoc (within a square
            metre), panned (no room: the speakers are at different levels in two channels), or moving (circular, and
            everybody is somewhere else in the second half).
        snr_db: of noise of every microphone's own.
    """

    microphones: int
    geometry: str
    rt60_s: float = 0.3
    speakers: int = 2
    snr_db: float = 25.0

    @property
    def name(self) -> str:
        """Of the row."""
        room = "" if self.geometry == "panned" else f", RT60 {self.rt60_s:g} s"
        return f"{self.microphones} {self.geometry}{room}, {self.speakers} speakers, noise {self.snr_db:g} dB below"


@dataclasses.dataclass(frozen=True)
class Scene:
    """A recording with its truth.

    Attributes:
        images: (sources, channels, samples): each source as it arrives at each microphone.
        mixture: (channels, samples): their sum, and noise.
    """

    images: Samples
    mixture: Samples


def voices(corpus: Path, split: str) -> dict[str, list[Path]]:
    """The recordings of each speaker of a split, from a corpus with a metadata.csv (path, split, dataset, speaker)."""
    files: dict[str, list[Path]] = defaultdict(list)
    with (corpus / "metadata.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["split"] == split and row["dataset"] == "LibriSpeech":
                files[row["speaker"]].append(corpus / row["path"])
    return files


def scene(setting: Setting, files: dict[str, list[Path]], seconds: float, rng: np.random.Generator) -> Scene:
    """A recording of speakers drawn at random, all of whom talk all the time."""
    chosen = rng.choice(sorted(files), setting.speakers, replace=False)
    dry = [_spoken(files[speaker], round(seconds * RATE), rng) for speaker in chosen]
    paths = _panned(setting, rng) if setting.geometry == "panned" else _room(setting, rng)
    images = _heard(dry, paths[0])
    if setting.geometry == "moving":
        half = images.shape[-1] // 2
        images[..., half:] = _heard(dry, paths[1])[..., half:]
    gains = LEVEL / np.sqrt(np.square(images).mean((1, 2))) * 10.0 ** (rng.uniform(-2.5, 2.5, len(images)) / 20.0)
    images *= gains[:, None, None]
    voiced = images.sum(0)
    noise = rng.standard_normal(voiced.shape) * np.sqrt(np.square(voiced).mean()) * 10.0 ** (-setting.snr_db / 20.0)
    return Scene(images.astype(np.float32), (voiced + noise).astype(np.float32))


def _spoken(files: list[Path], samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    speech = soundfile.read(files[rng.integers(len(files))])[0]
    return np.resize(np.roll(speech, -int(rng.integers(len(speech)))), samples)


def _heard(dry: list[NDArray[np.float64]], paths: list[list[NDArray[np.float64]]]) -> NDArray[np.float64]:
    return np.array(
        [[fftconvolve(voice, path)[: len(voice)] for path in own] for voice, own in zip(dry, paths, strict=True)]
    )


def _panned(setting: Setting, rng: np.random.Generator) -> list[list[list[NDArray[np.float64]]]]:
    """Spread from left to right with constant power, at least 25 degrees apart."""
    spread = np.linspace(0.0, np.pi / 2, setting.speakers + 1)
    angles = rng.permutation((spread[1:] + spread[:-1]) / 2 + rng.uniform(-0.15, 0.15, setting.speakers))
    return [[[np.array([np.cos(angle)]), np.array([np.sin(angle)])] for angle in angles]]


def _room(setting: Setting, rng: np.random.Generator) -> list[list[list[NDArray[np.float64]]]]:
    """Impulse responses (place, source, channel): of where the speakers are, and of where they may go."""
    size = rng.uniform((4.0, 3.5, 2.5), (8.0, 6.0, 3.2))
    absorption, order = pyroomacoustics.inverse_sabine(setting.rt60_s, size)
    room = pyroomacoustics.ShoeBox(
        size, fs=RATE, materials=pyroomacoustics.Material(absorption), max_order=min(order, MOST_REFLECTIONS)
    )
    middle = np.array([*(rng.uniform(1.6, side - 1.6) for side in size[:2]), rng.uniform(0.8, 1.4)])
    room.add_microphone_array(middle[:, None] + _array(setting, rng))
    places = 2 if setting.geometry == "moving" else 1
    for _ in range(places):
        angle = rng.uniform(0.0, 2 * np.pi)
        for _ in range(setting.speakers):
            away = rng.uniform(0.8, 1.4)
            room.add_source(middle + np.array([away * np.cos(angle), away * np.sin(angle), rng.uniform(0.0, 0.5)]))
            angle += rng.uniform(np.pi / 6, 2 * np.pi / setting.speakers)
    room.compute_rir()
    by_source = [list(paths) for paths in zip(*room.rir, strict=True)]
    return [by_source[place * setting.speakers : (place + 1) * setting.speakers] for place in range(places)]


def _array(setting: Setting, rng: np.random.Generator) -> NDArray[np.float64]:
    """(3, microphones) in metres from the middle."""
    count, turn = setting.microphones, rng.uniform(0.0, 2 * np.pi)
    flat = np.zeros(count)
    if setting.geometry == "ad hoc":
        return np.stack([rng.uniform(-0.5, 0.5, count), rng.uniform(-0.5, 0.5, count), rng.uniform(-0.05, 0.05, count)])
    if setting.geometry == "linear":
        along = 0.05 * (np.arange(count) - (count - 1) / 2)
        return np.stack([along * np.cos(turn), along * np.sin(turn), flat])
    angles = turn + 2 * np.pi * np.arange(count) / count
    return np.stack([0.05 * np.cos(angles), 0.05 * np.sin(angles), flat])
