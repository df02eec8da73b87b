"""A CSV file of mixtures -> true sources in memory. Axes: (source, sample).

A mixture is the sum over its sources of 10 ^ (gain_db / 20) times `seconds` of `path` from sample `start` on. Where the
list has a `sample_rate`, each recording is brought to it first, from `start` to its end; where it says `padded`,
sources that end too early are silent from there on.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from unmingle.training.evaluation.errors import EvaluationError

GENDERS = {"F": "a woman", "M": "a man", "U": "somebody whose gender is not known", "N": "a sound that is not speech"}

_EXPECTED = (
    "Expected a CSV file with the columns id, seconds, genders and, for i = 1, 2..., source{i}_path (relative to the "
    "list's folder), source{i}_start (first sample) and source{i}_gain_db, as examples/list.csv has them."
)


@dataclasses.dataclass(frozen=True)
class Part:
    """What one source of a mixture is made of.

    Attributes:
        path: of the recording.
        start: first sample, at the recording's own rate.
        gain_db: added to the recording's level.
        gender: one of GENDERS.
        speaker: who it is, where that is known; else empty.
    """

    path: Path
    start: int
    gain_db: float
    gender: str
    speaker: str = ""

    @property
    def is_speech(self) -> bool:
        """Whether somebody speaks."""
        return self.gender != "N"


@dataclasses.dataclass(frozen=True)
class ListedMixture:
    """One row of a list.

    Attributes:
        sample_rate: Hz, to which the recordings are brought; 0 leaves them at their own.
        padded: whether sources may end before the mixture does.
        mixture: the mixture itself, where it is a file of its own, with noise in it for instance.
    """

    id: str
    seconds: float
    parts: tuple[Part, ...]
    sample_rate: int = 0
    padded: bool = False
    mixture: Path | None = None

    @property
    def pairing(self) -> str:
        """Genders in alphabetical order, so that FM and MF are the same."""
        return "".join(sorted(part.gender for part in self.parts))


def read_list(path: Path, limit: int | None = None) -> list[ListedMixture]:
    """Read a list and see that all its recordings are there.

    Args:
        path: the CSV file.
        limit: only the first so many mixtures.

    Raises:
        EvaluationError: no such list, no mixtures in it, a column or a value that is not right, a missing recording.
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            rows = list(reader)
            columns = set(reader.fieldnames or ())
    except OSError as error:
        raise EvaluationError(f"The list {path} cannot be read ({error.strerror}). {_EXPECTED}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"The list {path} is not a CSV file in UTF-8 ({error}). {_EXPECTED}") from error
    missing = {"id", "seconds", "genders", "source1_path", "source1_start", "source1_gain_db"} - columns
    if missing:
        raise EvaluationError(f"The list {path} has no column {', '.join(sorted(missing))}. {_EXPECTED}")
    if not rows:
        raise EvaluationError(f"The list {path} has no mixtures, only a heading. {_EXPECTED}")
    mixtures = [_mixture(row, f"{path}, line {line}", path.parent) for line, row in enumerate(rows[:limit], start=2)]
    absent = sorted({part.path for mixture in mixtures for part in mixture.parts if not part.path.is_file()})
    if absent:
        others = f" and {len(absent) - 1} other recordings" if len(absent) > 1 else ""
        raise EvaluationError(
            f"The list {path} names {absent[0]}{others}, but there is no such file. Paths are relative to the list's "
            "folder: put the recordings there, or take their rows out of the list."
        )
    return mixtures


def _mixture(row: dict[str, str | None], where: str, folder: Path) -> ListedMixture:
    genders = row["genders"] or ""
    numbers = [i for i in range(1, len(row)) if row.get(f"source{i}_path")]
    if len(genders) != len(numbers) or not numbers or set(genders) - set(GENDERS):
        raise EvaluationError(
            f"{where}: genders is '{genders}' for {len(numbers)} sources; expected one letter per source, "
            f"{', '.join(f'{letter} for {meaning}' for letter, meaning in GENDERS.items())}."
        )
    seconds = _number(row, "seconds", where)
    if seconds <= 0:
        raise EvaluationError(f"{where}: seconds is {seconds:g}; expected more than 0.")
    parts = tuple(
        Part(
            folder / (row[f"source{i}_path"] or ""),
            round(_number(row, f"source{i}_start", where)),
            _number(row, f"source{i}_gain_db", where),
            gender,
        )
        for i, gender in zip(numbers, genders, strict=True)
    )
    rate = round(_number(row, "sample_rate", where)) if row.get("sample_rate") else 0
    return ListedMixture(row["id"] or where, seconds, parts, rate, padded=bool(row.get("padded")))


def _number(row: dict[str, str | None], column: str, where: str) -> float:
    text = row.get(column) or ""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise EvaluationError(f"{where}: {column} is '{text}'; expected a number.")
    return number


def load_sources(listed: ListedMixture) -> tuple[NDArray[np.float32], int]:
    """The true sources of a mixture.

    Returns:
        (sources, samples) and the sample rate in Hz.

    Raises:
        EvaluationError: a recording is unreadable, not mono, too short, or its rate is not that of the others.
    """
    pieces, rates = zip(*(_load_part(part, listed) for part in listed.parts), strict=True)
    if len(set(rates)) > 1:
        raise EvaluationError(
            f"The sources of mixture {listed.id} have the sample rates {', '.join(map(str, rates))} Hz; expected the "
            "same for all."
        )
    return np.stack(pieces), rates[0]


def load_mixture(listed: ListedMixture) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """A mixture with its true sources.

    Returns:
        (samples,) of the mixture, their sum or its own file; (sources, samples); and the sample rate in Hz.

    Raises:
        EvaluationError: a recording is not usable, or the mixture's file is not like its sources'.
    """
    sources, rate = load_sources(listed)
    if listed.mixture is None:
        return sources.sum(0), sources, rate
    mixture, its_rate = _load_part(Part(listed.mixture, 0, 0.0, "U"), listed)
    if its_rate != rate:
        raise EvaluationError(f"The mixture {listed.mixture} is at {its_rate} Hz, and its sources at {rate} Hz.")
    return mixture, sources, rate


def _load_part(part: Part, listed: ListedMixture) -> tuple[NDArray[np.float32], int]:
    try:
        with soundfile.SoundFile(part.path) as file:
            rate = listed.sample_rate or file.samplerate
            samples = round(listed.seconds * rate)
            there = -(-max(0, file.frames - part.start) * rate // file.samplerate)
            if file.channels != 1 or part.start < 0 or (samples > there and not listed.padded):
                raise EvaluationError(
                    f"Mixture {listed.id} takes {samples} samples at {rate} Hz of {part.path} from {part.start} on, "
                    f"which has {file.channels} channel(s) of {file.frames} samples at {file.samplerate} Hz; expected "
                    "one channel and enough samples."
                )
            file.seek(part.start)
            piece = file.read(min(samples, there) if rate == file.samplerate else -1, dtype="float32")
            piece = _at_rate(piece, file.samplerate, rate)[:samples]
    except (OSError, soundfile.LibsndfileError) as error:
        raise EvaluationError(
            f"The recording {part.path} of mixture {listed.id} cannot be read ({error}); expected an audio file."
        ) from error
    if len(piece) != min(samples, there):
        raise EvaluationError(f"The recording {part.path} of mixture {listed.id} is damaged: it ends too early.")
    piece = np.pad(piece, (0, samples - len(piece)))
    return piece * np.float32(10.0 ** (part.gain_db / 20.0)), rate


def _at_rate(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """By the filter that LibriMix and wsj0-mix use."""
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    return np.asarray(resample_poly(samples, wanted, rate), np.float32)
