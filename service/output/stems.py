"""A recording -> a directory with its stems as float WAVs and a manifest, written piece by piece."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from unmingle.model.errors import UnmingleError
from unmingle.model.results import Outcome
from unmingle.service.decoding.recordings import DecodedRecording, FileRecording
from unmingle.service.output import wav
from unmingle.service.schemas import Manifest, ModelEntry, SeparateParameters, SpatialEntry, StemEntry, StretchEntry
from unmingle.service.version import version

if TYPE_CHECKING:  # the server's front, which only reads stems, does not load ONNX Runtime
    from unmingle.model.recording import Progress, Sink
    from unmingle.model.separator import Separator

MANIFEST = "manifest.json"
ACTIVITY = "activity.rttm"
OVERVIEW = "overview.npz"
BACKGROUND = "background"


class DamagedStemsError(UnmingleError):
    """Stems on disk are not as they were written."""


@dataclasses.dataclass(frozen=True)
class StemSet:
    """Stems in a directory.

    Attributes:
        directory: holds stem_1.wav ..., 32-bit float, manifest.json, and activity.rttm: who is heard when.
        manifest: what manifest.json says.
    """

    directory: Path
    manifest: Manifest

    @classmethod
    def open(cls, directory: Path) -> StemSet:
        """The stems that `separate` wrote.

        Raises:
            DamagedStemsError: somebody else wrote something there since.
        """
        try:
            return cls(directory, Manifest.model_validate_json((directory / MANIFEST).read_bytes()))
        except ValidationError as error:  # which would be the client's fault, were it about a request
            raise DamagedStemsError(f"{directory / MANIFEST} is damaged.") from error

    @property
    def files(self) -> tuple[Path, ...]:
        """Of the stems, and of the background where it has a file."""
        names = [entry.file for entry in self.manifest.stems]
        return tuple(self.directory / name for name in (*names, self.manifest.background) if name)

    def samples(self, file: Path) -> NDArray[np.float32]:
        """(samples, channels) of one of `files`, a float WAV, mapped from disk."""
        shape = (self.manifest.samples, self.manifest.channels)
        head = file.stat().st_size - 4 * shape[0] * shape[1]
        return np.memmap(file, np.dtype("<f4"), "r", head, shape)


def separate(
    separator: Separator,
    recording: DecodedRecording | FileRecording,
    directory: Path,
    model: ModelEntry,
    parameters: SeparateParameters,
    progress: Progress | None = None,
    *,
    overview: bool = False,
) -> StemSet:
    """Separate `recording` into the existing empty `directory`, with an overview if that is wanted and there is one.

    Raises:
        AudioError: the recording turned out to be damaged.
        ParameterError: the bounds of counting make no sense, or the model cannot count.
        OSError: the disk is full, for instance.
    """
    return write(
        lambda sink: separator.separate_recording(
            recording, sink, parameters.options, progress=progress, overview=overview
        ),
        recording,
        directory,
        model,
        parameters,
    )


def write(
    separate: Callable[[Sink], Outcome],
    recording: DecodedRecording | FileRecording,
    directory: Path,
    model: ModelEntry,
    parameters: SeparateParameters,
) -> StemSet:
    """What `separate` sends to its sink, in the existing empty `directory`."""
    channels = parameters.options.channels_of_stems(recording.channels)
    writer = _StemWriter(directory, channels, recording.sample_rate)
    try:
        outcome = separate(writer.write)
    finally:
        writer.close()
    stems = describe(outcome, recording, directory, model, parameters)
    name(stems, outcome.order)
    return stems


def name(stems: StemSet, order: Sequence[int]) -> None:
    """Give the files of sources the names of stems; `order` has the source that each stem is, the background last."""
    for file, source in zip(stems.files, (*order, len(order)), strict=False):
        (file.parent / f"source_{source}").rename(file)


def describe(
    outcome: Outcome,
    recording: DecodedRecording | FileRecording,
    directory: Path,
    model: ModelEntry,
    parameters: SeparateParameters,
) -> StemSet:
    """Write what goes with the stems into `directory`: the names in it are those that they are to have."""
    channels = parameters.options.channels_of_stems(recording.channels)
    num_sources = len(outcome.order)
    manifest = Manifest(
        unmingle_version=version(),
        model=model,
        sample_rate=recording.sample_rate,
        channels=channels,
        samples=outcome.samples,
        seconds=outcome.samples / recording.sample_rate,
        num_sources=num_sources,
        count_chance=outcome.count_chance,
        seed=parameters.seed,
        masks=parameters.masks,
        quality=parameters.quality,
        format="wav",
        subtype="FLOAT",
        stems=[
            StemEntry(
                file=f"stem_{number}.wav",
                energy_share=report.energy_share,
                confidence=report.confidence,
                active=[StretchEntry(start_s=stretch.start_s, end_s=stretch.end_s) for stretch in report.active],
                clipped_samples=0,
                channel=report.channel,
            )
            for number, report in enumerate(outcome.stems, 1)
        ],
        background=f"{BACKGROUND}.wav" if outcome.background == "stem" else None,
        spatial=_spatial_entry(outcome),
        reference=None if outcome.reference is None else outcome.reference + 1,
        background_mode=outcome.background,
        stage_seconds={"decode": recording.decode_s, **outcome.stage_seconds},
        warnings=[*recording.warnings, *outcome.warnings],
    )
    write_reports(directory, manifest)
    if outcome.overview:
        outcome.overview.save(directory / OVERVIEW)
    return StemSet(directory, manifest)


def _spatial_entry(outcome: Outcome) -> SpatialEntry | None:
    used = outcome.spatial
    if used is None:
        return None
    return SpatialEntry(
        channels=[channel + 1 for channel in used.channels],
        expected_gain_db=used.expected_gain_db,
        enhanced=used.enhanced,
        heard=None if used.heard is None else used.heard + 1,
    )


def write_reports(directory: Path, manifest: Manifest) -> None:
    """Write manifest.json and activity.rttm into `directory`."""
    for name, text in reports(manifest):
        (directory / name).write_text(text)


def reports(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """(name, text) of the files that go with the stems."""
    rttm = "".join(
        f"SPEAKER recording 1 {stretch.start_s:.3f} {stretch.end_s - stretch.start_s:.3f} <NA> <NA> stem_{number} "
        "<NA> <NA>\n"
        for number, stem in enumerate(manifest.stems, 1)
        for stretch in stem.active
    )
    return (MANIFEST, manifest.model_dump_json(indent=2) + "\n"), (ACTIVITY, rttm)


class _StemWriter:
    """Appends to one float WAV per source; the headers follow at the end, when the length is known."""

    def __init__(self, directory: Path, channels: int, sample_rate: int) -> None:
        self._directory, self._channels, self._sample_rate = directory, channels, sample_rate
        self._files: list[BinaryIO] = []
        self._length = 0

    def write(self, block: NDArray[np.float32]) -> None:
        """Append (sources, channels, samples); the first block says how many sources there are."""
        if not self._files:
            self._files = [(self._directory / f"source_{source}").open("wb") for source in range(len(block))]
            for file in self._files:
                file.write(bytes(wav.header_bytes(self._channels, "FLOAT")))
        self._length += block.shape[-1]
        for file, samples in zip(self._files, block, strict=True):
            file.write(np.ascontiguousarray(samples.T, "<f4").data)

    def close(self) -> None:
        """Write the headers and close the files."""
        for file in self._files:
            with file:
                file.seek(0)
                file.write(wav.header(self._channels, self._length, self._sample_rate, "FLOAT"))
