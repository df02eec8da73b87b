"""A separation -> files: stems and the manifest beside them, in a directory or in a ZIP archive."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, cast

from model.separator import Separation
from service.audio_io import Recording, write_wav
from service.schemas import Manifest, ModelEntry, SeparateParameters, StemEntry
from service.version import version

MANIFEST = "manifest.json"

_EPOCH = (1980, 1, 1, 0, 0, 0)  # ZIP's; archives should not depend on the time of day


def write_directory(
    directory: Path, separation: Separation, recording: Recording, parameters: SeparateParameters, model: ModelEntry
) -> Manifest:
    """Write stem_1.wav ... and manifest.json into an existing directory."""

    def create(name: str, size: int) -> AbstractContextManager[BinaryIO]:
        return (directory / name).open("wb")

    return _write(create, separation, recording, parameters, model)


def write_zip(
    path: Path, separation: Separation, recording: Recording, parameters: SeparateParameters, model: ModelEntry
) -> Manifest:
    """Write stem_1.wav ... and manifest.json into a new ZIP archive, stored: samples hardly compress."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def create(name: str, size: int) -> AbstractContextManager[BinaryIO]:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            return cast("AbstractContextManager[BinaryIO]", archive.open(entry, "w", force_zip64=size > 2**30))

        return _write(create, separation, recording, parameters, model)


def _write(
    create: Callable[[str, int], AbstractContextManager[BinaryIO]],
    separation: Separation,
    recording: Recording,
    parameters: SeparateParameters,
    model: ModelEntry,
) -> Manifest:
    start = time.perf_counter()
    stems = []
    for number, (stem, share) in enumerate(zip(separation.stems, separation.energy_share, strict=True), 1):
        name = f"stem_{number}.wav"
        with create(name, stem.nbytes) as file:
            clipped = write_wav(file, stem, separation.sample_rate, parameters.subtype)
        stems.append(StemEntry(file=name, energy_share=share, clipped_samples=clipped))
    warnings = list(recording.warnings)
    if clipped := sum(stem.clipped_samples for stem in stems):
        warnings.append(
            f"{clipped} samples went beyond what PCM_16 can hold and were set to full scale; ask for subtype=FLOAT."
        )
    manifest = Manifest(
        unmingle_version=version(),
        model=model,
        sample_rate=separation.sample_rate,
        channels=recording.samples.shape[0],
        samples=recording.samples.shape[1],
        seconds=recording.seconds,
        num_sources=len(stems),
        seed=parameters.seed,
        masks=parameters.masks,
        subtype=parameters.subtype,
        stems=stems,
        stage_seconds={
            "decode": recording.decode_s,
            **separation.stage_seconds,
            "encode": time.perf_counter() - start,
        },
        warnings=warnings,
    )
    text = manifest.model_dump_json(indent=2).encode()
    with create(MANIFEST, len(text)) as file:
        file.write(text + b"\n")
    return manifest
