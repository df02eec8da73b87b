"""A multipart request body -> a file on disk and a few form fields, every byte counted while it streams in."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from unmingle.service.problems import Problem

FILE_FIELD = "file"
MAX_PARTS = 24
MAX_FIELD_BYTES = 1024
MAX_PART_HEADER_BYTES = 8192

_WRITE_BYTES = 2**20
# So that a client that is refused gets to read why, a little of what it still sends is taken and thrown away.
_DISCARD_BYTES, _DISCARD_S = 32 * 2**20, 3.0
_LEAST_BYTES_PER_S = 1024

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
    """

    path: Path
    fields: dict[str, str]


def announced_bytes(request: Request) -> int:
    """Length of the body, as far as the client says; 0 where it does not."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() and len(announced) < 20 else 0


async def receive(request: Request, path: Path, max_bytes: int, stall_s: float) -> Upload:
    """Stream the body of `request` into the new file `path`.

    Args:
        request: not read yet.
        path: of the file.
        max_bytes: of the whole body.
        stall_s: longest time that the client may send nothing; on the whole it has to send a KiB a second.

    Raises:
        Problem: not multipart, malformed, without a file, with an empty one, too slow, or larger than `max_bytes`.
        ClientDisconnect: the client went away.
    """
    media_type, options = parse_options_header(request.headers.get("content-type"))
    if media_type != b"multipart/form-data" or not options.get(b"boundary"):
        raise Problem("multipart_expected", f"The body is {media_type.decode('latin-1') or 'of no type'}. {EXPECTED}")
    stream = _paced(request.stream(), stall_s)
    if announced_bytes(request) > max_bytes:
        await _discard(stream)
        raise _too_large(max_bytes)
    with path.open("wb") as file:
        try:
            form = await _form(file, options[b"boundary"], stream, max_bytes)
        except (Problem, OSError):
            await _discard(stream)
            raise
    if not form.has_file:
        raise Problem("file_missing", f"The form has no file in a field named '{FILE_FIELD}'. {EXPECTED}")
    if path.stat().st_size == 0:
        raise Problem("file_empty", f"The file in field '{FILE_FIELD}' has 0 bytes; expected audio.")
    return Upload(path, form.fields)


async def _form(file: BinaryIO, boundary: bytes, stream: AsyncIterator[bytes], max_bytes: int) -> _Form:
    received = 0
    try:
        form = _Form(file, boundary)
        async for chunk in stream:
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes)
            form.write(chunk)
            if len(form.pending) >= _WRITE_BYTES:
                await asyncio.to_thread(form.flush)
    except FormParserError as error:
        raise Problem("multipart_malformed", f"The multipart body cannot be read: {error}. {EXPECTED}") from error
    form.finish()
    await asyncio.to_thread(form.flush)
    return form


async def _paced(stream: AsyncGenerator[bytes], stall_s: float) -> AsyncIterator[bytes]:
    """The chunks of a stream, as long as they come."""
    received, start = 0, time.monotonic()
    while True:
        try:
            async with asyncio.timeout(stall_s):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise _stalled(received, stall_s) from error
        if chunk is None:
            return
        received += len(chunk)
        if time.monotonic() - start > stall_s + received / _LEAST_BYTES_PER_S:
            raise _stalled(received, stall_s)
        yield chunk


async def _discard(stream: AsyncIterator[bytes]) -> None:
    left = _DISCARD_BYTES
    try:
        async with asyncio.timeout(_DISCARD_S):
            async for chunk in stream:
                left -= len(chunk)
                if left < 0:
                    return
    except (TimeoutError, Problem):
        pass


def _stalled(received: int, stall_s: float) -> Problem:
    return Problem(
        "upload_stalled",
        f"{received} bytes came, and then no more for {stall_s:g} s, or less than {_LEAST_BYTES_PER_S} a second. "
        "Send it again over a better connection.",
        extra={"limit": stall_s, "unit": "s"},
        headers={"Connection": "close"},
    )


def _too_large(max_bytes: int) -> Problem:
    return Problem(
        "upload_too_large",
        f"The request body is larger than {max_bytes} bytes. Send a compressed format such as FLAC, or a shorter part.",
        extra={"limit": max_bytes, "unit": "bytes"},
    )


class _Form:
    """Collects the parts as the parser finds them; the file's bytes wait in `pending` for the disk."""

    def __init__(self, file: BinaryIO, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.has_file = False
        self.pending = bytearray()
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
