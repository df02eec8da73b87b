"""Mixtures of any number of voices, drawn from a corpus by a seed: `--voices 4`, where there is no list of them."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import soundfile

from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.mixture_list import ListedMixture, Part

SECONDS = 5.0
SEED = 2016
LEVEL_DB, LEVEL_RANGE_DB = -26.0, 5.0
"""RMS of a voice below full scale, and how far voices of a mixture are apart at most."""

_EXPECTED = "Expected a folder with a metadata.csv that has the columns path, split, speaker and, where known, gender."


@dataclasses.dataclass(frozen=True)
class _Voice:
    """Recordings of one speaker that are long enough."""

    files: tuple[Path, ...]
    gender: str


def mixtures_of(corpus: Path, split: str, voices: int, mixtures: int) -> list[ListedMixture]:
    """Mixtures of `voices` different speakers of a split, 0 to 5 dB apart, 5 seconds long; the same each time.

    Raises:
        EvaluationError: no such corpus, too few speakers, or a recording is not readable.
    """
    found = _voices(corpus, split)
    if len(found) < voices:
        raise EvaluationError(
            f"Mixtures of {voices} voices were asked for, but '{split}' of {corpus} has {len(found)} speakers with "
            f"{SECONDS:g} seconds or more in one file."
        )
    rng = np.random.default_rng((SEED, voices))
    made = []
    for number in range(mixtures):
        chosen = rng.permutation(len(found))[:voices]
        parts = tuple(_part(found[i], rng) for i in chosen)
        made.append(ListedMixture(f"{voices}_voices_{number:04d}", SECONDS, parts))
    return made


def _voices(corpus: Path, split: str) -> list[_Voice]:
    table = corpus / "metadata.csv"
    try:
        with table.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except OSError as error:
        raise EvaluationError(f"{table} cannot be read ({error.strerror}). {_EXPECTED}") from error
    missing = {"path", "split", "speaker"} - set(rows[0] if rows else ())
    if missing:
        raise EvaluationError(f"{table} has no column {', '.join(sorted(missing))}. {_EXPECTED}")
    files: dict[str, list[Path]] = {}
    genders: dict[str, str] = {}
    for row in rows:
        file = corpus / row["path"]
        if row["split"] == split and row.get("language") != "-" and _seconds(file) >= SECONDS:
            files.setdefault(row["speaker"], []).append(file)
            genders[row["speaker"]] = row["gender"] if row.get("gender") in ("F", "M") else "U"
    return [_Voice(tuple(sorted(files[name])), genders[name]) for name in sorted(files)]


def _seconds(file: Path) -> float:
    try:
        return float(soundfile.info(file).duration)
    except (OSError, soundfile.LibsndfileError) as error:
        raise EvaluationError(f"The recording {file} cannot be read ({error}); expected an audio file.") from error


def _part(voice: _Voice, rng: np.random.Generator) -> Part:
    file = voice.files[rng.integers(len(voice.files))]
    level_db = LEVEL_DB + LEVEL_RANGE_DB * (rng.random() - 0.5)
    place = rng.random()
    with soundfile.SoundFile(file) as opened:
        samples = round(SECONDS * opened.samplerate)
        start = int(place * (opened.frames - samples + 1))
        opened.seek(start)
        piece = opened.read(samples, dtype="float32", always_2d=True)
    rms = float(np.sqrt(np.mean(np.square(piece, dtype=np.float64))))
    return Part(file, start, round(level_db - 20.0 * np.log10(max(rms, 1e-4)), 3), voice.gender)
