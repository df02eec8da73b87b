"""A folder -> the recordings to train and to validate with, and the backgrounds; what they are is up to layouts.py."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from unmingle.training import layouts
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import EXPECTED, Recording, Survey, read_table


def survey(root: Path, held_out: float = 0.2) -> Survey:
    """List a corpus: by its metadata.csv (columns path, split, speaker) or, without one, by its layout.

    Where no recording is marked `valid`, every fifth speaker (`held_out`), at least two, is kept for validation, the
    same ones each time. Rows whose `language` is "-" are sounds that are not speech.

    Raises:
        TrainingError: there is no such folder, or there are too few speakers to train and to validate with.
    """
    seen = hold_out(layouts.survey(root), held_out)
    for split in ("train", "valid"):
        if len({r.speaker for r in seen.recordings if r.split == split and r.is_speech}) < 2:
            problem = "has recordings of fewer than two speakers" if seen.recordings else "has no recordings"
            also = f" left out were {'; '.join(seen.left_out)};" if seen.left_out else ""
            raise TrainingError(
                f"The corpus {root} {problem} for '{split}'; it was taken for {seen.layout};{also} {EXPECTED}"
            )
    return seen


def find_recordings(root: Path, held_out: float = 0.2) -> list[Recording]:
    """The recordings alone of `survey`."""
    return survey(root, held_out).recordings


def find_backgrounds(root: Path) -> list[Recording]:
    """List the noises and pieces of music of a corpus: the rows of its background.csv, or the noise of its mixtures.

    Each recording counts as a speaker of its own, so that blends are of different ones.
    """
    table = root / "background.csv"
    found = read_table(table).recordings if table.is_file() else layouts.noises_of_mixtures(root)
    return [dataclasses.replace(r, speaker=str(r.path), is_speech=True, background=True) for r in found]


def hold_out(seen: Survey, share: float = 0.2) -> Survey:
    """Mark the recordings of some speakers, evenly spaced by name, as `valid`, unless some are marked."""
    if any(r.split == "valid" for r in seen.recordings):
        return seen
    speakers = sorted({r.speaker for r in seen.recordings if r.split == "train" and r.is_speech})
    kept = max(2, round(len(speakers) * share))
    validation = set(speakers[:: max(1, len(speakers) // kept)][:kept])
    recordings = [dataclasses.replace(r, split="valid") if r.speaker in validation else r for r in seen.recordings]
    return dataclasses.replace(seen, recordings=recordings)
