"""Client and AsyncClient: the REST service from Python. Both run the same exchanges, written once as generators."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, TypeVar

import httpx
import numpy as np
import soundfile
from numpy.typing import NDArray

from unmingle.model.errors import AudioError, LimitError, ParameterError, UnmingleError
from unmingle.model.options import SeparationOptions

T = TypeVar("T")
Progress = Callable[[float], None]
Source = str | Path | bytes
Format = Literal["wav", "flac", "ogg", "mp3", "m4a"]

_DEFAULTS = SeparationOptions()
_FIRST_POLL_S, _LONGEST_POLL_S = 0.05, 1.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0


class RemoteError(UnmingleError):
    """The service refused a request, or cannot be reached.

    Attributes:
        code: the problem's stable name, as in docs/api.md; "unreachable" where there was no answer.
        status: of HTTP; 0 where there was no answer.
        facts: further members of the problem, such as the limit that was hit.
    """

    def __init__(self, code: str, status: int, detail: str, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.code, self.status, self.facts = code, status, dict(facts or {})


class RemoteAudioError(RemoteError, AudioError):
    """The recording cannot be used."""


class RemoteLimitError(RemoteError, LimitError):
    """The recording or the request is larger than a limit of the service."""


class RemoteParameterError(RemoteError, ParameterError):
    """A parameter is not valid."""


class RemoteBusyError(RemoteError):
    """The service has as much work as it takes, for longer than the client was to wait."""


class JobFailedError(RemoteError):
    """A job came to its end without a result."""


_AUDIO = {"format_unsupported", "audio_unreadable", "audio_unusable", "file_empty", "too_many_channels"} | {
    "sample_rate_unsupported"
}
_PARAMETER = {"parameter_invalid", "model_unknown", "not_acceptable", "idempotency_conflict"}


@dataclasses.dataclass(frozen=True)
class RemoteSeparation:
    """What the service made of a recording.

    Attributes:
        manifest: what was done; see docs/api.md.
        files: the stems and what goes with them, by their names.
    """

    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return int(self.manifest["sample_rate"])

    @property
    def stems(self) -> NDArray[np.float32]:
        """(sources, channels, samples), loudest first; for formats that libsndfile reads."""
        return np.stack([self._samples(stem["file"]) for stem in self.manifest["stems"]])

    @property
    def background(self) -> NDArray[np.float32] | None:
        """(channels, samples); None where it is not a stem."""
        name = self.manifest["background"]
        return self._samples(name) if name else None

    def save(self, folder: str | Path) -> Path:
        """Write all files into a folder, which is made if it is not there; returns it."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (target / Path(name).name).write_bytes(content)
        return target

    def _samples(self, name: str) -> NDArray[np.float32]:
        samples, _ = soundfile.read(io.BytesIO(self.files[name]), dtype="float32", always_2d=True)
        return np.asarray(samples.T, np.float32)


@dataclasses.dataclass(frozen=True)
class _Call:
    """A request to make; the answer is sent into the generator."""

    method: str
    path: str
    params: Mapping[str, str] = dataclasses.field(default_factory=dict)
    upload: Source | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    target: IO[bytes] | None = None  # where the body goes if all is well, for bodies that may not fit into memory

    def arguments(self) -> dict[str, Any]:
        """What httpx is called with. Files are opened anew for each try."""
        arguments: dict[str, Any] = {"params": dict(self.params), "headers": dict(self.headers)}
        if isinstance(self.upload, bytes):
            arguments["files"] = {"file": ("recording", self.upload)}
        elif self.upload is not None:
            path = Path(self.upload)
            try:
                arguments["files"] = {"file": (path.name.encode("ascii", "replace").decode(), path.open("rb"))}
            except OSError as error:
                raise AudioError(f"{path}: not readable ({error.strerror}).") from error
        return arguments


Exchange = Generator[_Call | float, httpx.Response, T]
"""Yields requests to make, and seconds to wait."""


def _asked(call: _Call, patience_s: float) -> Exchange[httpx.Response]:
    """The answer to a request, tried again while the service is busy and patience lasts."""
    give_up, wait_s = time.monotonic() + patience_s, _FIRST_WAIT_S
    while True:
        response = yield call
        if response.status_code < 400:
            return response
        error = _error(response)
        retry_after = response.headers.get("retry-after", "")
        pause = float(retry_after) if retry_after.replace(".", "", 1).isdigit() else wait_s
        busy = isinstance(error, RemoteBusyError) and error.code not in ("deadline_exceeded",)
        if not busy or time.monotonic() + pause > give_up:
            raise error
        yield pause
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def _error(response: httpx.Response) -> RemoteError:
    try:
        body = response.json()
        code, detail = str(body.pop("code")), str(body.pop("detail"))
    except (ValueError, KeyError, AttributeError):
        code, detail, body = "unknown", f"The service answered {response.status_code}: {response.text[:200]}", {}
    kind: type[RemoteError] = RemoteError
    if response.status_code in (429, 503):
        kind = RemoteBusyError
    elif code in _AUDIO:
        kind = RemoteAudioError
    elif code in _PARAMETER:
        kind = RemoteParameterError
    elif response.status_code == 413:
        kind = RemoteLimitError
    return kind(code, response.status_code, detail, body)


