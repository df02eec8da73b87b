"""An uploaded file -> stems in a directory: decoded in a child process, then separated by the engine."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from unmingle.model.separator import Separator
from unmingle.service.decoding.decoder import DecodeLimits, Decoder
from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.output import stems
from unmingle.service.output.stems import StemSet
from unmingle.service.scheduling.engine import Control, Engine, Lane, Work
from unmingle.service.schemas import Manifest, ModelEntry, SeparateParameters

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What is known of a recording once it is decoded.

    Attributes:
        seconds: its length.
        audio_bytes: of its samples, which are on disk.
        stem_bytes: what its stems will take at the most.
        left_s: until the deadline.
    """

    seconds: float
    audio_bytes: int
    stem_bytes: int
    left_s: float


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """What it takes, one per server and lane.

    Attributes:
        decoder: reads uploads.
        engine: separates.
        lane: whose workers do it.
        model: in use.
        on_separated: told the manifest of every separation.
        overview: whether stems come with one.
    """

    decoder: Decoder
    engine: Engine
    lane: Lane
    model: ModelEntry
    on_separated: Callable[[Manifest], None]
    overview: bool = False

    async def separate(
        self,
        upload: Path,
        directory: Path,
        parameters: SeparateParameters,
        limits: DecodeLimits,
        finish: Callable[[StemSet], T],
        on_decoded: Callable[[Decoded], Awaitable[None]],
        *,
        timeout_s: float = math.inf,
        control: Control | None = None,
    ) -> T:
        """Separate `upload`, writing only within the existing `directory`; cancelling this ends the work.

        Args:
            upload: the file as it came.
            directory: gets `stems`, and `decoded` for as long as it is needed.
            parameters: how to separate.
            limits: of decoding.
            finish: called with the stems on the worker thread; what it returns is returned here.
            on_decoded: told what is known then; it may refuse the recording.
            timeout_s: until the result, waiting for a decoder included.
            control: tells the progress.

        Raises:
            Problem: the upload is not usable, or is refused.
            ParameterError: the model cannot do what is asked for.
            TimeoutError: the deadline passed.
        """
        give_up = time.monotonic() + timeout_s
        # Before anything is decoded: what the model cannot do is known by now.
        self.engine.separator.check(parameters.options)
        limits = dataclasses.replace(limits, track=parameters.track)
        async with asyncio.timeout(None if math.isinf(timeout_s) else timeout_s):
            recording = await self.decoder.decode(upload, directory / "decoded", limits, mono=parameters.mono)
            seconds = recording.samples / recording.sample_rate
            size = 4 * recording.samples * recording.channels
            most_stems = self.engine.separator.most_stems(parameters.options, recording.channels)
            await on_decoded(Decoded(seconds, size, size * most_stems, give_up - time.monotonic()))
            return await self.engine.run(
                Work(self._work(recording, directory, parameters, finish), seconds, self.lane, control or Control())
            )

    def _work(
        self,
        recording: DecodedRecording,
        directory: Path,
        parameters: SeparateParameters,
        finish: Callable[[StemSet], T],
    ) -> Callable[[Separator, Control], T]:
        """What a worker thread is to do."""

        def run(separator: Separator, control: Control) -> T:
            control(0.0)
            target = directory / "stems"
            target.mkdir()
            separated = stems.separate(
                separator, recording, target, self.model, parameters, progress=control, overview=self.overview
            )
            (directory / "decoded").unlink()
            self.on_separated(separated.manifest)
            return finish(separated)

        return run
