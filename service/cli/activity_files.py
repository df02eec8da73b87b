"""Who is heard when, for other programs: Audacity's labels, subtitles (SRT), and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from unmingle.service.schemas import Manifest

KINDS = {"labels": "activity.txt", "srt": "activity.srt", "csv": "activity.csv"}
"""What can be asked for, and the file that it makes."""


def write(manifest: Manifest, kinds: Iterable[str], directory: Path) -> None:
    """Write those asked for into `directory`."""
    stretches = sorted(
        (stretch.start_s, stretch.end_s, Path(stem.file).stem) for stem in manifest.stems for stretch in stem.active
    )
    for kind in kinds:
        (directory / KINDS[kind]).write_text(_WRITERS[kind](stretches), encoding="utf-8", newline="")


Stretches = list[tuple[float, float, str]]


def _labels(stretches: Stretches) -> str:
    return "".join(f"{start:.6f}\t{end:.6f}\t{name}\n" for start, end, name in stretches)


def _srt(stretches: Stretches) -> str:
    return "".join(
        f"{number}\n{_clock(start)} --> {_clock(end)}\n{name}\n\n"
        for number, (start, end, name) in enumerate(stretches, 1)
    )


def _csv(stretches: Stretches) -> str:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("start_s", "end_s", "stem"))
    rows.writerows((f"{start:.3f}", f"{end:.3f}", name) for start, end, name in stretches)
    return text.getvalue()


def _clock(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02},{rest % 1000:03}"


_WRITERS = {"labels": _labels, "srt": _srt, "csv": _csv}
