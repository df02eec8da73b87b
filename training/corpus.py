"""A folder of recordings -> one flat int16 tensor with an index, so that a corpus can sit whole in (device) memory."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmingle.model.errors import FileError
from unmingle.model.reading.audio import read_audio
from unmingle.model.reading.header import AUDIO_SUFFIXES
from unmingle.model.threads import usable_cores
from unmingle.training.errors import TrainingError

_EXPECTED = (
    "expected a metadata.csv with the columns path, split and speaker, or a folder per speaker with audio files in it, "
    "of four or more speakers (two to train on, two held out for validation)."
)


@dataclasses.dataclass(frozen=True)
class Recording:
    """One file of a corpus: a single speaker (or class of sound) is heard in it."""

    path: Path
    speaker: str
    split: str
    is_speech: bool = True
    dataset: str = ""


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
        dataset: (speakers,) int64, which dataset each is from.
        sample_rate: Hz.
    """

    samples: Tensor
    starts: Tensor
    lengths: Tensor
    rms: Tensor
    speaker: Tensor
    speakers: tuple[str, ...]
    is_speech: Tensor
    dataset: Tensor
    sample_rate: int

    def to(self, device: torch.device | str) -> Corpus:
        """The same corpus with its samples on another device; the small index stays on the CPU."""
        return dataclasses.replace(self, samples=self.samples.to(device))

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return float(self.lengths.sum()) / self.sample_rate / 3600.0


def find_recordings(root: Path, held_out: float = 0.2) -> list[Recording]:
    """List a corpus: by its metadata.csv (columns path, split, speaker) or, without one, a folder per speaker.

    Where no recording is marked `valid` (folders never are), every fifth speaker (`held_out`), at least two, is kept
    for validation, the same ones each time. Rows whose `language` is "-" are sounds that are not speech.

    Raises:
        TrainingError: there is no such folder, or there are too few speakers to train and to validate with.
    """
    table = root / "metadata.csv"
    found = _from_table(table) if table.is_file() else _from_folders(root)
    if not any(r.split == "valid" for r in found):
        found = _hold_out(found, held_out)
    for split in ("train", "valid"):
        if len({r.speaker for r in found if r.split == split and r.is_speech}) < 2:
            problem = "has recordings of fewer than two speakers" if found else "has no recordings"
            raise TrainingError(f"The corpus {root} {problem} for '{split}': {_EXPECTED}")
    return found


def find_backgrounds(root: Path) -> list[Recording]:
    """List the noises and pieces of music of a corpus: the rows of its background.csv, if there is one.

    Each recording counts as a speaker of its own, so that blends are of different ones.
    """
    table = root / "background.csv"
    return (
        [dataclasses.replace(r, speaker=str(r.path), is_speech=True) for r in _from_table(table)]
        if table.is_file()
        else []
    )


def _from_table(table: Path) -> list[Recording]:
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    missing = {"path", "split", "speaker"} - set(rows[0] if rows else ())
    if missing:
        raise TrainingError(f"{table} has no column {', '.join(sorted(missing))}: {_EXPECTED}")
    return [
        Recording(table.parent / r["path"], r["speaker"], r["split"], r.get("language") != "-", r.get("dataset", ""))
        for r in rows
    ]


def _from_folders(root: Path) -> list[Recording]:
    if not root.is_dir():
        raise TrainingError(f"There is no corpus folder {root}: {_EXPECTED}")
    return [
        Recording(file, folder.name, "train")
        for folder in sorted(p for p in root.iterdir() if p.is_dir())
        for file in sorted(f for f in folder.rglob("*") if f.suffix.lower() in AUDIO_SUFFIXES)
    ]


def _hold_out(recordings: list[Recording], share: float) -> list[Recording]:
    """Mark the recordings of some speakers, evenly spaced by name, as `valid`."""
    speakers = sorted({r.speaker for r in recordings if r.split == "train" and r.is_speech})
    kept = max(2, round(len(speakers) * share))
    validation = set(speakers[:: max(1, len(speakers) // kept)][:kept])
    return [dataclasses.replace(r, split="valid") if r.speaker in validation else r for r in recordings]


def load_corpus(recordings: Iterable[Recording], sample_rate: int) -> Corpus:
    """Decode recordings to mono int16 at `sample_rate`, several at a time.

    Raises:
        TrainingError: a file is missing, is not audio, or has fewer than two samples.
    """
    files = list(recordings)
    speakers = sorted({r.speaker for r in files})
    index = {name: i for i, name in enumerate(speakers)}
    with ThreadPoolExecutor(usable_cores()) as pool:
        decoded = list(pool.map(lambda r: _decode(r.path, sample_rate), files))
    lengths = np.array([len(d) for d in decoded], np.int64)
    speech = {r.speaker: r.is_speech for r in files}
    origin = {r.speaker: r.dataset for r in files}
    datasets = sorted(set(origin.values()))
    return Corpus(
        samples=torch.from_numpy(np.concatenate(decoded)),
        starts=torch.from_numpy(np.cumsum(lengths) - lengths),
        lengths=torch.from_numpy(lengths),
        rms=torch.tensor([_rms(d) for d in decoded]).clamp_min(1e-4),
        speaker=torch.tensor([index[r.speaker] for r in files]),
        speakers=tuple(speakers),
        is_speech=torch.tensor([speech[s] for s in speakers]),
        dataset=torch.tensor([datasets.index(origin[s]) for s in speakers]),
        sample_rate=sample_rate,
    )


def _decode(path: Path, sample_rate: int) -> NDArray[np.int16]:
    try:
        signal, rate, _ = read_audio(path)
    except FileError as error:
        if error.code == "audio_unusable" and "no samples" in str(error):
            raise TrainingError(f"The recording {path} has no sound in it: take it out of the corpus.") from error
        raise TrainingError(
            f"The recording {path} cannot be read: {error} Repair it or take it out of the corpus."
        ) from error
    mono = signal.mean(1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    if len(mono) < 2:
        raise TrainingError(
            f"The recording {path} has no sound in it ({len(mono)} samples): take it out of the corpus."
        )
    return np.clip(np.round(mono * 32768.0), -32768, 32767).astype(np.int16)


def _rms(samples: NDArray[np.int16]) -> float:
    return float(np.sqrt(np.mean(np.square(samples / np.float32(32768.0)), dtype=np.float64)))
