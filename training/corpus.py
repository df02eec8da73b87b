"""Decoded recordings with an index: mapped into memory from shards, or whole in a device's memory.

`read_corpus` takes whatever `--data` may name: a folder of recordings, which is decoded first, or shards.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmingle.model.reading.header import AUDIO_SUFFIXES
from unmingle.training.corpora import shards
from unmingle.training.corpora.prepared import BACKGROUND, is_prepared, read_manifests
from unmingle.training.corpora.shards import Shard
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import Recording
from unmingle.training.surveying import find_backgrounds, find_recordings, survey

__all__ = [
    "AUDIO_SUFFIXES",
    "Corpus",
    "Recording",
    "find_backgrounds",
    "find_recordings",
    "load_corpus",
    "read_backgrounds",
    "read_corpus",
    "speakers_of",
    "survey",
]

_NAMED = 20
"""So many faulty files are listed one by one; of more, the number is said."""
_CPU = torch.device("cpu")
_FREE_SHARE = 0.5
"""Of a GPU's free memory, so much at most for samples; larger corpora stay where they are and go there in pieces."""


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Recordings at one sample rate, end to end in shards.

    Attributes:
        shards: of (samples,) int16 each; mapped files, or one of all on the device.
        shard: (recordings,) int64, in which one each is.
        starts, lengths: (recordings,) int64, in samples; where in its shard.
        rms: (recordings,) float32, of full scale 1.
        speaker: (recordings,) int64, index into `speakers`.
        speakers: names, in sorted order.
        is_speech: (speakers,) bool.
        dataset: (speakers,) int64, which dataset each is from.
        sample_rate: Hz.
        fingerprint: the same for the same files (by content) of the same speakers.
        problems: files that are faulty, a sentence each, and what was done about it.
        device: on which mixtures are made.
    """

    shards: tuple[Tensor, ...]
    shard: Tensor
    starts: Tensor
    lengths: Tensor
    rms: Tensor
    speaker: Tensor
    speakers: tuple[str, ...]
    is_speech: Tensor
    dataset: Tensor
    sample_rate: int
    fingerprint: str = ""
    problems: tuple[str, ...] = ()
    device: torch.device = _CPU

    def to(self, device: torch.device | str) -> Corpus:
        """The same corpus for mixtures on another device, where its samples go if they fit; the index stays."""
        device = torch.device(device)
        if device.type == "cpu" or self._too_large_for(device):
            return dataclasses.replace(self, device=device)
        whole = torch.empty(sum(map(len, self.shards)), dtype=torch.int16, device=device)
        begins = np.cumsum([0, *map(len, self.shards)])
        for begin, samples in zip(begins.tolist(), self.shards, strict=False):
            whole[begin : begin + len(samples)] = samples.to(device)
        starts = self.starts + torch.from_numpy(begins)[self.shard]
        return dataclasses.replace(
            self, shards=(whole,), shard=torch.zeros_like(self.shard), starts=starts, device=device
        )

    def _too_large_for(self, device: torch.device) -> bool:
        if device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(device)
        return 2 * sum(map(len, self.shards)) > _FREE_SHARE * free

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return float(self.lengths.sum()) / self.sample_rate / 3600.0

    def samples(self, recording: int) -> Tensor:
        """(samples,) int16 of one recording."""
        begin = int(self.starts[recording])
        return self.shards[int(self.shard[recording])][begin : begin + int(self.lengths[recording])]

    def cut(self, recording: Tensor, start: Tensor, samples: int, wanted: Tensor) -> Tensor:
        """Pieces of recordings, on the device; zero beyond the end of a recording, and where none is wanted.

        Args:
            recording, start: (batch, source) int64; which one, and from which of its samples on.
            wanted: (batch, source) bool; nothing is read of the others.

        Returns:
            (batch, source, samples) int16.
        """
        if self.shards[0].device.type != "cpu":
            begin, length = self.starts[recording] + start, self.lengths[recording] - start
            length = torch.where(wanted, length.clamp(0, samples), 0)
            begin, length = (x.to(self.device, non_blocking=True).unsqueeze(-1) for x in (begin, length))
            time = torch.arange(samples, device=self.device)
            (data,) = self.shards
            return data[torch.where(time < length, begin + time, 0)] * (time < length)
        pinned = self.device.type == "cuda"
        pieces = torch.zeros((*recording.shape, samples), dtype=torch.int16, pin_memory=pinned)
        rows = pieces.numpy().reshape(-1, samples)
        places = wanted.flatten().nonzero().flatten().tolist()
        for row, number, first in zip(places, recording[wanted].tolist(), start[wanted].tolist(), strict=True):
            there = self.samples(number)[first : first + samples].numpy()
            rows[row, : len(there)] = there
        return pieces.to(self.device, non_blocking=pinned)

    def of_speakers(self, names: Collection[str]) -> Corpus:
        """The recordings of some speakers alone.

        Raises:
            TrainingError: there are none.
        """
        kept = [i for i, name in enumerate(self.speakers) if name in names]
        if not kept:
            raise TrainingError("No recording is of any of these speakers.")
        new = torch.full((len(self.speakers),), -1)
        new[kept] = torch.arange(len(kept))
        chosen = new[self.speaker] >= 0
        return dataclasses.replace(
            self,
            shard=self.shard[chosen],
            starts=self.starts[chosen],
            lengths=self.lengths[chosen],
            rms=self.rms[chosen],
            speaker=new[self.speaker[chosen]],
            speakers=tuple(self.speakers[i] for i in kept),
            is_speech=self.is_speech[kept],
            dataset=self.dataset[kept],
        )

    def speech(self) -> Corpus:
        """The recordings of people alone."""
        return self.of_speakers({name for name, heard in zip(self.speakers, self.is_speech, strict=True) if heard})


def read_corpus(
    data: Path, split: str, sample_rate: int, cache: Path | None = None, speech_only: bool = False
) -> Corpus:
    """The sources of one split of what `--data` names.

    Args:
        speech_only: leave out sources that are not speech.

    Raises:
        TrainingError: there is no usable corpus, or it was prepared at another rate.
    """
    if is_prepared(data):
        corpus = _open_shards(data, split, sample_rate)
        return corpus.speech() if speech_only else corpus
    found = [r for r in find_recordings(data) if r.split == split and (r.is_speech or not speech_only)]
    return load_corpus(found, sample_rate, cache)


def speakers_of(data: Path, split: str) -> set[str]:
    """Who speaks in one split of what `--data` names.

    Raises:
        TrainingError: there is no usable corpus.
    """
    if is_prepared(data):
        parts = chain.from_iterable(manifest.shards(split) for manifest in read_manifests(data))
        return {name for part in parts for name, heard in zip(part.speaker, part.is_speech, strict=True) if heard}
    return {r.speaker for r in find_recordings(data) if r.split == split and r.is_speech}


def read_backgrounds(data: Path, split: str, sample_rate: int, cache: Path | None = None) -> Corpus | None:
    """Noise and music of one split of what `--data` names; None where there is none.

    Raises:
        TrainingError: it is not usable, or was prepared at another rate.
    """
    if is_prepared(data):
        group = split + BACKGROUND
        there = any(group in manifest.groups for manifest in read_manifests(data))
        return _open_shards(data, group, sample_rate) if there else None
    found = [r for r in find_backgrounds(data) if r.split == split]
    return load_corpus(found, sample_rate, cache) if found else None


def load_corpus(recordings: Iterable[Recording], sample_rate: int, cache: Path | None = None) -> Corpus:
    """Decode recordings to mono int16 at `sample_rate`, several at a time, showing progress.

    Args:
        recordings: any order; the corpus keeps it.
        sample_rate: Hz.
        cache: folder in which the samples are kept for the next time, and mapped into memory from; in memory if None.

    Raises:
        TrainingError: files are missing or are not audio (all of them are named), or none has sound in it.
    """
    made = list(shards.write_shards(cache, recordings, sample_rate))
    unreadable = list(chain.from_iterable(shard.unreadable for shard in made))
    if unreadable:
        more = f"; and {len(unreadable) - _NAMED} more" if len(unreadable) > _NAMED else ""
        first = "; ".join(unreadable[:_NAMED]).replace(": cannot be read", " cannot be read")
        raise TrainingError(f"The recording {first}{more}. Repair it or take it out of the corpus.")
    problems = tuple(chain.from_iterable(shard.problems for shard in made))
    if not any(shard.length for shard in made):
        raise TrainingError(f"No recording has sound in it: {'; '.join(problems[:_NAMED])}")
    mark = shards.Fingerprint(sample_rate)
    for shard in made:
        mark.add(shard)
    return _corpus(made, sample_rate, mark.text(), problems)


def _open_shards(data: Path, group: str, sample_rate: int) -> Corpus:
    manifests = read_manifests(data)
    for manifest in manifests:
        if manifest.sample_rate != sample_rate:
            raise TrainingError(
                f"The shards of {manifest.folder} are at {manifest.sample_rate} Hz, and {sample_rate} Hz are needed: "
                f"prepare the corpus with --sample-rate {sample_rate}, or train a network for {manifest.sample_rate} "
                "Hz with --sample-rate."
            )
    having = [manifest for manifest in manifests if group in manifest.groups]
    if not having:
        raise TrainingError(
            f"The shards of {data} have nothing for '{group}': prepare a corpus that has, into the same folder."
        )
    marks = [manifest.groups[group].fingerprint for manifest in having]
    mark = marks[0] if len(marks) == 1 else hashlib.sha256(" ".join(marks).encode()).hexdigest()
    return _corpus(chain.from_iterable(m.shards(group) for m in having), sample_rate, mark, ())


class _Numbering:
    """Names -> numbers, in the order in which they are first seen."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}

    def of(self, names: Iterable[str]) -> NDArray[np.int64]:
        return np.array([self.names.setdefault(name, len(self.names)) for name in names], np.int64)


