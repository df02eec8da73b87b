"""`unmingle separate`: a list of files, each written whole or not at all."""

from __future__ import annotations

import concurrent.futures
import json
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from unmingle.model.errors import UnmingleError
from unmingle.model.recording import Progress
from unmingle.service.cli import activity_files
from unmingle.service.cli.bar import Bar
from unmingle.service.cli.names import Input, shown
from unmingle.service.cli.places import Place, identity
from unmingle.service.cli.wishes import Wishes
from unmingle.service.output import stems
from unmingle.service.schemas import Manifest


class Separating(Protocol):
    """Where a recording is separated: here, or by a server."""

    def __call__(self, file: Input, new: Path, progress: Progress) -> stems.StemSet:
        """Write stems of `file` into the empty folder `new`."""


def separate_files(files: Sequence[Input], places: Sequence[Place], separate: Separating, wishes: Wishes) -> int:
    """Separate every file into its place, going on after one that fails.

    A line for each goes to standard output as soon as it is done.

    Returns:
        How many failed.
    """
    stop = threading.Event()
    failed: list[tuple[Input, str]] = []
    with Bar([file.path for file in files], wishes.quiet) as bar:

        def work(number: int) -> None:
            file, place = files[number], places[number]
            progress = bar.begin(number, file.shown)

            def tell(done: float) -> None:
                if stop.is_set():
                    raise KeyboardInterrupt
                progress(done)

            if stop.is_set():
                return
            done, skipped, reason = None, False, ""
            try:
                skipped = place.has_stems_of(file) and wishes.skip_existing
                if not skipped:
                    done = _separate_file(file, place, separate, wishes, tell)
            except UnmingleError as error:
                reason = str(error)
            except MemoryError:
                reason = "not enough memory; cut the recording into parts with --start and --end."
            except OSError as error:
                reason = f"cannot write to {place.shown} ({error.strerror})."
            if reason:
                failed.append((file, reason))
            if line := _line(file, place, done, skipped, reason, wishes):
                bar.write(line)

        try:
            if wishes.jobs == 1:
                for number in range(len(files)):
                    work(number)
            else:
                with concurrent.futures.ThreadPoolExecutor(wishes.jobs) as pool:
                    try:
                        for one in concurrent.futures.as_completed([pool.submit(work, n) for n in range(len(files))]):
                            one.result()
                    except BaseException:
                        stop.set()
                        raise
        finally:
            stop.set()
    if failed:
        print(f"unmingle: {len(failed)} of {len(files)} files failed:", file=sys.stderr)
        for file, reason in failed:
            print(f"  {file.shown}: {shown(reason)}", file=sys.stderr)
    return len(failed)


def _separate_file(
    file: Input, place: Place, separate: Separating, wishes: Wishes, progress: Progress
) -> tuple[Manifest, list[Path]]:
    """What was done, and the stems' files."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unmingle-", dir=place.parent) as temporary:
        new, scratch = Path(temporary) / "new", Path(temporary) / "scratch"
        new.mkdir()
        scratch.mkdir()
        found = separate(file, new, progress)
        activity_files.write(found.manifest, wishes.activity, found.directory)
        manifest = found.manifest.model_copy(update={"recording": identity(file)})
        stems.write_reports(found.directory, manifest)
        return manifest, place.take(stems.StemSet(found.directory, manifest), scratch)


def _line(
    file: Input, place: Place, done: tuple[Manifest, list[Path]] | None, skipped: bool, reason: str, wishes: Wishes
) -> str:
    """What is said of a file on standard output."""
    if wishes.as_json:
        entry: dict[str, object] = {"file": file.shown, "folder": None if reason else shown(place.folder)}
        entry["status"] = "failed" if reason else "skipped" if skipped else "done"
        entry["error"] = reason or None
        if done:
            manifest, files = done
            entry |= {"num_sources": manifest.num_sources, "count_chance": manifest.count_chance}
            entry |= {"confidence": [stem.confidence for stem in manifest.stems], "seconds": manifest.seconds}
            entry |= {"stems": [shown(path) for path in files], "warnings": manifest.warnings}
        return json.dumps(entry, allow_nan=False)
    if reason or wishes.quiet:
        return ""
    if done is None:
        return f"{file.shown}: skipped, {place.shown} is there already"
    manifest, _ = done
    chance = "" if manifest.count_chance is None else f" ({100 * manifest.count_chance:.0f} % sure)"
    confidence = ", ".join(f"{stem.confidence:.2f}" for stem in manifest.stems)
    text = (
        f"{file.shown}: {manifest.num_sources} source{'s' * (manifest.num_sources != 1)}{chance}, confidence "
        f"{confidence}, {manifest.seconds:.1f} s -> {place.shown}"
    )
    for warning in manifest.warnings:
        text += f"\n  warning: {warning}"
    if wishes.verbose:
        text += "\n  " + ", ".join(f"{stage} {value:.2f} s" for stage, value in manifest.stage_seconds.items())
    return text
