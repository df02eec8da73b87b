"""LibriSpeech and VCTK as they are distributed -> their recordings."""

from __future__ import annotations

import re
from pathlib import Path

from unmingle.training.corpora.mixture_trees import audio_files, split_of, subfolders
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import Recording, Survey
from unmingle.training.surveying import hold_out

LIBRISPEECH_PART = re.compile(r"(train|dev|test)-(clean|other)(-\d+)?")
_VCTK_SPEAKER = re.compile(r"[ps]\d+")


def librispeech(root: Path) -> Survey:
    """LibriSpeech/train-clean-100/19/198/19-198-0000.flac: train-* trains, dev-* validates, test-* is for testing.

    Raises:
        TrainingError: none of the parts is there, or one is empty.
    """
    top = librispeech_root(root)
    parts = [f for f in subfolders(top) if LIBRISPEECH_PART.fullmatch(f.name)]
    recordings = []
    for part in parts:
        found = [
            Recording(file, f"librispeech/{speaker.name}", split_of(part.name) or "train", dataset="librispeech")
            for speaker in subfolders(part)
            for file in audio_files(speaker)
        ]
        if not found:
            raise TrainingError(f"{part} has no recordings; expected a folder per speaker: is it unpacked?")
        recordings += found
    layout = f"LibriSpeech ({', '.join(part.name for part in parts)})"
    return (
        hold_out(Survey(recordings, layout))
        if any(r.split == "train" for r in recordings)
        else Survey(recordings, layout)
    )


def librispeech_root(root: Path) -> Path:
    """The folder that has train-clean-100 and the others in it.

    Raises:
        TrainingError: there is none.
    """
    if LIBRISPEECH_PART.fullmatch(root.name):
        root = root.parent
    for top in (root, root / "LibriSpeech"):
        if top.is_dir() and any(LIBRISPEECH_PART.fullmatch(f.name) for f in subfolders(top)):
            return top
    raise TrainingError(
        f"{root} has none of the parts of LibriSpeech: expected folders such as train-clean-100, dev-clean and "
        f"test-clean, as https://www.openslr.org/12 distributes them; {_found(root)}."
    )


def vctk(root: Path) -> Survey:
    """VCTK-Corpus-0.92/wav48_silence_trimmed/p225/p225_001_mic1.flac, or VCTK-Corpus/wav48/p225/p225_001.wav.

    Of two microphones the first is used. Every fifth speaker validates: VCTK has no splits of its own.

    Raises:
        TrainingError: there is no such folder, or it has no speakers.
    """
    names = ("wav48_silence_trimmed", "wav48", "wav16")
    places = [top / name for top in (root, *subfolders(root)) for name in names]
    folder = next((place for place in places if place.is_dir()), root if root.name in names else None)
    if folder is None:
        raise TrainingError(f"{root} is not VCTK: expected a folder {' or '.join(names[:2])} in it; {_found(root)}.")
    speakers = [f for f in subfolders(folder) if _VCTK_SPEAKER.fullmatch(f.name)]
    files = [(speaker, file) for speaker in speakers for file in audio_files(speaker)]
    if not files:
        raise TrainingError(f"{folder} has no recordings; expected folders p225, p226...; {_found(folder)}.")
    used = [(speaker, file) for speaker, file in files if not file.stem.endswith("_mic2")]
    left_out = [f"the second microphone: {len(files) - len(used)} files"] if len(used) < len(files) else []
    recordings = [Recording(file, f"vctk/{speaker.name}", "train", dataset="vctk") for speaker, file in used]
    return hold_out(Survey(recordings, f"VCTK ({folder.name})", tuple(left_out)))


def _found(folder: Path) -> str:
    names = [f.name for f in subfolders(folder)][:8] if folder.is_dir() else []
    return (
        f"found {', '.join(names)}" if names else "it has no folders" if folder.is_dir() else "there is no such folder"
    )
