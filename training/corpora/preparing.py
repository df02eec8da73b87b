"""A surveyed corpus -> a prepared folder: shards by split, and the corpus.json that says what they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from unmingle.training.corpora import shards
from unmingle.training.corpora.prepared import BACKGROUND, Group, Manifest
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import Recording, Survey

PROBLEMS = "problems.txt"
SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What came of it.

    Attributes:
        manifest: as it was written.
        problems: files that are faulty or no audio, a sentence each.
    """

    manifest: Manifest
    problems: tuple[str, ...]


def prepare(seen: Survey, source: Path, folder: Path, licence: str, sample_rate: int, threads: int = 0) -> Prepared:
    """Decode everything that was found. What was killed is taken up where it was; what has changed is made again.

    Args:
        source: that was surveyed.
        folder: to write.
        licence: of the recordings.
        sample_rate: Hz, of the shards.
        threads: that decode; 0 is one for each core.

    Raises:
        TrainingError: the folder cannot be written to, or nothing in the source can be used.
    """
    groups: dict[str, Group] = {}
    problems: list[str] = []
    for name, recordings in _grouped(seen.recordings):
        group, wrong = _write(folder, name, recordings, sample_rate, threads)
        problems += wrong
        if group.recordings:
            groups[name] = group
    if not groups:
        raise TrainingError(f"Nothing of {source} can be used: {'; '.join(problems[:10])}")
    manifest = Manifest(folder, seen.layout, str(source.resolve()), licence, sample_rate, seen.left_out, groups)
    try:
        (folder / PROBLEMS).write_text("".join(f"{problem}\n" for problem in problems), encoding="utf-8")
        manifest.write()
        _remove_old_shards(manifest)
    except OSError as error:
        raise TrainingError(
            f"{folder} cannot be written to ({error.strerror}): make room, or give another -o."
        ) from error
    return Prepared(manifest, tuple(problems))


def _grouped(recordings: list[Recording]) -> list[tuple[str, list[Recording]]]:
    kinds = [(split, background) for background in (False, True) for split in SPLITS]
    found = [
        (split + BACKGROUND * background, [r for r in recordings if (r.split, r.background) == (split, background)])
        for split, background in kinds
    ]
    return [(name, those) for name, those in found if those]


def _write(
    folder: Path, name: str, recordings: list[Recording], sample_rate: int, threads: int
) -> tuple[Group, list[str]]:
    names: list[str] = []
    speakers: set[str] = set()
    problems: list[str] = []
    count = samples = 0
    mark = shards.Fingerprint(sample_rate)
    written = shards.write_shards(
        folder, recordings, sample_rate, f"{name}-", keep_going=True, threads=threads, option="-o"
    )
    for shard in written:
        names.append(shard.name)
        speakers.update(shard.speaker)
        problems += [*shard.unreadable, *shard.problems]
        count += len(shard.length)
        samples += sum(shard.length)
        mark.add(shard)
    return Group(tuple(names), count, len(speakers), samples / sample_rate / 3600.0, mark.text()), problems


def _remove_old_shards(manifest: Manifest) -> None:
    """Of an earlier state of the source."""
    named = {name for group in manifest.groups.values() for name in group.shards}
    for file in manifest.folder.iterdir():
        if file.suffix == ".int16" and file.stem not in named:
            file.unlink()
            file.with_suffix(".json").unlink(missing_ok=True)
