"""`unmingle separate`: a list of files, each written whole or not at all."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from unmingle.model.errors import UnmingleError
from unmingle.model.passes import Progress
from unmingle.service.cli import activity_files, arrange
from unmingle.service.cli.bar import Bar
from unmingle.service.cli.excerpt import Excerpt
from unmingle.service.cli.names import Input, output_folders, shown
from unmingle.service.decoding.recordings import FileRecording
from unmingle.service.output import encoding, package, stems
from unmingle.service.schemas import Manifest, ModelEntry, SeparateParameters


class OutputError(UnmingleError):
    """The stems cannot be written where they should go."""


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What a user wants of the command beside how to separate.

    Attributes:
        start_s, end_s: the part of each recording.
        only: the number of the one stem that is wanted against the rest.
        normalise, gate: see unmingle.service.cli.arrange.
        activity: kinds of unmingle.service.cli.activity_files.
        plot: draw a picture of each.
        skip_existing: leave alone what has its stems.
        jobs: files at the same time.
        quiet, verbose, as_json: what is said.
    """

    start_s: float = 0.0
    end_s: float | None = None
    only: int | None = None
    normalise: bool = False
    gate: bool = False
    activity: tuple[str, ...] = ()
    plot: bool = False
    skip_existing: bool = False
    jobs: int = 1
    quiet: bool = False
    verbose: bool = False
    as_json: bool = False


class Separating(Protocol):
    """Where a recording is separated: here, or by a server."""

    def __call__(self, file: Input, new: Path, progress: Progress) -> stems.StemSet:
        """Write stems of `file` into the empty folder `new`."""


def here(
    model: Path | None,
    device: Literal["auto", "cpu", "cuda"],
    threads: int | None,
    wishes: Wishes,
    parameters: SeparateParameters,
) -> Separating:
    """Separating in this process.

    Raises:
        ModelError: the model cannot be used.
    """
    from unmingle.model.embedding.embedder import OnnxEmbedder
    from unmingle.model.separator import Separator
    from unmingle.model.weights.bundled import bundled_model

    embedder = OnnxEmbedder(model or bundled_model(device), device, threads)
    separator, entry = Separator(embedder), ModelEntry(name=embedder.config.name, hash=embedder.model_hash)

    def separate(file: Input, new: Path, progress: Progress) -> stems.StemSet:
        recording: FileRecording
        if wishes.start_s or wishes.end_s is not None:
            recording = Excerpt(file.path, mono=parameters.mono, track=parameters.track)
            recording = recording.select(wishes.start_s, wishes.end_s)
        else:
            recording = FileRecording(file.path, mono=parameters.mono, track=parameters.track)
        channels = parameters.options.channels_of_stems(recording.channels)
        subtype = encoding.check(parameters.format, parameters.subtype, recording.sample_rate, channels)
        found = stems.separate(separator, recording, new, entry, parameters, progress=progress)
        if wishes.only is not None:
            found = arrange.only(found, wishes.only)
        if wishes.gate:
            found = arrange.gate(found)
        if wishes.normalise:
            found = arrange.normalise(found)
        if wishes.plot:
            from unmingle.service.cli.plot import draw

            draw(found, new / "picture.png")
        if (parameters.format, subtype) == ("wav", "FLOAT"):
            return found
        converted = new.with_name("converted")
        converted.mkdir()
        result = package.convert(found, parameters.format, subtype, converted)
        stems.write_reports(converted, result.manifest)
        if wishes.plot:
            (new / "picture.png").rename(converted / "picture.png")
        return result

    return separate


