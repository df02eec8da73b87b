"""An uploaded file -> stems in a directory: decoded in a child process, then separated by the engine."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from unmingle.model.separator import Separator
from unmingle.service.decoding.decoder import DecodeLimits, Decoder
from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.output import stems
from unmingle.service.output.stems import StemSet
from unmingle.service.problems import Problem
from unmingle.service.scheduling.engine import Control, Engine, Work
from unmingle.service.schemas import Manifest, ModelEntry, SeparateParameters

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
        on_decoded: Callable[[DecodedRecording], None] | None = None,
    ) -> T:
        """Separate `upload`, writing only within the existing `directory`; cancelling this ends the work.

        Args:
            upload: the file as it came.
            directory: gets `stems`, and `decoded` for as long as it is needed.
            parameters: how to separate.
            limits: of decoding.
            finish: called with the stems on the worker thread; what it returns is returned here.
            timeout_s: until the result, waiting for a decoder included; None waits as long as it takes.
            owner: whose share of the queue this counts against.
            control: tells the progress.
            on_decoded: told the recording; called on a thread, it may refuse it.

        Raises:
            Problem: the upload is not usable, the server is full, the deadline passed.
        """
        give_up = math.inf if timeout_s is None else time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                limits = dataclasses.replace(limits, track=parameters.track)
                recording = await self.decoder.decode(upload, directory / "decoded", limits, mono=parameters.mono)
                if on_decoded:
                    await asyncio.to_thread(on_decoded, recording)
        except TimeoutError as error:
            raise self._late(timeout_s or 0.0) from error
        seconds = recording.samples / recording.sample_rate

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
        left = None if timeout_s is None else max(0.001, give_up - time.monotonic())
        try:
            return await self.engine.run(Work(run, seconds, size, left, owner, control or Control()))
        except Problem as problem:
            # The engine knows only what is left of the time, and takes that for all there is.
            in_time = seconds * self.engine.real_time_factor <= (timeout_s or 0.0)
            if problem.code == "deadline_exceeded" or (problem.code == "recording_too_long" and in_time):
                raise self._late(timeout_s or 0.0) from problem
            raise

    def _late(self, timeout_s: float) -> Problem:
        wait = max(1, math.ceil(self.engine.audio_seconds * self.engine.real_time_factor))
        return Problem(
            "deadline_exceeded",
            f"The answer was not ready within {timeout_s:g} s. Try again in {wait} s, or send the recording to /jobs.",
            extra={"limit": timeout_s, "unit": "s"},
            headers={"Retry-After": str(wait)},
        )
