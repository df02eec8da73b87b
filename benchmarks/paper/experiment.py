"""What one run of the table is about, and what of it is done: a folder with a result.json for every row."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unmingle.training.errors import TrainingError

SETTINGS = "settings.json"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All rows are made with the same of these.

    Attributes:
        data: corpus.
        lists: folder of the lists to test on.
        hours: of mixtures that every network hears.
        limit: only the first so many mixtures of each list.
        seed: of weights and mixtures.
    """

    data: Path
    lists: Path
    hours: float
    limit: int | None
    seed: int

    def begin(self, out: Path) -> None:
        """Make the folder, or see that what is done in it was done with these settings.

        Raises:
            TrainingError: it was not, or the folder cannot be made.
        """
        wanted = {name: None if v is None else str(v) for name, v in dataclasses.asdict(self).items()}
        file = out / SETTINGS
        try:
            if file.is_file():
                had = json.loads(file.read_text())
                different = [f"{k} {had.get(k)} (now {wanted[k]})" for k in wanted if had.get(k) != wanted[k]]
                if different:
                    raise TrainingError(
                        f"The rows in {out} were made with {', '.join(different)}: give another --out, or the same "
                        "options as before."
                    )
            else:
                out.mkdir(parents=True, exist_ok=True)
                write_whole(file, json.dumps(wanted, indent=1) + "\n")
        except OSError as error:
            raise TrainingError(
                f"The folder {out} cannot be written to ({error.strerror}); give another --out."
            ) from error


def result_of(out: Path, row: str) -> dict[str, Any] | None:
    """What a row came to; None if it is not done."""
    file = out / row / "result.json"
    return dict(json.loads(file.read_text())) if file.is_file() else None


def keep_result(out: Path, row: str, result: Mapping[str, Any]) -> None:
    """The row is done."""
    (out / row).mkdir(parents=True, exist_ok=True)
    write_whole(out / row / "result.json", json.dumps(result, indent=1) + "\n")


def write_whole(path: Path, text: str) -> None:
    """The file appears whole or not at all, also where processes with other rows write it at the same time."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def machine() -> dict[str, str]:
    """What the rows were made on and with."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return {
        "machine": f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy")),
    }
