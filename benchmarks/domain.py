"""A new domain made of a corpus: high voices, as children's are. Everything is played faster, which raises it as much.

    python -m benchmarks.domain --data CORPUS --out DOMAIN

writes what somebody would have who wants a model for such voices: DOMAIN/speakers, a folder per speaker to train on,
and DOMAIN/test_2mix.csv, mixtures of test speakers that nothing is trained on. training/README.md says more.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from unmingle.training import command
from unmingle.training.errors import TrainingError
from unmingle.training.surveying import find_recordings

LIST = "test_2mix.csv"
_LEAST_S = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Write the domain; returns the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.domain", description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, help=f"corpus, with {LIST} in it")
    parser.add_argument("--out", type=Path, required=True, help="folder, which is made")
    parser.add_argument("--faster", type=float, default=1.4, help="times (default: 1.4)")
    parser.add_argument("--speakers", type=int, default=24, help="to train on (default: 24)")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each of them, before (default: 120)")
    parser.add_argument("--mixtures", type=int, default=60, help="of test speakers (default: 60)")
    asked = parser.parse_args(argv)
    return command.run(lambda: make(asked))


def make(asked: argparse.Namespace) -> None:
    """Write it.

    Raises:
        TrainingError: the corpus has fewer speakers of whom there is so much, or no list.
    """
    if not (asked.data / LIST).is_file():
        raise TrainingError(f"There is no {asked.data / LIST}: expected the list of the mixtures to test on.")
    speakers = {name: files for name, files in _speakers(asked.data).items() if _seconds(files) >= asked.seconds}
    if len(speakers) < asked.speakers:
        raise TrainingError(
            f"{asked.data} has {len(speakers)} speakers with {asked.seconds:g} s to train on; expected "
            f"{asked.speakers}."
        )
    names = sorted(speakers)
    for name in names[:: len(names) // asked.speakers][: asked.speakers]:
        left = asked.seconds
        for file in speakers[name]:
            if left >= _LEAST_S:
                left -= play(file, asked.out / "speakers" / name / f"{file.stem}.flac", asked.faster, left)
    write_list(asked.data, asked.out, asked.faster, asked.mixtures)


def _speakers(data: Path) -> dict[str, list[Path]]:
    """Files of each that may be trained on."""
    found: dict[str, list[Path]] = defaultdict(list)
    for recording in find_recordings(data):
        if recording.is_speech and recording.split == "train":
            found[recording.speaker].append(recording.path)
    return found


def _seconds(files: Sequence[Path]) -> float:
    return sum(soundfile.info(file).duration for file in files)


def play(recording: Path, target: Path, faster: float, seconds: float = np.inf) -> float:
    """Write the beginning of it as it sounds then; how many seconds it was."""
    target.parent.mkdir(parents=True, exist_ok=True)
    samples, rate = soundfile.read(recording, dtype="float32", always_2d=True)
    taken = samples[: int(min(len(samples), seconds * rate)), 0]
    soundfile.write(target, np.clip(soxr.resample(taken, rate * faster, rate), -1.0, 1.0), rate)
    return len(taken) / rate


def write_list(data: Path, out: Path, faster: float, mixtures: int) -> None:
    """The first mixtures of the list, played faster: the same words, in less time."""
    with (data / LIST).open(newline="") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(mixtures), strict=False)]
    for row in rows:
        row["seconds"] = f"{np.floor(float(row['seconds']) / faster * 100) / 100:.2f}"
        for number in (number for number in range(1, 9) if row.get(f"source{number}_path")):
            path = row[f"source{number}_path"]
            target = out / "test" / Path(path).with_suffix(".flac").name
            if not target.exists():
                play(data / path, target, faster)
            row[f"source{number}_path"] = str(target.relative_to(out))
            row[f"source{number}_start"] = str(int(int(row[f"source{number}_start"]) / faster))
    with (out / LIST).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
