"""What workers do with recordings that are kept: listen to them, separate them, and draw what was heard."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unmingle.model.choices import Number, Vectors, Wish
from unmingle.model.results import Outcome
from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.output import png, stems
from unmingle.service.output.stems import StemSet
from unmingle.service.scheduling.work import Control, Files, TaskFiles
from unmingle.service.schemas import ModelEntry, SeparateParameters
from unmingle.service.workers.tasks import file_of, make_anew

if TYPE_CHECKING:  # the server's front makes tasks, and loads neither ONNX Runtime nor a model
    from unmingle.model.kept import KeptRecording
    from unmingle.model.recording import Sink
    from unmingle.model.separator import Separator


@dataclasses.dataclass(frozen=True)
class Kept:
    """A recording that is kept.

    Attributes:
        recording: its samples.
        heard: the directory with what was heard in it.
    """

    recording: DecodedRecording
    heard: Path

    @property
    def files(self) -> tuple[Files, Files]:
        """Both of them."""
        return file_of(self.recording), Files(self.heard)

    def opened(self, separator: Separator) -> KeptRecording:
        """With the model that heard it."""
        from unmingle.model.kept import KeptRecording

        return KeptRecording(self.recording, separator, self.heard)


@dataclasses.dataclass(frozen=True)
class Heard:
    """What came of listening.

    Attributes:
        likeliest: number of sources.
        numbers: what 1, 2, 3... sources look like.
        warnings: of the recording, which was read to its end.
    """

    likeliest: int
    numbers: list[Number]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Listen:
    """Listen to a recording.

    Attributes:
        kept: its directory is there once all is in it.
        unfinished: the directory for it until then.
        seed: of the clustering.
    """

    kept: Kept
    unfinished: Path
    seed: int

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles(self.kept.files, () if self.kept.heard.exists() else (Files(self.kept.heard),))

    def run(self, separator: Separator, control: Control) -> Heard:
        """See `Task`."""
        if not self.kept.heard.exists():
            make_anew(self.unfinished)
            Kept(self.kept.recording, self.unfinished).opened(separator).listen(self.seed, control)
            self.unfinished.rename(self.kept.heard)
        likeliest, numbers = self.kept.opened(separator).numbers()
        return Heard(likeliest, numbers, self.kept.recording.warnings)


@dataclasses.dataclass(frozen=True)
class Separated:
    """A separation of a recording that is kept.

    Attributes:
        stems: on disk.
        centroids: (centroids, dim) that they were made with.
        sources: of each stem, the sound's number before they were put in order of loudness.
    """

    stems: StemSet
    centroids: Vectors
    sources: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class SeparateKept:
    """Separate a recording that was listened to.

    Attributes:
        kept: the recording.
        target: the directory for the stems, which is made.
        wish: which sounds are wanted.
        model: in use.
        parameters: how to separate.
    """

    kept: Kept
    target: Path
    wish: Wish
    model: ModelEntry
    parameters: SeparateParameters

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles(self.kept.files, (Files(self.target),))

    def run(self, separator: Separator, control: Control) -> Separated:
        """See `Task`."""
        make_anew(self.target)
        kept = self.kept.opened(separator)
        found: list[tuple[Vectors, tuple[int, ...]]] = []

        def separate(sink: Sink) -> Outcome:
            outcome, centroids = kept.separate(self.wish, self.parameters.options, sink, control)
            found.append((centroids, outcome.order))
            return outcome

        separated = stems.write(separate, self.kept.recording, self.target, self.model, self.parameters)
        return Separated(separated, *found[0])


@dataclasses.dataclass(frozen=True)
class TakePoints:
    """Write a sample of the bins that are heard, and their embeddings, to the file `target` (NumPy's .npz)."""

    kept: Kept
    target: Path
    most: int
    seed: int

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles(self.kept.files, (Files(self.target),))

    def run(self, separator: Separator, control: Control) -> None:
        """See `Task`."""
        found = self.kept.opened(separator).points(self.most, np.random.default_rng(self.seed))
        with self.target.open("wb") as file:
            np.savez(file, allow_pickle=False, places=found.places, embeddings=found.embeddings, weights=found.weights)


@dataclasses.dataclass(frozen=True)
class DrawMasks:
    """Draw what the masks of some centroids look like from `start_s` to `end_s`, into the PNG file `target`."""

    kept: Kept
    target: Path
    centroids: Vectors
    start_s: float
    end_s: float
    columns: int

    @property
    def files(self) -> TaskFiles:
        """See `Task`."""
        return TaskFiles(self.kept.files, (Files(self.target),))

    def run(self, separator: Separator, control: Control) -> None:
        """See `Task`."""
        found = self.kept.opened(separator).picture(self.centroids, self.start_s, self.end_s, self.columns)
        self.target.write_bytes(png.of_masks(found))
