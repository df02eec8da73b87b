"""A folder of recordings -> one flat int16 tensor with an index, so that a corpus can sit whole in (device) memory."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}


@dataclasses.dataclass(frozen=True)
class Recording:
    """One file of a corpus: a single speaker (or class of sound) is heard in it."""

    path: Path
    speaker: str
    split: str
    is_speech: bool = True


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Recordings at one sample rate, end to end in `samples`.

    Attributes:
        samples: (total,) int16.
        starts, lengths: (recordings,) int64, in samples.
        rms: (recordings,) float32, of full scale 1.
        speaker: (recordings,) int64, index into `speakers`.
        speakers: names, in sorted order.
        is_speech: (speakers,) bool.
    """

    samples: Tensor
    starts: Tensor
    lengths: Tensor
    rms: Tensor
    speaker: Tensor
    speakers: tuple[str, ...]
    is_speech: Tensor

    def to(self, device: torch.device | str) -> Corpus:
        """The same corpus with its samples on another device; the small index stays on the CPU."""
        return dataclasses.replace(self, samples=self.samples.to(device))

    @property
    def hours(self) -> float:
        """Hours of audio, counted at 16 bits a sample and the rate it was loaded with."""
        return float(self.lengths.sum()) / 3600.0


def find_recordings(root: Path, held_out: float = 0.1) -> list[Recording]:
    """List a corpus: by its metadata.csv (columns path, split, speaker) or, without one, a folder per speaker.

    A corpus of folders has no splits of its own: every tenth speaker (`held_out`), at least two, is kept for
    validation, the same ones each time.

    Raises:
        FileNotFoundError: there is no such folder, or nothing to train on in it.
    """
    table = root / "metadata.csv"
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as lines:
            found = [
                Recording(root / row["path"], row["speaker"], row["split"], row.get("dataset", "").upper() != "ESC-10")
                for row in csv.DictReader(lines)
            ]
    else:
        folders = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
        files = {p: sorted(f for f in p.rglob("*") if f.suffix.lower() in AUDIO_SUFFIXES) for p in folders}
        speakers = [p for p in folders if files[p]]
        kept = max(2, round(len(speakers) * held_out))
        validation = set(speakers[:: max(1, len(speakers) // kept)][:kept])
        found = [Recording(f, p.name, "valid" if p in validation else "train") for p in speakers for f in files[p]]
    if len({r.speaker for r in found if r.split == "train"}) < 2:
        raise FileNotFoundError(
            f"{root} has no recordings of two or more speakers to train on: expected a metadata.csv with the columns "
            "path, split and speaker, or a folder per speaker with audio files in it."
        )
    return found


def load_corpus(recordings: Iterable[Recording], sample_rate: int) -> Corpus:
    """Decode recordings to mono int16 at `sample_rate`, several at a time."""
    files = list(recordings)
    speakers = sorted({r.speaker for r in files})
    index = {name: i for i, name in enumerate(speakers)}
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(lambda r: _decode(r.path, sample_rate), files))
    lengths = np.array([len(d) for d in decoded], np.int64)
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    rms = np.array([np.sqrt(np.mean(np.square(d / 32768.0))) for d in decoded], np.float32)
    speech = dict.fromkeys(speakers, True) | {r.speaker: r.is_speech for r in files}
    return Corpus(
        samples=torch.from_numpy(np.concatenate(decoded)),
        starts=torch.from_numpy(starts),
        lengths=torch.from_numpy(lengths),
        rms=torch.from_numpy(rms).clamp_min(1e-4),
        speaker=torch.tensor([index[r.speaker] for r in files]),
        speakers=tuple(speakers),
        is_speech=torch.tensor([speech[s] for s in speakers]),
    )


def _decode(path: Path, sample_rate: int) -> np.ndarray:
    signal, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = signal.mean(1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    return np.clip(np.round(mono * 32767.0), -32768, 32767).astype(np.int16)
