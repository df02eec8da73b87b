"""An uploaded file -> stems in a directory: decoded in a child process, then separated by the engine."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from model.separator import Separator
from service import stems
from service.decoder import DecodeLimits, Decoder
from service.engine import Control, Engine, Work
from service.schemas import Manifest, ModelEntry, SeparateParameters
from service.stems import StemSet

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """What it takes, one per server.

    Attributes:
        decoder: reads uploads.
        engine: separates.
        model: in use.
        on_separated: told the manifest of every separation.
    """

    decoder: Decoder
    engine: Engine
    model: ModelEntry
    on_separated: Callable[[Manifest], None]

    async def separate(
        self,
        upload: Path,
        directory: Path,
        parameters: SeparateParameters,
        limits: DecodeLimits,
        finish: Callable[[StemSet], T],
        *,
        timeout_s: float | None,
        owner: str = "",
        control: Control | None = None,
        on_decoded: Callable[[float], None] | None = None,
    ) -> T:
        """Separate `upload`, writing only within the existing `directory`; cancelling this ends the work.

        Args:
            upload: the file as it came.
            directory: gets `stems`, and `decoded` for as long as it is needed.
            parameters: how to separate.
            limits: of decoding.
            finish: called with the stems on the worker thread; what it returns is returned here.
            timeout_s: from the decoded upload to the result; None waits as long as it takes.
            owner: whose share of the queue this counts against.
            control: tells the progress.
            on_decoded: told the recording's length in seconds.

        Raises:
            Problem: the upload is not usable, the server is full, the deadline passed.
        """
        recording = await self.decoder.decode(upload, directory / "decoded", limits, mono=parameters.mono)
        seconds = recording.samples / recording.sample_rate
        if on_decoded:
            await asyncio.to_thread(on_decoded, seconds)

        def run(separator: Separator, control: Control) -> T:
            control(0.0)
            target = directory / "stems"
            target.mkdir()
            separated = stems.separate(
                separator,
                recording,
                target,
                self.model,
                parameters,
                progress=control,
            )
            (directory / "decoded").unlink()
            self.on_separated(separated.manifest)
            return finish(separated)

        size = 4 * recording.samples * recording.channels
        return await self.engine.run(Work(run, seconds, size, timeout_s, owner, control or Control()))