def separate_files(files: Sequence[Input], output: Path, separate: Separating, wishes: Wishes) -> int:
    """Separate every file into a folder of its own below `output`, going on after one that fails.

    A line for each goes to standard output as soon as it is done.

    Returns:
        How many failed.
    """
    folders = [output / folder for folder in output_folders(files)]
    stop = threading.Event()
    failed: list[tuple[Input, str]] = []
    with Bar([file.path for file in files], wishes.quiet) as bar:

        def work(number: int) -> None:
            file, target = files[number], folders[number]
            progress = bar.begin(number, file.shown)

            def tell(done: float) -> None:
                if stop.is_set():
                    raise KeyboardInterrupt
                progress(done)

            if stop.is_set():
                return
            manifest, skipped, reason = None, False, ""
            try:
                skipped = _see_to(target, file, wishes.skip_existing)
                if not skipped:
                    manifest = _separate_file(file, target, separate, wishes, tell)
            except UnmingleError as error:
                reason = str(error)
            except MemoryError:
                reason = "not enough memory; cut the recording into parts with --start and --end."
            except OSError as error:
                reason = f"cannot write to {shown(target)} ({error.strerror})."
            if reason:
                failed.append((file, reason))
            if line := _line(file, target, manifest, skipped, reason, wishes):
                bar.write(line)

        try:
            if wishes.jobs == 1:
                for number in range(len(files)):
                    work(number)
            else:
                with concurrent.futures.ThreadPoolExecutor(wishes.jobs) as pool:
                    try:
                        for done in concurrent.futures.as_completed([pool.submit(work, n) for n in range(len(files))]):
                            done.result()
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


def _see_to(target: Path, file: Input, skip_existing: bool) -> bool:
    """Whether a file is to be skipped.

    Raises:
        OutputError: the folder holds something else than this recording's stems.
    """
    if not target.exists() and not target.is_symlink():
        return False
    if not (target / stems.MANIFEST).is_file():
        raise OutputError(f"{shown(target)} exists and holds something else than stems; use another -o.")
    try:
        of = json.loads((target / stems.MANIFEST).read_bytes()).get("recording")
    except (OSError, ValueError, AttributeError):
        of = None
    if of not in (None, _identity(file)):
        raise OutputError(f"{shown(target)} holds the stems of {shown(of)}; use another -o for this one.")
    return skip_existing


def _identity(file: Input) -> str:
    return shown(file.name or file.path.name)


def _separate_file(file: Input, target: Path, separate: Separating, wishes: Wishes, progress: Progress) -> Manifest:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unmingle-", dir=target.parent) as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        found = separate(file, new, progress)
        activity_files.write(found.manifest, wishes.activity, found.directory)
        manifest = found.manifest.model_copy(update={"recording": _identity(file)})
        stems.write_reports(found.directory, manifest)
        if target.exists():
            target.rename(old)
        found.directory.rename(target)
        return manifest


def _line(file: Input, target: Path, manifest: Manifest | None, skipped: bool, reason: str, wishes: Wishes) -> str:
    """What is said of a file on standard output."""
    if wishes.as_json:
        entry: dict[str, object] = {"file": file.shown, "folder": None if reason else shown(target)}
        entry["status"] = "failed" if reason else "skipped" if skipped else "done"
        entry["error"] = reason or None
        if manifest:
            entry |= {"num_sources": manifest.num_sources, "count_chance": manifest.count_chance}
            entry |= {"confidence": [stem.confidence for stem in manifest.stems], "seconds": manifest.seconds}
            entry["warnings"] = manifest.warnings
        return json.dumps(entry, allow_nan=False)
    if reason or wishes.quiet:
        return ""
    if manifest is None:
        return f"{file.shown}: skipped, {shown(target)} is there already"
    chance = "" if manifest.count_chance is None else f" ({100 * manifest.count_chance:.0f} % sure)"
    confidence = ", ".join(f"{stem.confidence:.2f}" for stem in manifest.stems)
    text = (
        f"{file.shown}: {manifest.num_sources} source{'s' * (manifest.num_sources != 1)}{chance}, confidence "
        f"{confidence}, {manifest.seconds:.1f} s -> {shown(target)}"
    )
    for warning in manifest.warnings:
        text += f"\n  warning: {warning}"
    if wishes.verbose:
        text += "\n  " + ", ".join(f"{stage} {value:.2f} s" for stage, value in manifest.stage_seconds.items())
    return text
