"""`unmingle separate --server`: the same files, separated by a service elsewhere."""

from __future__ import annotations

from pathlib import Path

from unmingle.model.errors import UnmingleError
from unmingle.model.passes import Progress
from unmingle.service.cli.batch import Separating
from unmingle.service.cli.names import Input
from unmingle.service.output.stems import StemSet
from unmingle.service.schemas import SeparateParameters


def by_server(url: str, api_key: str | None, parameters: SeparateParameters) -> Separating:
    """Separating by the service at `url`, as jobs.

    Raises:
        UnmingleError: httpx is not installed.
    """
    try:
        from unmingle.service.client import Client
    except ImportError as error:
        raise UnmingleError("--server takes httpx, which is not installed: pip install 'unmingle[client]'.") from error
    client = Client(url, api_key=api_key)

    def separate(file: Input, new: Path, progress: Progress) -> StemSet:
        if not file.path.is_file():
            raise UnmingleError("there is no such file.")
        found = client.separate(
            file.path,
            parameters.options,
            format=parameters.format,
            subtype=parameters.subtype,
            mono=parameters.mono,
            track=parameters.track,
        )
        found.save(new)
        progress(1.0)
        return StemSet.open(new)

    return separate
