"""A folder that training/prepare.py wrote: `corpus.json`, and the shards that it names. Several may stand side by side.

`--data SHARDS` takes such a folder, or the folder that holds several of them.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unmingle.training.corpora.shards import Shard, read_shard
from unmingle.training.errors import TrainingError

MANIFEST = "corpus.json"
FORMAT = 1
BACKGROUND = "-background"
"""Ends the name of a group whose recordings are backgrounds: train-background."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Recordings of one split: sources, or backgrounds.

    Attributes:
        shards: their names, in order.
        recordings, speakers: how many.
        hours: of audio.
        fingerprint: of the files' content and speakers.
    """

    shards: tuple[str, ...]
    recordings: int
    speakers: int
    hours: float
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What is in a prepared folder.

    Attributes:
        folder: that it was read from.
        layout: what the source was taken for, in words.
        source: the folder that was read, as it was then.
        licence: of the recordings.
        sample_rate: Hz.
        left_out: of the source, a sentence each.
        groups: by split, with BACKGROUND after it for backgrounds.
    """

    folder: Path
    layout: str
    source: str
    licence: str
    sample_rate: int
    left_out: tuple[str, ...]
    groups: Mapping[str, Group]

    def write(self) -> None:
        """Write the folder's corpus.json, whole or not at all: with it, the folder is finished."""
        told = {"format": FORMAT, **dataclasses.asdict(self)}
        del told["folder"]
        partial = self.folder / f"{MANIFEST}.{os.getpid()}.partial"
        partial.write_text(json.dumps(told, indent=1), encoding="utf-8")
        os.replace(partial, self.folder / MANIFEST)

    def shards(self, group: str) -> Iterator[Shard]:
        """The shards of a group, one at a time; none if there is no such group.

        Raises:
            TrainingError: a shard is missing or damaged.
        """
        for name in self.groups[group].shards if group in self.groups else ():
            shard = read_shard(self.folder, name)
            if shard is None:
                raise TrainingError(
                    f"The shard {self.folder / name} is missing or damaged: prepare the corpus again with "
                    "training/prepare.py, which makes only what is not there."
                )
            yield shard


def is_prepared(data: Path) -> bool:
    """Whether a folder is what training/prepare.py wrote."""
    return bool(_manifests(data))


def read_manifests(data: Path) -> list[Manifest]:
    """The corpora of a prepared folder.

    Raises:
        TrainingError: one of them is not of this version.
    """
    return [_read(file) for file in _manifests(data)]


def _manifests(data: Path) -> list[Path]:
    own = data / MANIFEST
    return [own] if own.is_file() else sorted(data.glob(f"*/{MANIFEST}"))


def _read(file: Path) -> Manifest:
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if told.pop("format") != FORMAT:
            raise ValueError("another format")
        groups = {
            name: Group(**{**group, "shards": tuple(group["shards"])}) for name, group in told.pop("groups").items()
        }
        return Manifest(**{**told, "left_out": tuple(told["left_out"])}, folder=file.parent, groups=groups)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"{file} is not what this version of training/prepare.py writes ({error}): prepare the corpus again."
        ) from error
