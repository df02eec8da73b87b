"""`unmingle separate --server`: the same files, separated by a service elsewhere."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from unmingle.model.errors import AudioError, UnmingleError
from unmingle.model.recording import Progress
from unmingle.service.cli.batch import Separating
from unmingle.service.cli.excerpt import opened
from unmingle.service.cli.names import Input
from unmingle.service.cli.wishes import Wishes, granted
from unmingle.service.output import wav
from unmingle.service.output.stems import StemSet
from unmingle.service.schemas import SeparateParameters


def by_server(url: str, api_key: str | None, parameters: SeparateParameters, wishes: Wishes) -> Separating:
    """Separating by the service at `url`, as jobs. What the service does not do is done here with its stems.

    Raises:
        UnmingleError: httpx is not installed.
    """
    try:
        from unmingle.service.client import Client, RemoteError
    except ImportError as error:
        raise UnmingleError("--server takes httpx, which is not installed: pip install 'unmingle[client]'.") from error
    client = Client(url, api_key=api_key)
    asked = parameters.model_copy(update={"format": "wav", "subtype": "FLOAT"}) if wishes.rework else parameters

    def separate(file: Input, new: Path, progress: Progress) -> StemSet:
        if not file.path.is_file():
            raise AudioError("there is no such file.")
        upload, warnings = file.path, list[str]()
        if wishes.part:
            upload = new.with_name(f"{file.path.stem}.wav")
            warnings = _cut(file.path, upload, parameters, wishes)
        further = {"track": None, "mono": False} if wishes.part else {"track": asked.track, "mono": asked.mono}
        job = client.submit(upload, asked.options, format=asked.format, subtype=asked.subtype, **further)
        try:
            client.save(job, new, progress)
        finally:
            with contextlib.suppress(RemoteError):
                client.delete(job)
        found = StemSet.open(new)
        found = StemSet(new, found.manifest.model_copy(update={"warnings": [*warnings, *found.manifest.warnings]}))
        return granted(found, wishes, parameters) if wishes.rework else found

    return separate


def _cut(path: Path, target: Path, parameters: SeparateParameters, wishes: Wishes) -> list[str]:
    """Write the part of a recording that is wanted as a WAV; returns what a listener should know of the recording."""
    recording = opened(path, parameters, wishes)
    with target.open("wb") as file:
        file.write(bytes(wav.header_bytes(recording.channels, "FLOAT")))
        samples = 0
        for block in recording.blocks():
            file.write(np.ascontiguousarray(block.T, "<f4").data)
            samples += block.shape[1]
        file.seek(0)
        file.write(wav.header(recording.channels, samples, recording.sample_rate, "FLOAT"))
    return list(recording.warnings)
