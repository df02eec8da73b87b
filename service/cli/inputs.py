"""What was named on the command line -> recordings: files, folders, and standard input."""

from __future__ import annotations

import fnmatch
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from unmingle.model.errors import InputError
from unmingle.model.reading.header import AUDIO_SUFFIXES
from unmingle.service.cli.names import Input

STDIN = "-"


def find(named: Sequence[str], pattern: str | None, skip: Path, scratch: Path) -> list[Input]:
    """The recordings that are meant, in the order of their names within each folder.

    Args:
        named: files, folders, and "-" for standard input.
        pattern: of the names of files that are taken from folders; None takes those with an ending of audio or video.
        skip: a folder that is not looked into: where stems go.
        scratch: a folder for what comes from standard input.

    Raises:
        InputError: a folder has none of them, or standard input was named twice.
    """
    found: list[Input] = []
    if list(named).count(STDIN) > 1:
        raise InputError("standard input (-) is named twice; expected once.")
    for name in named:
        path = Path(name)
        if name == STDIN:
            path = scratch / "stdin"
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            found.append(Input(path, name="standard input"))
        elif path.is_dir():
            inside = list(_inside(path, pattern, skip.absolute()))
            if not inside:
                raise InputError(f"{path} has no {'audio or video files' if pattern is None else pattern} in it.")
            found += inside
        else:
            found.append(Input(path))
    return found


def _inside(folder: Path, pattern: str | None, skip: Path) -> Iterator[Input]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and Path(place, f).absolute() != skip)
        for name in sorted(files):
            wanted = Path(name).suffix.lower() in AUDIO_SUFFIXES if pattern is None else fnmatch.fnmatch(name, pattern)
            if wanted and not name.startswith("."):
                yield Input(Path(place, name), Path(place).relative_to(folder))
