"""A multipart request body -> a file on disk and a few form fields, every byte counted while it streams in."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from unmingle.service.decoding import audio_header
from unmingle.service.problems import Problem
from unmingle.service.scheduling.capacity import Lease
from unmingle.service.scheduling.limits import Resource
from unmingle.service.scheduling.transfers import Transfer

FILE_FIELD = "file"
MAX_PARTS = 24
MAX_FIELD_BYTES = 1024
MAX_PART_HEADER_BYTES = 8192

_WRITE_BYTES = 2**20
_LOOK_BYTES = 2**17
"""The format is checked after so many bytes, so that a client need not send all of a wrong file."""
# A refused client may still be sending. Some of that is read and discarded, so that it gets to read the answer.
_DISCARD_BYTES, _DISCARD_S = 32 * 2**20, 3.0

EXPECTED = (
    f"Expected multipart/form-data with the recording in a field named '{FILE_FIELD}', "
    "as `curl -F file=@recording.wav` sends it."
)


@dataclasses.dataclass(frozen=True)
class Upload:
    """What came.

    Attributes:
        path: the file.
        fields: the other form fields.
        sha256: of the file.
    """

    path: Path
    fields: dict[str, str]
    sha256: bytes


@dataclasses.dataclass(frozen=True)
class UploadLimits:
    """What one upload may take.

    Attributes:
        max_bytes: of the whole body.
        stall_s: longest time that the client may send nothing.
        least_bytes_per_s: on average, after a grace period.
    """

    max_bytes: int
    stall_s: float
    least_bytes_per_s: float

    def transfer(self, announced: int) -> Transfer:
        """An upload that begins now."""
        return Transfer(self.stall_s, self.least_bytes_per_s, announced)


async def check_head(request: Request, max_bytes: int) -> bytes:
    """Look at the head of a request before its body is read; the boundary of its parts.

    Raises:
        Problem: not multipart, or it announces more than `max_bytes`.
    """
    media_type, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if media_type != b"multipart/form-data" or not boundary:
        raise Problem("multipart_expected", f"The body is {media_type.decode('latin-1') or 'of no type'}. {EXPECTED}")
    if announced_bytes(request) > max_bytes:
        if request.headers.get("expect", "").lower() != "100-continue":  # it waits for 100 Continue and sends nothing
            await _discard(request)
        raise _too_large(max_bytes)
    return boundary


def announced_bytes(request: Request) -> int:
    """Length of the body, as far as the client says; 0 where it does not."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() and len(announced) < 20 else 0


async def receive(request: Request, path: Path, limits: UploadLimits, lease: Lease, space: Resource) -> Upload:
    """Stream the body of `request` into the new file `path`.

    Args:
        request: not read yet.
        path: of the file.
        limits: of the upload.
        lease: has the transfer; its `space` on disk is raised as bytes arrive that were not announced.
        space: which disk space that is.

    Raises:
        Problem: not multipart, malformed, without a file, with an empty one, too slow, larger than `max_bytes`, or
            there is no more disk space.
        ClientDisconnect: the client went away.
    """
    boundary = await check_head(request, limits.max_bytes)
    stream = _paced(request.stream(), lease)
    with path.open("wb") as file:
        try:
            form = _Form(file, boundary)
            await _fill(form, path, stream, limits.max_bytes, lease, space)
        except FormParserError as error:
            await _discard(request)
            raise Problem("multipart_malformed", f"The multipart body cannot be read: {error}. {EXPECTED}") from error
        except (Problem, OSError):
            if not (lease.transfer and lease.transfer.displaced):
                await _discard(request)
            raise
    if not form.has_file:
        raise Problem("file_missing", f"The form has no file in a field named '{FILE_FIELD}'. {EXPECTED}")
    if path.stat().st_size == 0:
        raise Problem("file_empty", f"The file in field '{FILE_FIELD}' has 0 bytes; expected audio.")
    return Upload(path, form.fields, form.sha256.digest())


async def _fill(
    form: _Form, path: Path, stream: AsyncIterator[bytes], max_bytes: int, lease: Lease, space: Resource
) -> None:
    received, looked = 0, False
    async for chunk in stream:
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        if received > lease.held.get(space, 0.0):
            lease.take(space, received + _WRITE_BYTES)
        form.write(chunk)
        if not looked and len(form.pending) >= _LOOK_BYTES:
            looked = True
            await asyncio.to_thread(_look, form, path)
        elif len(form.pending) >= _WRITE_BYTES:
            await asyncio.to_thread(form.flush)
    form.finish()
    await asyncio.to_thread(form.flush)
    lease.put(space, received)


