"""Where the stems of a recording go: a folder of their own, or files named after a template.

A place takes what was written elsewhere, whole, and knows the stems of an earlier run: those it replaces. What somebody
else put there it leaves alone.
"""

from __future__ import annotations

import json
import os
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from unmingle.model.errors import ParameterError, UnmingleError
from unmingle.model.options import MAX_SOURCES
from unmingle.model.recording import MAX_CHANNELS
from unmingle.service.cli import activity_files
from unmingle.service.cli.arrange import REST
from unmingle.service.cli.names import Input, numbered, output_folders, shown
from unmingle.service.cli.plot import PICTURE
from unmingle.service.output import encoding, stems
from unmingle.service.output.stems import StemSet
from unmingle.service.schemas import Manifest

FOLDERS, FLAT = "{recording}/{stem}", "{recording}_{stem}"
"""The default template, and that of --flat."""
_FIELDS = ("recording", "stem")
_MOST_STEMS = MAX_SOURCES * MAX_CHANNELS
_REPORTS = (stems.ACTIVITY, *activity_files.KINDS.values(), PICTURE)


class OutputError(UnmingleError):
    """The stems cannot be written where they should go."""


class Place(Protocol):
    """Where the stems of one recording go."""

    @property
    def shown(self) -> str:
        """For people."""

    @property
    def folder(self) -> Path:
        """The folder that the manifest goes to."""

    @property
    def parent(self) -> Path:
        """A folder on the same disk, which may have to be made."""

    def has_stems_of(self, file: Input) -> bool:
        """Whether they are there already.

        Raises:
            OutputError: something else is.
        """

    def take(self, found: StemSet, scratch: Path) -> list[Path]:
        """Move the stems here, in place of earlier ones; `scratch` is an empty folder. Returns the stems' files."""


def places(files: Sequence[Input], output: Path, template: str | None, flat: bool) -> list[Place]:
    """A place for each recording, no two the same.

    Args:
        files: the recordings.
        output: the folder that everything goes to.
        template: of the files' names; see `check`.
        flat: put no folders into `output`.

    Raises:
        ParameterError: the template cannot be used.
    """
    folders = output_folders(files)
    if flat:
        folders = numbered([Path("_".join(folder.parts)) for folder in folders])
    template = template or (FLAT if flat else FOLDERS)
    check(template, flat, len(files))
    if template == FOLDERS:
        return [FolderPlace(output / folder) for folder in folders]
    inputs = [file.path for file in files]
    return [FilesPlace(output, folder, template, inputs) for folder in folders]


def check(template: str, flat: bool, recordings: int) -> None:
    """Look whether names can be made from a template.

    Raises:
        ParameterError: they cannot, or those of several recordings or stems would be the same.
    """
    expected = f"--name is '{shown(template)}'; expected a name with {{recording}} and {{stem}} in it, such as {FLAT}"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ParameterError(f"{expected} ({error}).") from error
    fields = [field for _, field, _, _ in parts if field is not None]
    if any(field not in _FIELDS or form or conversion for _, field, form, conversion in parts if field is not None):
        raise ParameterError(f"{expected}, and nothing else in braces.")
    if "stem" not in fields or ("recording" not in fields and recordings > 1):
        raise ParameterError(f"{expected}{f', since there are {recordings} recordings' if 'stem' in fields else ''}.")
    path = Path(template)
    if path.is_absolute() or ".." in path.parts or not path.parts or template.endswith("/"):
        raise ParameterError(f"{expected}, which stays inside the folder that -o names.")
    if flat and len(path.parts) > 1:
        raise ParameterError(f"--name is '{shown(template)}' and has folders in it, which --flat does not make.")


