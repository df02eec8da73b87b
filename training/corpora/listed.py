"""Official lists of mixtures, and the recordings that they name -> recordings to prepare, and test mixtures.

LibriMix: `libri2mix_test-clean.csv` and so on, with the columns mixture_ID, source_1_path, source_1_gain, ...
wsj0-mix: `mix_2_spk_tt.txt` and so on; lines of PATH LEVEL_DB PATH LEVEL_DB.
Both are read from the user's copy. Mixtures are cut to the shortest source (min) or padded to the longest (max).
"""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import soundfile
from numpy import asarray, float32

from unmingle.training.corpora.active_level import active_level_db
from unmingle.training.corpora.speech import librispeech_root
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import Recording, Survey
from unmingle.training.surveying import hold_out

_LIBRIMIX_LIST = re.compile(r"libri(\d)mix_((train|dev|test)-(clean|other)(-\d+)?)\.csv")
_WSJ0_LIST = re.compile(r"mix_([23])_spk_(tr|cv|tt)\.txt")
_SPLITS = {"train": "train", "dev": "valid", "test": "test", "tr": "train", "cv": "valid", "tt": "test"}
_WSJ0_LEVEL_HZ = 8000
"""wsj0-mix takes levels at 8 kHz, also for its mixtures at 16 kHz."""


@dataclasses.dataclass(frozen=True)
class Source:
    """One source of a listed mixture.

    Attributes:
        file: of the recording.
        gain_db: added to the recording's level; where `levelled`, the level that it is brought to.
        levelled: whether gain_db is an active level.
        gender: F, M or U.
    """

    file: Path
    gain_db: float
    levelled: bool = False
    gender: str = "U"


@dataclasses.dataclass(frozen=True)
class Mixture:
    """One line of an official list."""

    id: str
    sources: tuple[Source, ...]


Lists = Mapping[str, Sequence[Mixture]]
"""Mixtures by the name of their list."""


def librimix(librispeech: Path, folder: Path) -> tuple[Survey, Lists]:
    """The utterances of LibriSpeech that LibriMix's lists name, and the mixtures of those for dev and test.

    Raises:
        TrainingError: there are no lists, no LibriSpeech, or recordings are missing.
    """
    files = _lists(folder, _LIBRIMIX_LIST, "libri2mix_train-clean-100.csv, libri2mix_test-clean.csv")
    top = librispeech_root(librispeech)
    genders = _genders(top)
    left_out = ["the noise of the mixtures (WHAM!'s: prepare it by itself, as wham)"]
    lists: dict[str, list[Mixture]] = {}
    for file, found in files:
        part = found.group(2)
        if (top / part).is_dir():
            lists[file.stem] = list(_librimix_mixtures(file, top, genders))
        else:
            left_out.append(f"{file.name}, because LibriSpeech's {part} is not in {top}")
    return _surveyed("LibriSpeech by the lists of LibriMix", top, lists, left_out, _librispeech_speaker)


def wsj0_mix(wsj0: Path, folder: Path) -> tuple[Survey, Lists]:
    """The utterances of WSJ0 that wsj0-mix's lists name, and the mixtures of those for cv and tt.

    Raises:
        TrainingError: there are no lists, or recordings are missing.
    """
    files = _lists(folder, _WSJ0_LIST, "mix_2_spk_tr.txt, mix_2_spk_cv.txt, mix_2_spk_tt.txt")
    lists = {file.stem: list(_wsj0_mixtures(file, wsj0)) for file, _ in files}
    return _surveyed("WSJ0 by the lists of wsj0-mix", wsj0, lists, [], lambda file: f"wsj0/{file.stem[:3].lower()}")


LISTED: Mapping[str, Callable[[Path, Path], tuple[Survey, Lists]]] = {"librimix": librimix, "wsj0-mix": wsj0_mix}


def write_lists(lists: Lists, folder: Path, sample_rate: int, length: str) -> list[Path]:
    """Write lists that training/evaluate.py reads; returns the files.

    Args:
        sample_rate: Hz, of the mixtures.
        length: min or max.

    Raises:
        TrainingError: a recording cannot be read, or the folder cannot be written to.
    """
    written = []
    for name, mixtures in lists.items():
        most = max(len(mixture.sources) for mixture in mixtures)
        columns = ["id", "seconds", "genders", "sample_rate", "padded"]
        columns += [f"source{i}_{what}" for i in range(1, most + 1) for what in ("path", "start", "gain_db")]
        file = folder / f"{name}_{sample_rate // 1000}k_{length}.csv"
        partial = file.with_suffix(f".{os.getpid()}.partial")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with partial.open("w", newline="", encoding="utf-8") as lines:
                writer = csv.DictWriter(lines, columns)
                writer.writeheader()
                writer.writerows(_row(mixture, sample_rate, length) for mixture in mixtures)
            os.replace(partial, file)
        except OSError as error:
            raise TrainingError(f"{file} cannot be written ({error.strerror}): give another -o.") from error
        written.append(file)
    return written


def _lists(folder: Path, name: re.Pattern[str], example: str) -> list[tuple[Path, re.Match[str]]]:
    candidates = sorted(folder.rglob("*")) if folder.is_dir() else []
    found = [(file, match) for file in candidates if (match := name.fullmatch(file.name))]
    if not found:
        raise TrainingError(f"The folder {folder} has no official lists: expected files such as {example} in it.")
    return found


