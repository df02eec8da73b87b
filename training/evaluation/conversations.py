"""Simulated conversations: people take turns, pause and interrupt each other, in a room and before a background.

They measure who speaks when, on voices that are known exactly. Rooms and backgrounds are the trainer's (training/
augment). Axes: (source, sample).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from unmingle.training.augment import backgrounds
from unmingle.training.augment.rooms import heard_in, make_rooms
from unmingle.training.corpus import Corpus, Recording, find_backgrounds, load_corpus, read_corpus, speakers_of
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.rttm import Turn, to_rttm
from unmingle.training.evaluation.turn_taking import take_turns
from unmingle.training.evaluation.voices import Samples, Voice

PEAK = 0.5
CROSSFADE_S = 0.5


@dataclasses.dataclass(frozen=True)
class ConversationConfig:
    """What conversations are like; ranges are of uniform draws."""

    num_speakers: tuple[int, int] = (2, 8)
    """Conversations go through these numbers in turn."""
    seconds: tuple[float, float] = (30.0, 120.0)
    overlap: tuple[float, float] = (0.0, 0.3)
    """Of the time in which somebody speaks, the part in which several do."""
    level_range_db: float = 10.0
    """People are at most this far apart in level."""
    room_chance: float = 0.7
    noise_chance: float = 0.8
    snr_db: tuple[float, float] = (5.0, 30.0)
    """Of the voices over the background, both measured from beginning to end."""


@dataclasses.dataclass(frozen=True)
class Conversation:
    """A recording of people talking.

    Attributes:
        name: of the recording, without spaces.
        sources: (source, samples) float32, each person as heard in the mixture.
        background: (samples,) float32, what else is heard; zeros where there is nothing.
        turns: who speaks when, in order of time; names are those of `speakers`.
        speakers: in the order of the sources.
        sample_rate: Hz.
    """

    name: str
    sources: Samples
    background: Samples
    turns: tuple[Turn, ...]
    speakers: tuple[str, ...]
    sample_rate: int

    @property
    def mixture(self) -> Samples:
        """(samples,): what the microphone hears."""
        return np.asarray(self.sources.sum(0) + self.background, np.float32)

    def write(self, folder: Path) -> None:
        """Write NAME.wav and NAME.rttm, to listen to and to score with."""
        soundfile.write(folder / f"{self.name}.wav", self.mixture, self.sample_rate, "PCM_16")
        (folder / f"{self.name}.rttm").write_text(to_rttm(self.turns, self.name), encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class Material:
    """What conversations are made of: people who speak, and recorded noise and music (none where there is none)."""

    voices: Corpus
    backgrounds: tuple[Recording, ...]

    @classmethod
    def load(cls, corpus: Path, split: str, sample_rate: int) -> Material:
        """The people of one split of a corpus as training/README.md describes it.

        Raises:
            TrainingError: this is no corpus.
            EvaluationError: the split has fewer than two people.
        """
        if len(speakers_of(corpus, split)) < 2:
            raise EvaluationError(
                f"The corpus {corpus} has fewer than two speakers in its split '{split}'; expected a split of its "
                "metadata.csv, or 'valid' for a folder per speaker."
            )
        return cls(read_corpus(corpus, split, sample_rate, speech_only=True), tuple(find_backgrounds(corpus)))


def converse(
    material: Material, count: int, seed: int, config: ConversationConfig | None = None
) -> Iterator[Conversation]:
    """`count` conversations, one at a time; each depends only on the seed and its own number.

    Where the corpus has fewer people than asked for, conversations have as many as there are.
    """
    config = config or ConversationConfig()
    fewest, most = (min(limit, len(material.voices.speakers)) for limit in config.num_speakers)
    for number in range(count):
        people = fewest + number % (most - fewest + 1)
        name = f"talk_{number:03d}_{people}_people"
        yield _conversation(name, people, material, config, np.random.default_rng((seed, number)))


def _conversation(
    name: str, people: int, material: Material, config: ConversationConfig, rng: np.random.Generator
) -> Conversation:
    rate = material.voices.sample_rate
    chosen = rng.choice(len(material.voices.speakers), people, replace=False).tolist()
    voices = [
        Voice(material.voices.speakers[index], _recordings(material.voices, index), rate, rng) for index in chosen
    ]
    seconds, overlap = rng.uniform(*config.seconds), rng.uniform(*config.overlap)
    sources, turns = take_turns(voices, seconds, overlap, rate, rng)
    levels_db = rng.uniform(-0.5, 0.5, people) * config.level_range_db
    sources *= (10.0 ** (levels_db / 20.0))[:, None].astype(np.float32)
    if rng.random() < config.room_chance:
        room = make_rooms(1, people, rate, rng)
        sources = heard_in(torch.from_numpy(sources), room.responses[0]).numpy()
    background = np.zeros_like(sources[0])
    if rng.random() < config.noise_chance:
        noise = _background(material.backgrounds, len(background), rate, rng)
        voices_sum = torch.from_numpy(sources.sum(0, keepdims=True))
        background = backgrounds.at_snr(noise, voices_sum, torch.tensor([rng.uniform(*config.snr_db)]))[0].numpy()
    scale = np.float32(PEAK / max(float(np.abs(sources.sum(0) + background).max()), 1e-9))
    return Conversation(name, sources * scale, background * scale, turns, tuple(v.name for v in voices), rate)


def _recordings(corpus: Corpus, speaker: int) -> list[Samples]:
    return [_samples(corpus, index) for index in np.flatnonzero(corpus.speaker.numpy() == speaker).tolist()]


def _samples(corpus: Corpus, index: int) -> Samples:
    return np.asarray(corpus.samples(index).numpy() / np.float32(32768.0), np.float32)


def _background(
    recorded: Sequence[Recording], samples: int, sample_rate: int, rng: np.random.Generator
) -> torch.Tensor:
    """(1, samples): recorded noise or music, coloured noise, or the hum of an appliance in a little noise."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    kinds = ("recorded", "recorded", "coloured", "hum") if recorded else ("coloured", "hum")
    kind = kinds[rng.integers(len(kinds))]
    if kind == "recorded":
        chosen = load_corpus([recorded[int(rng.integers(len(recorded)))]], sample_rate)
        return torch.from_numpy(_continued(_samples(chosen, 0), samples, sample_rate))[None]
    steepness = torch.tensor([rng.uniform(0.0, backgrounds.STEEPEST)])
    noise = backgrounds.coloured_noise(steepness, samples, sample_rate, generator)
    if kind == "coloured":
        return noise * backgrounds.slow_changes(1, samples, sample_rate, generator)
    return backgrounds.hum(1, samples, sample_rate, generator) + 0.3 * noise


def _continued(recording: Samples, samples: int, sample_rate: int) -> Samples:
    """A recording repeated, with a crossfade each time, until it has so many samples."""
    fade = min(round(CROSSFADE_S * sample_rate), len(recording) // 2)
    slope = np.sqrt(np.linspace(0.0, 1.0, fade, dtype=np.float32))
    step = len(recording) - fade
    faded = recording.copy()
    faded[:fade] *= slope
    faded[len(faded) - fade :] *= slope[::-1]
    whole: Samples = np.zeros(samples + len(recording), np.float32)
    for start in range(0, samples, step):
        whole[start : start + len(recording)] += faded
    return whole[fade : fade + samples]


def overlap_share(turns: Sequence[Turn], seconds: float) -> float:
    """Of the time in which somebody speaks, the part in which several do; 0 where nobody speaks."""
    talking: NDArray[np.int64] = np.zeros(round(seconds * 100), np.int64)
    for turn in turns:
        talking[round(turn.start_s * 100) : round(turn.end_s * 100)] += 1
    spoken = int((talking > 0).sum())
    return float((talking > 1).sum() / spoken) if spoken else 0.0