def _parameters(options: SeparationOptions, further: Mapping[str, object]) -> dict[str, str]:
    """Query parameters of what is not the default."""
    named = {"mask_kind": "masks"}
    given = {
        named.get(field.name, field.name): getattr(options, field.name)
        for field in dataclasses.fields(options)
        if getattr(options, field.name) != getattr(_DEFAULTS, field.name)
    }
    given |= {name: value for name, value in further.items() if value not in (None, False)}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}


def _result_of(job: str, target: IO[bytes] | None = None) -> _Call:
    return _Call("GET", f"/jobs/{job}/result", headers={"Accept": "application/zip"}, target=target)


def _unpacked(response: httpx.Response) -> RemoteSeparation:
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return RemoteSeparation(json.loads(files["manifest.json"]), files)


class _Base:
    """What both clients are told."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        patience_s: float = 300.0,
    ) -> None:
        """Take an address.

        Args:
            base_url: of the service.
            api_key: where it wants one.
            timeout_s: longest wait for one answer.
            patience_s: for how long to try again where the service is busy.
        """
        self._patience_s = patience_s
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._settings: dict[str, Any] = {"base_url": base_url, "headers": headers, "timeout": timeout_s}

    def _separate(
        self, recording: Source, options: SeparationOptions, further: Mapping[str, object]
    ) -> Exchange[RemoteSeparation]:
        call = _Call("POST", "/separate", _parameters(options, further), recording, {"Accept": "application/zip"})
        return _unpacked((yield from _asked(call, self._patience_s)))

    def _submit(
        self, recording: Source, options: SeparationOptions, further: Mapping[str, object], key: str | None
    ) -> Exchange[str]:
        headers = {"Idempotency-Key": key} if key else {}
        call = _Call("POST", "/jobs", _parameters(options, further), recording, headers)
        return str((yield from _asked(call, self._patience_s)).json()["id"])

    def _get(self, path: str) -> Exchange[dict[str, Any]]:
        answer: dict[str, Any] = (yield from _asked(_Call("GET", path), self._patience_s)).json()
        return answer

    def _done(self, job: str, progress: Progress | None) -> Exchange[None]:
        wait_s = _FIRST_POLL_S
        while True:
            status = yield from self._get(f"/jobs/{job}")
            if progress:
                progress(float(status["progress"]))
            if status["state"] == "failed":
                problem = status["problem"] or {}
                raise JobFailedError(problem.get("code", "job_failed"), 409, problem.get("detail", "The job failed."))
            if status["state"] == "done":
                return
            yield wait_s
            wait_s = min(2 * wait_s, _LONGEST_POLL_S)

    def _wait(self, job: str, progress: Progress | None) -> Exchange[RemoteSeparation]:
        yield from self._done(job, progress)
        return _unpacked((yield from _asked(_result_of(job), self._patience_s)))

    def _save(self, job: str, folder: str | Path, progress: Progress | None) -> Exchange[Path]:
        yield from self._done(job, progress)
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target) as archive:
            yield from _asked(_result_of(job, archive), self._patience_s)
            with zipfile.ZipFile(archive) as files:
                for name in files.namelist():
                    with files.open(name) as source, (target / Path(name).name).open("wb") as file:
                        shutil.copyfileobj(source, file)
        return target

    def _delete(self, job: str) -> Exchange[None]:
        yield from _asked(_Call("DELETE", f"/jobs/{job}"), self._patience_s)


class Client(_Base):
    """The service, call by call. Safe to use from several threads; close it, or use it with `with`."""

    def separate(
        self,
        recording: Source,
        options: SeparationOptions = _DEFAULTS,
        *,
        format: Format = "wav",
        subtype: str | None = None,
        mono: bool = False,
        track: int | None = None,
    ) -> RemoteSeparation:
        """Separate a file (or its bytes) and wait.

        Raises:
            RemoteError: refused, or not reachable; its classes are also those of the library's own errors.
        """
        further = {"format": format, "subtype": subtype, "mono": mono, "track": track}
        return self._run(self._separate(recording, options, further))

    def submit(
        self,
        recording: Source,
        options: SeparationOptions = _DEFAULTS,
        *,
        format: Format = "wav",
        subtype: str | None = None,
        mono: bool = False,
        track: int | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Hand in a recording as a job; returns its identifier."""
        further = {"format": format, "subtype": subtype, "mono": mono, "track": track}
        return self._run(self._submit(recording, options, further, idempotency_key))

    def status(self, job: str) -> dict[str, Any]:
        """State, progress and time left of a job."""
        return self._run(self._get(f"/jobs/{job}"))

    def wait(self, job: str, progress: Progress | None = None) -> RemoteSeparation:
        """Wait until a job is done; `progress` is told the part that is, 0 to 1.

        Raises:
            JobFailedError: it failed.
        """
        return self._run(self._wait(job, progress))

    def save(self, job: str, folder: str | Path, progress: Progress | None = None) -> Path:
        """Wait as `wait` does, and write the files into a folder; memory does not grow with the recording.

        Raises:
            JobFailedError: it failed.
        """
        return self._run(self._save(job, folder, progress))

    def delete(self, job: str) -> None:
        """End a job, and free what it takes."""
        self._run(self._delete(job))

    def health(self) -> dict[str, Any]:
        """The service's state."""
        return self._run(self._get("/health"))

    def models(self) -> list[dict[str, Any]]:
        """The models it has."""
        return list(self._run(self._get("/models"))["models"])

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._http = httpx.Client(**self._settings)

    def _run(self, exchange: Exchange[T]) -> T:
        try:
            step = next(exchange)
            while True:
                if isinstance(step, float | int):
                    time.sleep(step)
                    step = next(exchange)
                else:
                    arguments = step.arguments()
                    try:
                        with self._http.stream(step.method, step.path, **arguments) as response:
                            if step.target is not None and response.is_success:
                                for piece in response.iter_bytes():
                                    step.target.write(piece)
                            else:
                                response.read()
                    finally:
                        _close(arguments)
                    step = exchange.send(response)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except httpx.TransportError as error:
            raise _unreachable(self._settings["base_url"], error) from error

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Base):
    """The same for asyncio; use it with `async with`."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._http = httpx.AsyncClient(**self._settings)

    async def separate(
        self,
        recording: Source,
        options: SeparationOptions = _DEFAULTS,
        *,
        format: Format = "wav",
        subtype: str | None = None,
        mono: bool = False,
        track: int | None = None,
    ) -> RemoteSeparation:
        """As Client.separate."""
        further = {"format": format, "subtype": subtype, "mono": mono, "track": track}
        return await self._run(self._separate(recording, options, further))

    async def submit(
        self,
        recording: Source,
        options: SeparationOptions = _DEFAULTS,
        *,
        format: Format = "wav",
        subtype: str | None = None,
        mono: bool = False,
        track: int | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """As Client.submit."""
        further = {"format": format, "subtype": subtype, "mono": mono, "track": track}
        return await self._run(self._submit(recording, options, further, idempotency_key))

    async def status(self, job: str) -> dict[str, Any]:
        """As Client.status."""
        return await self._run(self._get(f"/jobs/{job}"))

    async def wait(self, job: str, progress: Progress | None = None) -> RemoteSeparation:
        """As Client.wait."""
        return await self._run(self._wait(job, progress))

    async def save(self, job: str, folder: str | Path, progress: Progress | None = None) -> Path:
        """As Client.save."""
        return await self._run(self._save(job, folder, progress))

    async def delete(self, job: str) -> None:
        """As Client.delete."""
        await self._run(self._delete(job))

    async def health(self) -> dict[str, Any]:
        """As Client.health."""
        return await self._run(self._get("/health"))

    async def models(self) -> list[dict[str, Any]]:
        """As Client.models."""
        return list((await self._run(self._get("/models")))["models"])

    async def _run(self, exchange: Exchange[T]) -> T:
        try:
            step = next(exchange)
            while True:
                if isinstance(step, float | int):
                    await asyncio.sleep(step)
                    step = next(exchange)
                else:
                    arguments = await asyncio.to_thread(_read_whole, step)
                    async with self._http.stream(step.method, step.path, **arguments) as response:
                        if step.target is not None and response.is_success:
                            async for piece in response.aiter_bytes():
                                step.target.write(piece)
                        else:
                            await response.aread()
                    step = exchange.send(response)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except httpx.TransportError as error:
            raise _unreachable(self._settings["base_url"], error) from error

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _close(arguments: Mapping[str, Any]) -> None:
    upload = arguments.get("files", {}).get("file", ("", b""))[1]
    if not isinstance(upload, bytes):
        upload.close()


def _read_whole(call: _Call) -> dict[str, Any]:
    """What httpx is called with where files must not be read piece by piece: httpx does that on the event loop."""
    arguments = call.arguments()
    if "files" in arguments and not isinstance(call.upload, bytes):
        name, file = arguments["files"]["file"]
        with file:
            arguments["files"] = {"file": (name, file.read())}
    return arguments


def _unreachable(base_url: str, error: Exception) -> RemoteError:
    return RemoteError("unreachable", 0, f"{base_url} cannot be reached: {error}. Is the service running there?")
