"""A corpus's folder, in the layout that its owners distribute -> its recordings, each with one speaker.

Mixtures are made on the fly, so of a tree of mixtures (LibriMix, wsj0-mix, WHAM!) only the separate sources are used;
their file names say who speaks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from unmingle.model.reading.header import AUDIO_SUFFIXES
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import (
    EXPECTED,
    OTHER_AUDIO_SUFFIXES,
    Recording,
    Survey,
    read_table,
)

TABLE = "metadata.csv"

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("dev", "development", "valid", "validation", "val", "cv"), "valid"),
    **dict.fromkeys(("test", "testing", "tt", "eval"), "test"),
}
_SOURCE = re.compile(r"s([1-9])")
_MIXTURE = re.compile(r"mix(_\w+)?|noisy|mixture|noise")
_LIBRISPEECH = re.compile(r"(train|dev|test)-(clean|other)(-\d+)?")
_LIBRISPEECH_UTTERANCE = re.compile(r"(\d+)-\d+-\d+")
_WSJ0_UTTERANCE = re.compile(r"([0-9a-z]{3})[0-9a-z]{5}")
_LEVEL = re.compile(r"-?\d+(\.\d+)?")
_TRACK = {"mix", "mixture", "bass", "drums", "vocals"}
_DEPTH = 4
"""How far below the given folder a corpus is looked for."""


def survey(root: Path) -> Survey:
    """Find out what a folder holds.

    Raises:
        TrainingError: there is no such folder, or nobody can tell from it who speaks in which file.
    """
    if not root.is_dir():
        raise TrainingError(f"There is no corpus folder {root}: {EXPECTED}")
    if (root / TABLE).is_file():
        return read_table(root / TABLE)
    try:
        mixed = list(_mixture_folders(root, _DEPTH))
        if mixed:
            return _of_mixtures(root, mixed)
        return _of_speakers(root)
    except OSError as error:
        raise TrainingError(f"The corpus {root} cannot be read: {error.filename}: {error.strerror}.") from error


def noises_of_mixtures(root: Path) -> list[Recording]:
    """The noise that a tree of noisy mixtures brings, file by file; empty for any other layout."""
    if not root.is_dir() or (root / TABLE).is_file():
        return []
    folders = [f for f in _mixture_folders(root, _DEPTH) if (f / "noise").is_dir()]
    return [
        Recording(file, str(file), _split_of(folder.name) or "train")
        for folder in _one_version(folders)[0]
        for file in _audio(folder / "noise")
    ]


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))


def _audio(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in AUDIO_SUFFIXES and not f.name.startswith("."))


def _has_audio(folder: Path) -> bool:
    return any(f.suffix.lower() in AUDIO_SUFFIXES and not f.name.startswith(".") for f in folder.rglob("*"))


def _split_of(name: str) -> str | None:
    """train-360 -> train, cv -> valid; None for a name that is no split's."""
    return _SPLIT_NAMES.get(re.split(r"[-_]", name.lower())[0])


def _mixture_folders(root: Path, depth: int) -> Iterator[Path]:
    """Folders with s1, s2... in them, and with the mixtures of these."""
    inside = _folders(root)
    sources = [f for f in inside if _SOURCE.fullmatch(f.name)]
    if len(sources) >= 2 and any(_MIXTURE.fullmatch(f.name) for f in inside):
        yield root
    elif depth:
        for folder in inside:
            yield from _mixture_folders(folder, depth - 1)


def _one_version(folders: list[Path]) -> tuple[list[Path], str]:
    """Of a corpus that is there at several rates and lengths: the highest rate, and recordings without padding."""
    chosen = folders
    rates = sorted({part for f in folders for part in f.parts if re.fullmatch(r"wav\d+k", part)}, key=_number)
    lengths = {part for f in folders for part in f.parts if part in ("min", "max")}
    if len(rates) > 1:
        chosen = [f for f in chosen if rates[-1] in f.parts]
    if len(lengths) > 1:
        chosen = [f for f in chosen if "min" in f.parts]
    taken = ", ".join(part for part in (rates[-1:] + (["min"] if len(lengths) > 1 else []))) if chosen else ""
    return chosen, taken if len(chosen) < len(folders) else ""


def _number(text: str) -> int:
    return int(re.sub(r"\D", "", text))


