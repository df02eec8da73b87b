"""`unmingle separate`: a list of files, one after the other, each written whole or not at all."""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from tqdm import tqdm

from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.errors import UnmingleError
from unmingle.model.passes import Progress
from unmingle.model.separator import Separator
from unmingle.model.weights.bundled import bundled_model
from unmingle.service.decoding.recordings import FileRecording
from unmingle.service.output import encoding, package, stems
from unmingle.service.schemas import ModelEntry, SeparateParameters

Failure = tuple[Path, str]


class OutputError(UnmingleError):
    """The stems cannot be written where they should go."""


def separate_files(
    files: Sequence[Path],
    output: Path,
    parameters: SeparateParameters,
    model: Path | None,
    device: Literal["auto", "cpu", "cuda"],
) -> list[Failure]:
    """Separate every file into `output`/<the file's name without its ending>/, going on after one that fails.

    Returns:
        The files that failed, each with the reason.

    Raises:
        ModelError: the model cannot be used.
    """
    embedder = OnnxEmbedder(model or bundled_model(device), device)
    separator, entry = Separator(embedder), ModelEntry(name=embedder.config.name, hash=embedder.model_hash)
    failures: list[Failure] = []
    written: set[str] = set()
    names = output_names(files)
    with _Bar(files) as bar:
        for path, name in zip(files, names, strict=True):
            target = output / name
            try:
                if name in written:
                    raise OutputError(f"another file's stems are in {target} already; use another -o for this one.")
                _separate_file(path, target, separator, parameters, entry, bar.begin(path))
                written.add(name)
            except UnmingleError as error:
                failures.append((path, str(error)))
            except MemoryError:
                failures.append((path, "not enough memory; cut the recording into parts."))
            except OSError as error:
                failures.append((path, f"cannot write to {target} ({error.strerror})."))
    return failures


class _Bar:
    """A progress bar over all files, which count by their size, with the time that is left."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._sizes = [file.stat().st_size if file.is_file() else 0 for file in files]
        self._begun = 0
        self._count = len(files)
        layout = "{percentage:3.0f}%|{bar}| {postfix} [{elapsed}<{remaining}]"
        self._tqdm = tqdm(total=max(1, sum(self._sizes)), bar_format=layout, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reach(sum(self._sizes[: self._begun]))
        self._tqdm.close()

    def begin(self, path: Path) -> Progress:
        """Go to the next file; what is returned is to be told the part of it that is done."""
        before, size = sum(self._sizes[: self._begun]), self._sizes[self._begun]
        self._begun += 1
        self._tqdm.set_postfix_str(f"{self._begun}/{self._count} {path.name}", refresh=False)
        self._reach(before)
        return lambda done: self._reach(before + done * size)

    def _reach(self, position: float) -> None:
        self._tqdm.update(position - self._tqdm.n)


def output_names(files: Sequence[Path]) -> list[str]:
    """The name of each file's output directory: the file's own without its ending.

    Files that share that name, as in two/mixture.flac and three/mixture.flac, get their directory's name before it.
    """
    often = collections.Counter(path.stem for path in files)
    return [
        path.stem if often[path.stem] == 1 else f"{path.absolute().parent.name}_{path.stem}".lstrip("_")
        for path in files
    ]


def _separate_file(
    path: Path,
    target: Path,
    separator: Separator,
    parameters: SeparateParameters,
    model: ModelEntry,
    progress: Progress,
) -> None:
    recording = FileRecording(path, mono=parameters.mono)
    subtype = encoding.check(parameters.format, parameters.subtype, recording.sample_rate)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unmingle-", dir=target.parent) as temporary:
        new, old, converted = (Path(temporary) / name for name in ("new", "old", "converted"))
        new.mkdir()
        separated = stems.separate(
            separator,
            recording,
            new,
            model,
            parameters,
            progress=progress,
        )
        if (parameters.format, subtype) != ("wav", "FLOAT"):
            converted.mkdir()
            result = package.convert(separated, parameters.format, subtype, converted)
            stems.write_reports(converted, result.manifest)
            new = converted
        if target.exists():
            if not (target / stems.MANIFEST).is_file():
                raise OutputError(f"{target} exists and holds something else than stems; use another -o.")
            target.rename(old)
        new.rename(target)
