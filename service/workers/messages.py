"""What the server and a worker say to each other, over a socket between them. Samples and stems are in files.

Both are ours, and nobody else has the socket, so messages are pickles: a length of four bytes, then that many.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
import socket
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.device import Device
from unmingle.model.errors import UnmingleError

_LENGTH = struct.Struct("<I")


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What the server needs to know of the model that its workers have.

    Attributes:
        config: of the model.
        hash: of its file.
        provider: execution provider that the session really uses.
        fallback: why device="auto" runs on the CPU.
        refines: whether there is a refiner beside it.
    """

    config: ModelConfig
    hash: str
    provider: str
    fallback: str | None
    refines: bool


@dataclasses.dataclass(frozen=True)
class Terms:
    """To a worker, first of all: how it is to work.

    Attributes:
        model: an ONNX file; None for the bundled one that suits the device.
        refiner: the ONNX file of its refiner; None for none.
        device: where the network runs.
        threads: of the network on a CPU; None for all cores.
        gpu_memory_bytes: what it may take of a GPU.
        at_once: most tasks at a time.
        beat_s: it gives a sign of life so often.
        log_format, log_level: how its log lines look.
    """

    model: Path | None
    refiner: Path | None
    device: Device
    threads: int | None
    gpu_memory_bytes: int
    at_once: int
    beat_s: float
    log_format: Literal["console", "json"]
    log_level: str


@dataclasses.dataclass(frozen=True)
class Begin:
    """To a worker: a pickled task. It is unpickled apart, so that a bad one spoils nothing but itself."""

    number: int
    task: bytes


@dataclasses.dataclass(frozen=True)
class Stop:
    """To a worker: that task is not wanted any more."""

    number: int


@dataclasses.dataclass(frozen=True)
class Loaded:
    """From a worker: it has the model."""

    facts: ModelFacts


@dataclasses.dataclass(frozen=True)
class Unusable:
    """From a worker: the model cannot be used."""

    error: UnmingleError


@dataclasses.dataclass(frozen=True)
class Ready:
    """From a worker: it has run the model, at so many seconds per second of audio."""

    real_time_factor: float


@dataclasses.dataclass(frozen=True)
class Beat:
    """From a worker: a sign of life, and what it takes.

    Attributes:
        resident_bytes: of memory.
        processor_s: seconds of processor time since it began.
    """

    resident_bytes: int
    processor_s: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """From a worker: how much of a task is done, 0 to 1."""

    number: int
    done: float


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a task failed: the parts of a problem for the client, and a traceback for the log where the fault is ours."""

    code: str
    detail: str
    extra: Mapping[str, Any]
    headers: Mapping[str, str]
    traceback: str | None


@dataclasses.dataclass(frozen=True)
class Ended:
    """From a worker: a task has ended.

    Attributes:
        result: what it gave, pickled; None where it was stopped or failed.
        failure: why it failed; None also where it was stopped.
        batch_sizes: how many calls of the network there were since the last task ended, by segments in them.
    """

    number: int
    result: bytes | None
    failure: Failure | None
    batch_sizes: Mapping[int, int]


Message = Terms | Begin | Stop | Loaded | Unusable | Ready | Beat | Progress | Ended


def packed(message: Message) -> bytes:
    """As it goes over the line."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


async def next_of(stream: asyncio.StreamReader) -> Message:
    """The next message.

    Raises:
        EOFError: there is none: the other end has gone.
    """
    (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
    message: Message = pickle.loads(await stream.readexactly(length))
    return message


def first_of(heard: bytearray) -> Message | None:
    """The first message in what has been heard so far, which is taken off; None where it is not all there yet."""
    if len(heard) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(heard)
    end = _LENGTH.size + length
    if len(heard) < end:
        return None
    message: Message = pickle.loads(bytes(heard[_LENGTH.size : end]))
    del heard[:end]
    return message


class Line:
    """The same for threads. Blocking; several may send."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self._sending = line, threading.Lock()

    def send(self, message: Message) -> None:
        """Raises OSError where the other end has gone."""
        data = packed(message)
        with self._sending:
            self._line.sendall(data)

    def receive(self) -> Message:
        """The next message.

        Raises:
            EOFError: the other end has gone.
            TimeoutError: it took longer than the socket's timeout.
        """
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        message: Message = pickle.loads(self._exactly(length))
        return message

    def _exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            try:
                more = self._line.recv(size - len(received))
            except ConnectionResetError:
                more = b""
            if not more:
                raise EOFError
            received += more
        return bytes(received)
