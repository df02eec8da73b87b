"""Names of files: as they are shown, and the folder that each recording's stems go to."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Input:
    """A recording to separate.

    Attributes:
        path: the file.
        folder: where it lies below the folder that was named; empty for a file that was named itself.
        name: as it is shown.
    """

    path: Path
    folder: Path = Path()
    name: str = ""

    @property
    def shown(self) -> str:
        """For the terminal and for JSON."""
        return self.name or shown(self.path)


def shown(path: Path | str) -> str:
    """A name without control characters, which would do things to a terminal, and in valid Unicode."""
    return "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else ascii(c)[1:-1] for c in str(path))


def output_folders(inputs: Sequence[Input]) -> list[Path]:
    """The folder for each recording's stems, below the output folder: its name without the ending.

    Recordings that would share one get their ending back (talk.wav, talk.flac), or their folder's name before it
    (two/talk.flac, three/talk.flac), or at last a number.
    """
    stems = [file.folder / file.path.stem for file in inputs]
    endings = [file.folder / file.path.name for file in inputs]
    parents = [file.folder / f"{file.path.absolute().parent.name}_{file.path.stem}".lstrip("_") for file in inputs]
    return numbered(_unless_shared(stems, _unless_shared(endings, parents)))


def numbered(paths: Sequence[Path]) -> list[Path]:
    """The paths, with a number added to those that are there already."""
    taken: dict[Path, None] = {}
    for path in paths:
        number, new = 2, path
        while new in taken:
            new = path.with_name(f"{path.name}_{number}")
            number += 1
        taken[new] = None
    return list(taken)


def _unless_shared(first: Sequence[Path], second: Sequence[Path]) -> list[Path]:
    often = collections.Counter(first)
    return [one if often[one] == 1 else other for one, other in zip(first, second, strict=True)]
