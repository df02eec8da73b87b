"""Long conversations made of short utterances, the same ones every time. Axes: (source, sample)."""

from __future__ import annotations

import csv
import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE = 16_000
LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Conversation:
    """One long recording with its truth.

    Attributes:
        name: what it is.
        sources: (sources, samples); their sum is the recording.
    """

    name: str
    sources: Samples

    @property
    def mixture(self) -> Samples:
        """(samples,)."""
        return self.sources.sum(0)


def conversations(corpus: Path, split: str, seconds: float, seed: int) -> Iterator[Conversation]:
    """A turn-taking one, a fully overlapped one, one with three speakers and one with a long silence.

    Args:
        corpus: folder with a metadata.csv (columns path, split, dataset, speaker).
        split: whose speakers.
        seconds: length of each.
        seed: decides speakers, turns and levels.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    with (corpus / "metadata.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["split"] == split and row["dataset"] == "LibriSpeech":
                files[row["speaker"]].append(corpus / row["path"])
    # The more of a voice there is, the less has to be repeated.
    voices = sorted(files, key=lambda speaker: (-len(files[speaker]), speaker))
    rng = np.random.default_rng(seed)
    total = round(seconds * RATE)

    def spoken(speaker: str) -> Samples:
        """One speaker without a pause longer than the utterances have."""
        utterances = [soundfile.read(path, dtype="float32")[0] for path in files[speaker]]
        speech = np.concatenate(utterances)
        speech *= LEVEL / np.sqrt(np.mean(np.square(speech))) * 10.0 ** (rng.uniform(-2.5, 2.5) / 20.0)
        return np.asarray(np.resize(np.roll(speech, -int(rng.integers(len(speech)))), total), np.float32)

    def together(number: int) -> Samples:
        chosen = rng.choice(voices[: max(number, len(voices) * 2 // 3)], number, replace=False)
        return np.stack([spoken(str(speaker)) for speaker in chosen])

    yield Conversation("turn-taking, 20 % overlap", together(2) * turns(total, overlap=0.2, rng=rng))
    yield Conversation("fully overlapped", together(2))
    yield Conversation("three speakers", together(3))
    gap = together(2)
    gap[1, total // 3 : total // 3 + min(total // 3, 90 * RATE)] = 0.0
    yield Conversation("one silent for a long time", gap)


def turns(total: int, overlap: float, rng: np.random.Generator) -> Samples:
    """(2, total) gates: the speakers take turns of 3 to 8 s, each beginning before the other has ended."""
    gates = np.zeros((2, total), np.float32)
    at, speaker = 0, 0
    while at < total:
        length = int(rng.uniform(3.0, 8.0) * RATE)
        gates[speaker, at : at + length] = 1.0
        # With turns of mean length T that overlap by x, x / (T - x) of the time two speak.
        at += round(length * (1.0 - overlap / (1.0 + overlap)))
        speaker = 1 - speaker
    fade = np.hanning(321).astype(np.float32)[1:-1]
    return np.stack([np.convolve(gate, fade / fade.sum(), mode="same") for gate in gates]).astype(np.float32)