def _of_mixtures(root: Path, folders: list[Path]) -> Survey:
    chosen, version = _one_version(folders)
    recordings: dict[tuple[str, str], Recording] = {}
    repeated = 0
    for folder in chosen:
        split = _split_of(folder.name) or "train"
        for source in (f for f in _folders(folder) if _SOURCE.fullmatch(f.name)):
            for file in _audio(source):
                utterance, speaker = _who(file, int(source.name[1:]))
                repeated += (split, utterance) in recordings
                recordings.setdefault((split, utterance), Recording(file, speaker, split))
    splits = Counter(r.split for r in recordings.values())
    listed = ", ".join(f"{count} for {split}" for split, count in sorted(splits.items()))
    layout = (
        f"a tree of mixtures with their sources ({', '.join(f.name for f in chosen)}): only the sources are used, "
        f"and the names of their files say who speaks; {listed}"
    )
    left_out = [f"other versions of the same recordings (used: {version})"] if version else []
    left_out += [f"the same utterance in further mixtures: {repeated} files"] if repeated else []
    left_out += ["recordings for test"] if splits["test"] else []
    return Survey(list(recordings.values()), layout, tuple(left_out))


def _who(file: Path, source: int) -> tuple[str, str]:
    """Utterance and speaker of source 1, 2...: LibriMix joins utterances, wsj0-mix utterances and levels, by '_'."""
    parts = file.stem.split("_")
    librimix = [_LIBRISPEECH_UTTERANCE.fullmatch(part) for part in parts]
    if len(parts) >= source and (found := librimix[source - 1]) and all(librimix):
        return parts[source - 1], found.group(1)
    utterances, levels = parts[::2], parts[1::2]
    wsj0 = [_WSJ0_UTTERANCE.fullmatch(part.lower()) for part in utterances]
    if len(utterances) >= source and (found := wsj0[source - 1]) and all(wsj0) and all(map(_LEVEL.fullmatch, levels)):
        return utterances[source - 1], found.group(1)
    raise TrainingError(
        f"{file.parent.parent} is a tree of mixtures, but the name {file.name} does not tell who speaks; expected "
        "names as in LibriMix (103-1240-0003_1235-135887-0017.wav) or wsj0-mix (011a0101_1.2_20la010a_-1.2.wav). Give "
        f"the separate recordings instead: {EXPECTED}"
    )


def _of_speakers(root: Path) -> Survey:
    """A folder per speaker, perhaps below a folder per split, perhaps further down."""
    top, folders = root, [f for f in _folders(root) if _has_audio(f)]
    while len(folders) == 1 and not any(f.suffix.lower() in AUDIO_SUFFIXES for f in folders[0].iterdir()):
        top, folders = folders[0], [f for f in _folders(folders[0]) if _has_audio(f)]
        if _split_of(top.name) and not any(_split_of(f.name) for f in folders):
            break
    _refuse_tracks(folders)
    left_out = _not_read(root)
    loose = [f.name for f in top.iterdir() if f.suffix.lower() in AUDIO_SUFFIXES and not f.name.startswith(".")]
    if loose and not folders:
        raise TrainingError(
            f"{top} has {len(loose)} audio files ({min(loose)}...) but no folder per speaker, so nobody can tell who "
            f"speaks in which: {EXPECTED}"
        )
    if loose:
        left_out.append(f"{len(loose)} audio files that are in no speaker's folder ({min(loose)}...)")
    if folders and all(_split_of(f.name) for f in folders):
        kind = "LibriSpeech" if all(_LIBRISPEECH.fullmatch(f.name) for f in folders) else "a folder per split"
        recordings = [
            Recording(file, speaker.name, _split_of(folder.name) or "train")
            for folder in folders
            for speaker in _folders(folder)
            for file in _audio(speaker)
        ]
        tests = sum(r.split == "test" for r in recordings)
        left_out += [f"recordings for test: {tests}"] if tests else []
        names = ", ".join(f.name for f in folders)
        return Survey(recordings, f"{kind} ({names}), in each a folder per speaker", tuple(left_out))
    recordings = [Recording(file, folder.name, "train") for folder in folders for file in _audio(folder)]
    where = f", in {top.relative_to(root)}" if top != root else ""
    return Survey(recordings, f"a folder per speaker{where}", tuple(left_out))


def _refuse_tracks(folders: list[Path]) -> None:
    for folder in folders:
        stems = {f.stem.lower() for f in folder.iterdir() if f.suffix.lower() in AUDIO_SUFFIXES}
        if len(stems & _TRACK) >= 2 and {"mix", "mixture"} & stems:
            raise TrainingError(
                f"{folder} is a piece of music and its stems, not the recordings of a speaker; for such a corpus, list "
                f"the stems in a table: {EXPECTED}"
            )


def _not_read(root: Path) -> list[str]:
    """What of the sound below a folder is in a format that the trainer does not read."""
    formats = Counter(
        f.suffix.lower()
        for f in root.rglob("*")
        if f.suffix.lower() in OTHER_AUDIO_SUFFIXES and not f.name.startswith(".")
    )
    if not formats:
        return []
    listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(formats.items()))
    return [f"files in formats that are not read: {listed} (convert them to FLAC, for example with ffmpeg)"]