def _look(form: _Form, path: Path) -> None:
    """Refuse a file that is not audio at all. Other faults show once the whole file is there."""
    form.flush()
    try:
        audio_header.inspect(path)
    except Problem as problem:
        if problem.code == "format_unsupported":
            raise


async def _paced(stream: AsyncGenerator[bytes], lease: Lease) -> AsyncIterator[bytes]:
    """The chunks of a stream, as long as they come."""
    transfer, received = lease.transfer, 0
    while transfer is not None:
        try:
            async with asyncio.timeout(transfer.patience_s) as patience:
                with transfer.patient(patience):
                    chunk = await anext(stream, None)
        except TimeoutError as error:
            raise _stalled(transfer) from error
        if chunk is None:
            return
        received += len(chunk)
        transfer.note(received)
        if transfer.fault():
            raise _stalled(transfer)
        yield chunk


async def _discard(request: Request) -> None:
    if request._stream_consumed:  # the body is complete: the next message can only be that the client leaves
        return
    left = _DISCARD_BYTES
    with contextlib.suppress(TimeoutError, Problem, ClientDisconnect):
        async with asyncio.timeout(_DISCARD_S):
            while (message := await request.receive())["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0 or not message.get("more_body"):
                    return


def _stalled(transfer: Transfer) -> Problem:
    if transfer.displaced:
        return Problem(
            "server_full",
            f"{transfer.moved} bytes came, too slowly while others waited. Send it again over a faster connection.",
            headers={"Connection": "close", "Retry-After": "60"},
        )
    return Problem(
        "upload_stalled",
        f"{transfer.moved} bytes came, and then {transfer.fault() or 'no more'}. "
        "Send it again over a better connection.",
        headers={"Connection": "close"},
    )


def _too_large(max_bytes: int) -> Problem:
    return Problem(
        "upload_too_large",
        f"The request body is larger than {max_bytes} bytes. Send a compressed format such as FLAC, or a shorter part.",
        extra={"limit": max_bytes, "unit": "bytes"},
        headers={"Connection": "close"},
    )


class _Form:
    """Collects the parts as the parser finds them; the file's bytes wait in `pending` for the disk."""

    def __init__(self, file: BinaryIO, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.has_file = False
        self.pending = bytearray()
        self.sha256 = hashlib.sha256()
        self._file = file
        self._parts = 0
        self._header_name, self._header_value = bytearray(), bytearray()
        self._header_bytes = 0
        self._name = ""
        self._is_file = False
        self._value = bytearray()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value_data,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        """Parse the next bytes of the body."""
        self._parser.write(chunk)

    def finish(self) -> None:
        """The body has ended; a body that breaks off is an error."""
        if not self._ended:
            raise Problem("multipart_malformed", f"The multipart body breaks off before its end. {EXPECTED}")

    def flush(self) -> None:
        """Bring the file's pending bytes to disk."""
        self._file.write(self.pending)
        self.sha256.update(self.pending)
        self.pending.clear()

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise Problem("too_many_parts", f"The form has more than {MAX_PARTS} parts.", extra={"limit": MAX_PARTS})
        self._name, self._is_file, self._header_bytes = "", False, 0
        self._value.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._grow_header(self._header_name, data[start:end])

    def _header_value_data(self, data: bytes, start: int, end: int) -> None:
        self._grow_header(self._header_value, data[start:end])

    def _grow_header(self, text: bytearray, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > MAX_PART_HEADER_BYTES:
            raise Problem("multipart_malformed", f"A part's headers are longer than {MAX_PART_HEADER_BYTES} bytes.")
        text += data

    def _header_end(self) -> None:
        if bytes(self._header_name).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._header_value))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header_name.clear()
        self._header_value.clear()

    def _headers_finished(self) -> None:
        self._is_file = self._name == FILE_FIELD
        if self._is_file and self.has_file:
            raise Problem("too_many_parts", f"The form has more than one file in field '{FILE_FIELD}'; expected one.")
        self.has_file = self.has_file or self._is_file

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.pending += data[start:end]
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise Problem(
                "multipart_malformed",
                f"The form field '{self._name[:50]}' is longer than {MAX_FIELD_BYTES} bytes. {EXPECTED}",
            )

    def _part_end(self) -> None:
        if not self._is_file:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True
