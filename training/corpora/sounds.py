"""MUSDB18 and FUSS as they are distributed -> sources that are not speech."""

from __future__ import annotations

from pathlib import Path

from unmingle.training.corpora.mixture_trees import audio_files, subfolders
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import Recording, Survey

_STEMS = ("drums", "bass", "other", "vocals")
_SPLITS = {"train": "train", "test": "test", "validation": "valid", "eval": "test"}


def musdb18(root: Path) -> Survey:
    """train/TRACK/{mixture,drums,bass,other,vocals}.wav (MUSDB18-HQ), or train/TRACK.stem.mp4 (MUSDB18).

    An instrument is one class of sound, so a mixture never has two pieces of the same.

    Raises:
        TrainingError: there are no such folders, or a track lacks a stem.
    """
    recordings: list[Recording] = []
    for split in ("train", "test"):
        folder = root / split
        if not folder.is_dir():
            raise TrainingError(
                f"{root} is not MUSDB18: expected the folders train and test in it, and {split} is missing."
            )
        for track in subfolders(folder):
            missing = [stem for stem in _STEMS if not (track / f"{stem}.wav").is_file()]
            if missing:
                raise TrainingError(f"The track {track} has no {', '.join(f'{stem}.wav' for stem in missing)}.")
            recordings += [_sound(track / f"{stem}.wav", f"musdb18/{stem}", split) for stem in _STEMS]
        for file in sorted(folder.glob("*.stem.mp4")):
            # The first of its tracks is the mixture.
            recordings += [_sound(file, f"musdb18/{stem}", split, n) for n, stem in enumerate(_STEMS, start=2)]
    if not recordings:
        raise TrainingError(
            f"{root} has no tracks: expected train/TRACK/drums.wav and so on (MUSDB18-HQ), or train/TRACK.stem.mp4."
        )
    return Survey(recordings, "MUSDB18, its stems")


def fuss(root: Path) -> Survey:
    """ssdata/{train,validation,eval}/example00000_sources/{background0,foreground0,foreground1...}_sound.wav.

    Foregrounds are sources, of one class of sound; the background is heard behind.

    Raises:
        TrainingError: there are no such folders.
    """
    places = [root, *(root / name for name in ("ssdata", "ssdata_reverb"))]
    top = next(
        (p for p in places if p.is_dir() and any((p / split).is_dir() for split in ("train", "validation"))), None
    )
    if top is None:
        raise TrainingError(
            f"{root} is not FUSS: expected ssdata or ssdata_reverb, with the folders train, validation and eval, in it."
        )
    recordings = []
    for split in ("train", "validation", "eval"):
        examples = [f for f in subfolders(top / split) if f.name.endswith("_sources")] if (top / split).is_dir() else []
        for file in (file for example in examples for file in audio_files(example)):
            if file.name.startswith("background"):
                recordings.append(Recording(file, str(file), _SPLITS[split], True, "fuss", background=True))
            elif file.name.startswith("foreground"):
                recordings.append(_sound(file, "fuss/foreground", _SPLITS[split]))
    if not recordings:
        raise TrainingError(
            f"{top} has no sources: expected train/example00000_sources/foreground0_sound.wav and so on."
        )
    return Survey(recordings, f"FUSS ({top.name}), foregrounds as sounds, backgrounds behind")


def _sound(file: Path, name: str, split: str, track: int | None = None) -> Recording:
    return Recording(file, name, _SPLITS[split], is_speech=False, dataset=name.split("/", 1)[0], track=track)