def _librimix_mixtures(file: Path, top: Path, genders: Mapping[str, str]) -> Iterator[Mixture]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        for number, row in enumerate(csv.DictReader(lines), start=2):
            count = sum(re.fullmatch(r"source_\d+_path", column or "") is not None for column in row)
            try:
                sources = tuple(
                    _librispeech_source(
                        top / (row[f"source_{i}_path"] or ""), float(row[f"source_{i}_gain"] or ""), genders
                    )
                    for i in range(1, count + 1)
                )
                if not sources or not row["mixture_ID"]:
                    raise ValueError("no sources")
            except (KeyError, ValueError) as error:
                raise TrainingError(
                    f"{file}, line {number}: expected mixture_ID and, for i = 1, 2..., source_i_path and source_i_gain "
                    f"above 0 ({error})."
                ) from error
            yield Mixture(row["mixture_ID"], sources)


def _librispeech_source(file: Path, gain: float, genders: Mapping[str, str]) -> Source:
    return Source(file, 20.0 * math.log10(gain), gender=genders.get(file.stem.split("-")[0], "U"))


def _librispeech_speaker(file: Path) -> str:
    return f"librispeech/{file.stem.split('-')[0]}"


def _wsj0_mixtures(file: Path, wsj0: Path) -> Iterator[Mixture]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            levels = [float(word) for word in words[1::2]]
            if len(levels) != len(words[::2]) or len(levels) < 2:
                raise ValueError
        except ValueError as error:
            raise TrainingError(
                f"{file}, line {number}: expected PATH LEVEL_DB PATH LEVEL_DB, got '{line}'."
            ) from error
        files = [_wsj0_file(wsj0, word) for word in words[::2]]
        name = "_".join(f"{path.stem}_{level}" for path, level in zip(files, words[1::2], strict=True))
        yield Mixture(name, tuple(Source(path, db, levelled=True) for path, db in zip(files, levels, strict=True)))


def _wsj0_file(wsj0: Path, named: str) -> Path:
    """Lists begin paths with wsj0/; users name that folder itself, or the one that it is in."""
    inside = wsj0 / named.removeprefix("wsj0/")
    return wsj0 / named if (wsj0 / named).is_file() else inside


def _surveyed(
    layout: str, top: Path, lists: Mapping[str, list[Mixture]], left_out: list[str], speaker: Callable[[Path], str]
) -> tuple[Survey, Lists]:
    recordings: dict[tuple[str, Path], Recording] = {}
    tests: dict[str, list[Mixture]] = {}
    for name, mixtures in lists.items():
        split = next(_SPLITS[part] for part in re.split(r"[-_]", name) if part in _SPLITS)
        for source in (source for mixture in mixtures for source in mixture.sources):
            who = speaker(source.file)
            recordings[split, source.file] = Recording(source.file, who, split, dataset=who.split("/")[0])
        if split != "train":
            tests[name] = mixtures
    missing = sorted({file for _, file in recordings if not file.is_file()})
    if missing:
        more = f" and {len(missing) - 1} more recordings" if len(missing) > 1 else ""
        hint = " WSJ0 is distributed as .wv1: convert it to WAV." if "WSJ0" in layout else ""
        raise TrainingError(f"The lists name {missing[0]}{more}, but there is no such file: is {top} complete?{hint}")
    if not any(split == "train" for split, _ in recordings):
        raise TrainingError(
            f"None of the lists for training can be used with {top}; left out were {'; '.join(left_out)}."
        )
    ordered = [recordings[key] for key in sorted(recordings, key=lambda key: (key[0], str(key[1])))]
    shown = ", ".join(f"{name} ({len(mixtures)} mixtures)" for name, mixtures in lists.items())
    return hold_out(Survey(ordered, f"{layout}: {shown}", tuple(left_out))), tests


def _genders(top: Path) -> dict[str, str]:
    """Speaker -> F or M, from LibriSpeech's SPEAKERS.TXT; empty where it is not there."""
    file = top / "SPEAKERS.TXT"
    if not file.is_file():
        return {}
    rows = [line.split("|") for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith(";")]
    return {row[0].strip(): row[1].strip() for row in rows if len(row) > 1 and row[1].strip() in ("F", "M")}


def _row(mixture: Mixture, sample_rate: int, length: str) -> dict[str, object]:
    lengths = []
    row: dict[str, object] = {
        "id": mixture.id,
        "genders": "".join(source.gender for source in mixture.sources),
        "sample_rate": sample_rate,
        "padded": "yes" if length == "max" else "",
    }
    for i, source in enumerate(mixture.sources, start=1):
        try:
            about = soundfile.info(source.file)
            gain_db = source.gain_db - (_level_db(source.file) if source.levelled else 0.0)
        except (OSError, soundfile.LibsndfileError) as error:
            raise TrainingError(f"The recording {source.file} cannot be read ({error}); expected audio.") from error
        lengths.append(-(-about.frames * sample_rate // about.samplerate))
        row |= {f"source{i}_path": source.file.resolve(), f"source{i}_start": 0, f"source{i}_gain_db": f"{gain_db:.9f}"}
    row["seconds"] = repr((min if length == "min" else max)(lengths) / sample_rate)
    return row


def _level_db(file: Path) -> float:
    from scipy.signal import resample_poly

    samples, rate = soundfile.read(file, dtype="float32")
    return active_level_db(asarray(resample_poly(samples, _WSJ0_LEVEL_HZ, rate), float32), _WSJ0_LEVEL_HZ)
