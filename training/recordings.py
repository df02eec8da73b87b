"""One file of a corpus, and the table (metadata.csv, background.csv) that lists such files."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from pathlib import Path

from unmingle.model.reading.header import AUDIO_SUFFIXES
from unmingle.training.errors import TrainingError

_OTHER_AUDIO_SUFFIXES = {
    *(".aac", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp2"),
    *(".mp4", ".oga", ".sph", ".spx", ".w64", ".webm", ".wma", ".wv", ".wv1", ".wv2"),
}
OTHER_AUDIO_SUFFIXES = _OTHER_AUDIO_SUFFIXES - AUDIO_SUFFIXES
"""Sound that the trainer does not read; left out, and the user is told."""

EXPECTED = (
    "expected a metadata.csv with the columns path, split and speaker, or a folder per speaker with audio files in it, "
    "of four or more speakers (two to train on, two held out for validation)."
)
SPLITS = ("train", "valid")


@dataclasses.dataclass(frozen=True)
class Recording:
    """One file of a corpus: a single speaker (or class of sound) is heard in it.

    Attributes:
        path: of the file.
        speaker: who is heard, or which class of sound.
        split: train, valid or test.
        is_speech: False for sounds that are a source of their own.
        dataset: datasets are weighed by their hours.
        background: noise or music that is heard behind the sources and is none.
        track: of a file that has several (MP4); None for the first.
    """

    path: Path
    speaker: str
    split: str
    is_speech: bool = True
    dataset: str = ""
    background: bool = False
    track: int | None = None


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a folder was understood to be.

    Attributes:
        recordings: found in it.
        layout: what kind of corpus it was taken for, in words.
        left_out: what was found but is not used, a sentence each.
    """

    recordings: list[Recording]
    layout: str
    left_out: tuple[str, ...] = ()


def read_table(table: Path) -> Survey:
    """Read a table: UTF-8 with or without Excel's byte order mark, its UTF-16, or Latin-1; commas, semicolons or tabs.

    Raises:
        TrainingError: it cannot be read, lacks a column, or a row lacks a value.
    """
    text, encoding = _decoded(table)
    heading = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=heading.count)
    rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter))
    if not rows:
        raise TrainingError(f"{table} has no rows: {EXPECTED}")
    missing = {"path", "split", "speaker"} - set(rows[0])
    if missing:
        raise TrainingError(f"{table} has no column {', '.join(sorted(missing))}: {EXPECTED}")
    for number, row in enumerate(rows, start=2):
        empty = [column for column in ("path", "split", "speaker") if not (row[column] or "").strip()]
        if empty:
            raise TrainingError(f"{table}, line {number}: no value for {' and '.join(empty)}.")
    recordings = [
        Recording(
            table.parent / r["path"].strip().replace("\\", "/"),
            r["speaker"].strip(),
            r["split"].strip(),
            r.get("language") != "-",
            r.get("dataset") or "",
        )
        for r in rows
    ]
    others = Counter(r.split for r in recordings if r.split not in SPLITS)
    left_out = [f"rows with split '{split}': {count}" for split, count in sorted(others.items())]
    note = "" if encoding.startswith("utf-8") else f", read as {encoding}"
    return Survey(recordings, f"a table of recordings, {table.name}{note}", tuple(left_out))


def _decoded(table: Path) -> tuple[str, str]:
    try:
        content = table.read_bytes()
    except OSError as error:
        raise TrainingError(f"The table {table} cannot be read: {error.strerror}.") from error
    encodings = ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252", "latin-1")
    for encoding in encodings:
        try:
            return content.decode(encoding), encoding.replace("cp1252", "Latin-1").replace("latin-1", "Latin-1")
        except UnicodeDecodeError:
            continue
    raise TrainingError(f"The table {table} is not text: save it as CSV in UTF-8.")
