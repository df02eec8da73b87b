"""A corpus's folder, in the layout that its owners distribute -> its recordings, each with one speaker.

Mixtures are made on the fly, so of a tree of mixtures (LibriMix, wsj0-mix, WHAM!) only the separate sources are used;
their file names say who speaks.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from unmingle.model.reading.header import AUDIO_SUFFIXES
from unmingle.training.corpora.mixture_trees import (
    audio_files,
    find_trees,
    one_version,
    source_folders,
    source_number,
    split_of,
    subfolders,
    who,
)
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import (
    EXPECTED,
    OTHER_AUDIO_SUFFIXES,
    Recording,
    Survey,
    read_table,
)

TABLE = "metadata.csv"
TEST_LEFT_OUT = "recordings for test"

_LIBRISPEECH = re.compile(r"(train|dev|test)-(clean|other)(-\d+)?")
_TRACK = {"mix", "mixture", "bass", "drums", "vocals"}


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
        mixed = list(find_trees(root))
        if mixed:
            return of_mixtures(mixed)
        return _of_speakers(root)
    except OSError as error:
        raise TrainingError(f"The corpus {root} cannot be read: {error.filename}: {error.strerror}.") from error


def noises_of_mixtures(root: Path) -> list[Recording]:
    """The noise that a tree of noisy mixtures brings, file by file; empty for any other layout."""
    if not root.is_dir() or (root / TABLE).is_file():
        return []
    trees = [tree for tree in find_trees(root) if (tree / "noise").is_dir()]
    return [
        Recording(file, str(file), split_of(tree.name) or "train")
        for tree in one_version(trees)[0]
        for file in audio_files(tree / "noise")
    ]


def _has_audio(folder: Path) -> bool:
    return any(f.suffix.lower() in AUDIO_SUFFIXES and not f.name.startswith(".") for f in folder.rglob("*"))


def of_mixtures(trees: list[Path]) -> Survey:
    """The separate sources of trees of mixtures; an utterance that is in several mixtures counts once."""
    chosen, version = one_version(trees)
    recordings: dict[tuple[str, str], Recording] = {}
    repeated = 0
    for tree in chosen:
        split = split_of(tree.name) or "train"
        for source in source_folders(tree):
            for file in audio_files(source):
                utterance, speaker = who(file, source_number(source))
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
    left_out += [TEST_LEFT_OUT] if splits["test"] else []
    return Survey(list(recordings.values()), layout, tuple(left_out))


def _of_speakers(root: Path) -> Survey:
    """A folder per speaker, perhaps below a folder per split, perhaps further down."""
    top, folders = root, [f for f in subfolders(root) if _has_audio(f)]
    while len(folders) == 1 and not any(f.suffix.lower() in AUDIO_SUFFIXES for f in folders[0].iterdir()):
        top, folders = folders[0], [f for f in subfolders(folders[0]) if _has_audio(f)]
        if split_of(top.name) and not any(split_of(f.name) for f in folders):
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
    if folders and all(split_of(f.name) for f in folders):
        kind = "LibriSpeech" if all(_LIBRISPEECH.fullmatch(f.name) for f in folders) else "a folder per split"
        recordings = [
            Recording(file, speaker.name, split_of(folder.name) or "train")
            for folder in folders
            for speaker in subfolders(folder)
            for file in audio_files(speaker)
        ]
        tests = sum(r.split == "test" for r in recordings)
        left_out += [f"recordings for test: {tests}"] if tests else []
        names = ", ".join(f.name for f in folders)
        return Survey(recordings, f"{kind} ({names}), in each a folder per speaker", tuple(left_out))
    recordings = [Recording(file, folder.name, "train") for folder in folders for file in audio_files(folder)]
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
