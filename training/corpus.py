"""A folder of recordings -> one flat int16 tensor with an index, so that a corpus can sit whole in (device) memory."""

from __future__ import annotations

import dataclasses
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unmingle.model.reading.header import AUDIO_SUFFIXES
from unmingle.model.threads import usable_cores
from unmingle.training import corpus_cache, layouts
from unmingle.training.audio_files import Decoded, decode
from unmingle.training.corpus_cache import Index, Writer
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import EXPECTED, Recording, Survey, read_table

__all__ = ["AUDIO_SUFFIXES", "Corpus", "Recording", "find_backgrounds", "find_recordings", "load_corpus", "survey"]

_NAMED = 20
"""So many faulty files are listed one by one; of more, the number is said."""


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
        fingerprint: the same for the same files (by content) of the same speakers.
        problems: files that are faulty, a sentence each, and what was done about it.
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
    fingerprint: str = ""
    problems: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> Corpus:
        """The same corpus with its samples on another device; the small index stays on the CPU."""
        return dataclasses.replace(self, samples=self.samples.to(device))

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return float(self.lengths.sum()) / self.sample_rate / 3600.0


def survey(root: Path, held_out: float = 0.2) -> Survey:
    """List a corpus: by its metadata.csv (columns path, split, speaker) or, without one, by its layout.

    Where no recording is marked `valid`, every fifth speaker (`held_out`), at least two, is kept for validation, the
    same ones each time. Rows whose `language` is "-" are sounds that are not speech.

    Raises:
        TrainingError: there is no such folder, or there are too few speakers to train and to validate with.
    """
    seen = layouts.survey(root)
    found = seen.recordings
    if not any(r.split == "valid" for r in found):
        found = _hold_out(found, held_out)
    for split in ("train", "valid"):
        if len({r.speaker for r in found if r.split == split and r.is_speech}) < 2:
            problem = "has recordings of fewer than two speakers" if found else "has no recordings"
            also = f" left out were {'; '.join(seen.left_out)};" if seen.left_out else ""
            raise TrainingError(
                f"The corpus {root} {problem} for '{split}'; it was taken for {seen.layout};{also} {EXPECTED}"
            )
    return dataclasses.replace(seen, recordings=found)


def find_recordings(root: Path, held_out: float = 0.2) -> list[Recording]:
    """The recordings alone of `survey`."""
    return survey(root, held_out).recordings


def find_backgrounds(root: Path) -> list[Recording]:
    """List the noises and pieces of music of a corpus: the rows of its background.csv, or the noise of its mixtures.

    Each recording counts as a speaker of its own, so that blends are of different ones.
    """
    table = root / "background.csv"
    found = read_table(table).recordings if table.is_file() else layouts.noises_of_mixtures(root)
    return [dataclasses.replace(r, speaker=str(r.path), is_speech=True) for r in found]


def _hold_out(recordings: list[Recording], share: float) -> list[Recording]:
    """Mark the recordings of some speakers, evenly spaced by name, as `valid`."""
    speakers = sorted({r.speaker for r in recordings if r.split == "train" and r.is_speech})
    kept = max(2, round(len(speakers) * share))
    validation = set(speakers[:: max(1, len(speakers) // kept)][:kept])
    return [dataclasses.replace(r, split="valid") if r.speaker in validation else r for r in recordings]


def load_corpus(recordings: Iterable[Recording], sample_rate: int, cache: Path | None = None) -> Corpus:
    """Decode recordings to mono int16 at `sample_rate`, several at a time, showing progress.

    Args:
        recordings: any order; the corpus keeps it.
        sample_rate: Hz.
        cache: folder in which the samples are kept for the next time, and mapped into memory from; in memory if None.

    Raises:
        TrainingError: files are missing or are not audio (all of them are named), or none has sound in it.
    """
    files = list(recordings)
    known = corpus_cache.read(cache, files, sample_rate) if cache else None
    index, samples = known or _decode_all(files, sample_rate, cache)
    used = [files[i] for i in index.used]
    speakers = sorted({r.speaker for r in used})
    number = {name: i for i, name in enumerate(speakers)}
    lengths = np.array(index.lengths, np.int64)
    speech = {r.speaker: r.is_speech for r in used}
    origin = {r.speaker: r.dataset for r in used}
    datasets = sorted(set(origin.values()))
    return Corpus(
        samples=samples,
        starts=torch.from_numpy(np.cumsum(lengths) - lengths),
        lengths=torch.from_numpy(lengths),
        rms=torch.tensor(index.rms).clamp_min(1e-4),
        speaker=torch.tensor([number[r.speaker] for r in used]),
        speakers=tuple(speakers),
        is_speech=torch.tensor([speech[s] for s in speakers]),
        dataset=torch.tensor([datasets.index(origin[s]) for s in speakers]),
        sample_rate=sample_rate,
        fingerprint=index.fingerprint,
        problems=index.problems,
    )


def _decode_all(files: Sequence[Recording], sample_rate: int, cache: Path | None) -> tuple[Index, Tensor]:
    problems: list[str] = []
    unreadable: list[str] = []
    with Writer(cache, files, sample_rate) as writer:
        for number, (recording, decoded) in enumerate(zip(files, _decoded(files, sample_rate), strict=True)):
            if decoded.problem:
                (unreadable if decoded.unreadable else problems).append(f"{recording.path}: {decoded.problem}")
            if decoded.samples is not None:
                writer.add(number, decoded.samples, decoded.digest)
        if unreadable:
            more = f"; and {len(unreadable) - _NAMED} more" if len(unreadable) > _NAMED else ""
            first = "; ".join(unreadable[:_NAMED]).replace(": cannot be read", " cannot be read")
            raise TrainingError(f"The recording {first}{more}. Repair it or take it out of the corpus.")
        if not writer.used:
            raise TrainingError(f"No recording has sound in it: {'; '.join(problems[:_NAMED])}")
        return writer.finish(problems)


def _decoded(files: Sequence[Recording], sample_rate: int) -> Iterator[Decoded]:
    """In the order of the files; only a few are in memory at a time."""
    threads = usable_cores()
    ahead: deque[Future[Decoded]] = deque()
    tty = sys.stderr.isatty()
    bar = tqdm(total=len(files), desc="decoding", unit="file", mininterval=0.5 if tty else 20.0, delay=2.0)
    with ThreadPoolExecutor(threads) as pool, bar:
        try:
            for recording in files:
                ahead.append(pool.submit(decode, recording.path, sample_rate))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
                    bar.update()
            while ahead:
                yield ahead.popleft().result()
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)
