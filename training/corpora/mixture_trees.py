"""Trees of mixtures as they are published: LibriMix, wsj0-mix, WHAM!, WHAMR!. What is in them, and who speaks.

Libri2Mix/wav8k/min/{train-100,train-360,dev,test}/{mix_clean,mix_both,mix_single,s1,s2,noise}/NAME.wav
2speakers/wav8k/min/{tr,cv,tt}/{mix,s1,s2}/NAME.wav                                     wsj0-2mix
wav8k/min/{tr,cv,tt}/{mix_clean,mix_both,mix_single,s1,s2,noise}/NAME.wav               WHAM!
wav8k/min/{tr,cv,tt}/{mix_clean_anechoic,mix_both_reverb...,s1_anechoic,s1_reverb...}   WHAMR!
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unmingle.model.reading.header import AUDIO_SUFFIXES
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import EXPECTED

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("dev", "development", "valid", "validation", "val", "cv"), "valid"),
    **dict.fromkeys(("test", "testing", "tt", "eval"), "test"),
}
_SOURCE = re.compile(r"s([1-9])(_anechoic|_reverb)?")
_MIXTURE = re.compile(r"mix(_\w+)?|noisy|mixture")
_NOISE = "noise"
_LIBRISPEECH_UTTERANCE = re.compile(r"(\d+)-\d+-\d+")
_WSJ0_UTTERANCE = re.compile(r"([0-9a-z]{3})[0-9a-z]{5}")
_LEVEL = re.compile(r"-?\d+(\.\d+)?")


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, sorted."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))


def audio_files(folder: Path) -> list[Path]:
    """The audio files below a folder that the trainer reads, sorted."""
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in AUDIO_SUFFIXES and not f.name.startswith("."))


def split_of(name: str) -> str | None:
    """train-360 -> train, cv -> valid; None for a name that is no split's."""
    return _SPLIT_NAMES.get(re.split(r"[-_]", name.lower())[0])


def find_trees(root: Path, depth: int = 4) -> Iterator[Path]:
    """Folders with s1, s2... in them, and with the mixtures of these."""
    inside = subfolders(root)
    if len({source_number(f) for f in inside} - {0}) >= 2 and any(
        _MIXTURE.fullmatch(f.name) or f.name == _NOISE for f in inside
    ):
        yield root
    elif depth:
        for folder in inside:
            yield from find_trees(folder, depth - 1)


def source_number(folder: Path) -> int:
    """s2 -> 2; 0 for a folder that holds no sources."""
    found = _SOURCE.fullmatch(folder.name)
    return int(found.group(1)) if found else 0


def source_folders(tree: Path, room: str = "anechoic") -> list[Path]:
    """s1, s2...; of sources that are there with and without their rooms (WHAMR!), those of one kind."""
    found = [f for f in subfolders(tree) if source_number(f)]
    return [f for f in found if f.name.endswith("_" + room)] or [f for f in found if "_" not in f.name] or found


def mixture_folders(tree: Path) -> list[Path]:
    """mix, mix_clean, mix_both..."""
    return [f for f in subfolders(tree) if _MIXTURE.fullmatch(f.name)]


def version_of(tree: Path) -> tuple[str, ...]:
    """What tells the versions of a corpus apart: wav8k or wav16k, min or max."""
    return tuple(part for part in tree.parts if re.fullmatch(r"wav\d+k|min|max", part))


def one_version(trees: list[Path]) -> tuple[list[Path], str]:
    """Of a corpus that is there at several rates and lengths: the highest rate, and recordings without padding."""
    chosen = trees
    rates = sorted({part for f in trees for part in f.parts if re.fullmatch(r"wav\d+k", part)}, key=_number)
    lengths = {part for f in trees for part in f.parts if part in ("min", "max")}
    if len(rates) > 1:
        chosen = [f for f in chosen if rates[-1] in f.parts]
    if len(lengths) > 1:
        chosen = [f for f in chosen if "min" in f.parts]
    taken = ", ".join(part for part in (rates[-1:] + (["min"] if len(lengths) > 1 else []))) if chosen else ""
    return chosen, taken if len(chosen) < len(trees) else ""


def _number(text: str) -> int:
    return int(re.sub(r"\D", "", text))


def who(file: Path, source: int) -> tuple[str, str]:
    """Utterance and speaker of source 1, 2...: LibriMix joins utterances, wsj0-mix utterances and levels, by '_'.

    Raises:
        TrainingError: the name does not tell.
    """
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
