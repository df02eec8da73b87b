"""An uploaded file -> stems in a directory: decoded in a child process, then separated by a worker."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

from unmingle.model.abilities import Abilities
from unmingle.service import tracing
from unmingle.service.decoding.decoder import DecodeLimits, Decoder
from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.output.stems import StemSet
from unmingle.service.scheduling.engine import Control, Engine, Lane, Task, Work
from unmingle.service.schemas import Manifest, ModelEntry, SeparateParameters
from unmingle.service.workers.spreading import PARTS, PartRunner, bytes_between, may_be_spread, parts_of
from unmingle.service.workers.tasks import Given, Separate

DECODED = "decoded"


class HasManifest(Protocol):
    """What comes of a separation: stems, or an answer made of them."""

    @property
    def manifest(self) -> Manifest:
        """What it is."""
        ...


T = TypeVar("T", bound=HasManifest)


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What is known of a recording once it is decoded.

    Attributes:
        seconds: its length.
        audio_bytes: of its samples, which are on disk, and of what its parts leave to each other.
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
        engine: has it separated.
        lane: whose workers do it.
        model: in use.
        abilities: what it can do.
        on_separated: told the manifest of every separation.
        overview: whether stems come with one.
        spreads: whether a long recording is cut into parts, for all workers at the same time.
    """

    decoder: Decoder
    engine: Engine
    lane: Lane
    model: ModelEntry
    abilities: Abilities
    on_separated: Callable[[Manifest], None]
    overview: bool = False
    spreads: bool = False

    async def separate(
        self,
        upload: Path,
        directory: Path,
        parameters: SeparateParameters,
        limits: DecodeLimits,
        task: Callable[[Task[StemSet]], Task[T]],
        on_decoded: Callable[[Decoded], Awaitable[None]],
        *,
        timeout_s: float = math.inf,
        control: Control | None = None,
    ) -> T:
        """Separate `upload`, writing only within the existing `directory`; cancelling this ends the work.

        Args:
            upload: the file as it came.
            directory: gets `stems`, and `decoded` and `parts` for as long as they are needed.
            parameters: how to separate.
            limits: of decoding.
            task: what a worker is to do: the separation, or something around it. What that gives is returned.
            on_decoded: told what is known then; it may refuse the recording.
            timeout_s: until the result, waiting for a decoder included.
            control: tells the progress.

        Raises:
            Problem: the upload is not usable, or is refused.
            ParameterError: the model cannot do what is asked for.
            WorkFailedError: it failed by no fault of the request.
            TimeoutError: the deadline passed.
        """
        give_up = time.monotonic() + timeout_s
        # Before anything is decoded: what the model cannot do is known by now.
        self.abilities.check(parameters.options)
        limits = dataclasses.replace(limits, track=parameters.track)
        async with asyncio.timeout(None if math.isinf(timeout_s) else timeout_s):
            with tracing.span("decode") as span:
                recording = await self.decoder.decode(upload, directory / DECODED, limits, mono=parameters.mono)
                seconds = recording.samples / recording.sample_rate
                span.note({"unmingle.audio_s": seconds, "unmingle.channels": recording.channels})
            size = 4 * recording.samples * recording.channels
            stem_bytes = size * self.abilities.most_stems(parameters.options, recording.channels)
            parts = self._parts(recording, parameters)
            if parts > 1:
                size += bytes_between(recording, self.abilities.config.sample_rate, parts)
            await on_decoded(Decoded(seconds, size, stem_bytes, give_up - time.monotonic()))
            separate = Separate(recording, directory / "stems", self.model, parameters, self.overview)
            control = control or Control()
            work = Work(task(separate), seconds, self.lane, control)
            if parts > 1 and (stems := await PartRunner(self.engine, separate, control).run(parts)):
                work = Work(task(Given(stems)), 0.0, self.lane, control)
            result = await self.engine.run(work)
        self.on_separated(result.manifest)
        # Not before the result is there: a worker may be lost, and the next one reads it again. Nobody waits for it.
        asyncio.get_running_loop().run_in_executor(None, _unlink, directory / DECODED)
        if parts > 1:
            await asyncio.to_thread(shutil.rmtree, directory / PARTS, ignore_errors=True)
        return result

    def _parts(self, recording: DecodedRecording, parameters: SeparateParameters) -> int:
        """How many parts a recording is cut into; 1 where it stays whole."""
        if not self.spreads or not may_be_spread(recording, parameters.options):
            return 1
        return parts_of(recording.samples / recording.sample_rate, self.engine.most_workers)


def _unlink(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()