def _corpus(parts: Iterable[Shard], sample_rate: int, mark: str, problems: tuple[str, ...]) -> Corpus:
    """One shard's index is in memory at a time: names of millions of files would take more than their samples do."""
    samples: list[Tensor] = []
    columns: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]] = []
    people, datasets = _Numbering(), _Numbering()
    speech: dict[str, bool] = {}
    origin: dict[str, str] = {}
    for part in parts:
        if not part.length:
            continue
        lengths = np.array(part.length, np.int64)
        columns.append(
            (np.full(len(lengths), len(samples)), lengths, np.array(part.rms, np.float32), people.of(part.speaker))
        )
        samples.append(_mapped(part, int(lengths.sum())))
        speech.update(zip(part.speaker, part.is_speech, strict=True))
        origin.update(zip(part.speaker, part.dataset, strict=True))
    datasets.of(sorted(set(origin.values())))
    names = sorted(people.names)
    rank = np.empty(len(names), np.int64)
    rank[[people.names[name] for name in names]] = np.arange(len(names))
    shard, lengths, rms, speaker = (np.concatenate(column) for column in zip(*columns, strict=True))
    starts = np.concatenate([np.cumsum(own) - own for _, own, _, _ in columns])
    return Corpus(
        shards=tuple(samples),
        shard=torch.from_numpy(shard),
        starts=torch.from_numpy(starts),
        lengths=torch.from_numpy(lengths),
        rms=torch.from_numpy(rms).clamp_min(1e-4),
        speaker=torch.from_numpy(rank[speaker]),
        speakers=tuple(names),
        is_speech=torch.tensor([speech[name] for name in names]),
        dataset=torch.from_numpy(datasets.of(origin[name] for name in names)),
        sample_rate=sample_rate,
        fingerprint=mark,
        problems=problems,
    )


def _mapped(part: Shard, samples: int) -> Tensor:
    if isinstance(part.samples, Path):
        # NumPy's maps each keep a file open, and there may be thousands of shards.
        return torch.from_file(str(part.samples), shared=False, size=samples, dtype=torch.int16)
    return torch.from_numpy(part.samples)
