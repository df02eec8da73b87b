"""The tasks of a worker: what is done with a recording on disk, so that a result on disk comes of it.

A task may be begun again after a worker has died in the middle of it, so each clears what an earlier try left.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.output import encoding, stems
from unmingle.service.output.package import Delivery, Package, pack
from unmingle.service.output.stems import StemSet
from unmingle.service.scheduling.work import Control, Files, Task, TaskFiles
from unmingle.service.schemas import Format, ModelEntry, SeparateParameters, Subtype

if TYPE_CHECKING:  # the server's front makes tasks, and loads neither ONNX Runtime nor a model
    from unmingle.model.separator import Separator


@dataclasses.dataclass(frozen=True)
class Separate:
    """Separate a recording.

    Attributes:
        recording: decoded.
        target: the directory for its stems, which is made.
        model: in use.
        parameters: how to separate.
        overview: whether the stems come with one.
    """

    recording: DecodedRecording
    target: Path
    model: ModelEntry
    parameters: SeparateParameters
    overview: bool = False

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles((file_of(self.recording),), (Files(self.target),))

    def run(self, separator: Separator, control: Control) -> StemSet:
        """See `Task`."""
        control(0.0)
        make_anew(self.target)
        return stems.separate(
            separator,
            self.recording,
            self.target,
            self.model,
            self.parameters,
            progress=control,
            overview=self.overview,
        )


@dataclasses.dataclass(frozen=True)
class SeparateAndPack:
    """Separate a recording, and make the answer of its stems.

    Attributes:
        separate: gives the stems.
        delivery: the answer that is wanted.
        place: the directory for what the answer needs besides the stems, which is made.
        max_json_bytes: largest stems that are sent as JSON.
    """

    separate: Task[StemSet]
    delivery: Delivery
    place: Path
    max_json_bytes: int

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        before = self.separate.files
        return TaskFiles(before.reads, (*before.writes, Files(self.place)))

    def run(self, separator: Separator, control: Control) -> Package:
        """See `Task`."""
        separated = self.separate.run(separator, control)
        return Pack(separated, self.delivery, self.place, self.max_json_bytes).run(separator, control)


@dataclasses.dataclass(frozen=True)
class Pack:
    """Make an answer of stems.

    Attributes:
        stems: on disk.
        delivery: the answer that is wanted.
        place: the directory for what the answer needs besides the stems, which is made.
        max_json_bytes: largest stems that are sent as JSON.
    """

    stems: StemSet
    delivery: Delivery
    place: Path
    max_json_bytes: int

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles((Files(self.stems.directory),), (Files(self.place),))

    def run(self, separator: Separator, control: Control) -> Package:
        """See `Task`."""
        make_anew(self.place)
        try:
            return pack(self.stems, self.delivery, self.place, self.max_json_bytes, lambda: control(1.0))
        except BaseException:
            shutil.rmtree(self.place, ignore_errors=True)
            raise


@dataclasses.dataclass(frozen=True)
class EncodeStem:
    """Write one stem, the file `source`, in another format.

    Attributes:
        stems: that it is one of.
        source: its file.
        target: the file to write.
        format, subtype: that are wanted.
    """

    stems: StemSet
    source: Path
    target: Path
    format: Format
    subtype: Subtype

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles((Files(self.source),), (Files(self.target),))

    def run(self, separator: Separator, control: Control) -> None:
        """See `Task`."""
        encoding.encode_stem(self.stems, self.source, self.target, self.format, self.subtype, lambda: control(1.0))


@dataclasses.dataclass(frozen=True)
class Given:
    """Give stems that are there already."""

    stems: StemSet

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles(())

    def run(self, separator: Separator, control: Control) -> StemSet:
        """See `Task`."""
        return self.stems


def file_of(recording: DecodedRecording) -> Files:
    """What is read of a recording's file."""
    return Files(recording.path, *recording.needed_bytes)


def make_anew(directory: Path) -> None:
    """An empty directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