class FolderPlace:
    """A folder with nothing else in it; it appears and is replaced as a whole."""

    def __init__(self, folder: Path) -> None:
        self.shown, self.folder, self.parent = shown(folder), folder, folder.parent

    def has_stems_of(self, file: Input) -> bool:
        """See Place."""
        if not self.folder.exists() and not self.folder.is_symlink():
            return False
        if not (self.folder / stems.MANIFEST).is_file():
            raise OutputError(f"{self.shown} exists and holds something else than stems; use another -o.")
        _check_whose(self.folder / stems.MANIFEST, file)
        return True

    def take(self, found: StemSet, scratch: Path) -> list[Path]:
        """See Place."""
        if self.folder.exists():
            self.folder.rename(scratch / "old")
        found.directory.rename(self.folder)
        return [self.folder / stem.file for stem in found.manifest.stems]


class FilesPlace:
    """Files among others, named after a template. Each appears whole, the manifest last."""

    def __init__(self, output: Path, recording: Path, template: str, inputs: Sequence[Path]) -> None:
        """Args: inputs: files that are not written over, whoever wrote them."""
        self._output, self._recording, self._template, self._inputs = output, recording, template, inputs
        self._manifest = self._place(stems.MANIFEST)
        self.shown, self.folder, self.parent = shown(self._place("*")), self._manifest.parent, output

    def has_stems_of(self, file: Input) -> bool:
        """See Place."""
        if self._manifest.is_file():
            _check_whose(self._manifest, file)
            return True
        return False

    def take(self, found: StemSet, scratch: Path) -> list[Path]:
        """See Place."""
        earlier = self._earlier()
        wanted = {file: self._place(file.name) for file in found.directory.iterdir() if file.name != stems.MANIFEST}
        for target in (*wanted.values(), self._manifest):
            self._check_free(target, earlier)
        manifest = self._renamed(found.manifest)
        new = scratch / stems.MANIFEST
        new.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for file, target in wanted.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
        for left in earlier - {*wanted.values(), self._manifest}:
            left.unlink(missing_ok=True)
        self._manifest.parent.mkdir(parents=True, exist_ok=True)
        new.replace(self._manifest)
        return [self._place(stem.file) for stem in found.manifest.stems]

    def _place(self, name: str) -> Path:
        """Of a file that would be called `name` in a folder of its own."""
        stem, ending = os.path.splitext(name)
        return self._output / (self._template.format(recording=self._recording, stem=stem) + ending)

    def _renamed(self, manifest: Manifest) -> Manifest:
        """The manifest with the files' names as they are seen from its folder."""

        def seen(name: str) -> str:
            return shown(Path(os.path.relpath(self._place(name), self._manifest.parent)).as_posix())

        entries = [entry.model_copy(update={"file": seen(entry.file)}) for entry in manifest.stems]
        background = seen(manifest.background) if manifest.background else None
        return manifest.model_copy(update={"stems": entries, "background": background})

    def _earlier(self) -> set[Path]:
        """Where an earlier run may have put what it wrote for this recording; nowhere if there was none."""
        if not self._manifest.is_file():
            return set()
        ending = _read(self._manifest).get("format", "wav")
        stem_names = [*(f"stem_{number}" for number in range(1, _MOST_STEMS + 1)), stems.BACKGROUND, REST]
        names = [*_REPORTS, *(f"{name}.{ending}" for name in stem_names if ending in encoding.SUBTYPES)]
        return {self._manifest, *map(self._place, names)}

    def _check_free(self, target: Path, earlier: set[Path]) -> None:
        if not target.exists() and not target.is_symlink():
            return
        if any(file.exists() and file.samefile(target) for file in self._inputs):
            raise OutputError(f"{shown(target)} is a recording that was named; use another -o or --name.")
        if target not in earlier:
            raise OutputError(f"{shown(target)} exists and is not of an earlier run; use another -o or --name.")


def identity(file: Input) -> str:
    """What a manifest says of the recording, so that another one of the same name does not replace its stems."""
    return shown(file.name or file.path.name)


def _check_whose(manifest: Path, file: Input) -> None:
    of = _read(manifest).get("recording")
    if of not in (None, identity(file)):
        where = shown(manifest.parent if manifest.name == stems.MANIFEST else manifest)
        raise OutputError(f"{where} holds the stems of {shown(str(of))}; use another -o for this one.")


def _read(manifest: Path) -> Mapping[str, Any]:
    try:
        said = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
