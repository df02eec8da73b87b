"""Files by name in a place that a URL names: S3 and what speaks like it, a shared directory, or another of fsspec's.

Everything is streamed between the place and a file on this server's disk; nothing is held in memory as a whole.
Blocking.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from unmingle.model.errors import UnmingleError
from unmingle.service.problems import UnavailableError

_MARKER = "unmingle-store"
_PART_BYTES = 8 * 2**20
_EXPECTED = "expected s3://bucket/prefix, or file:///path/to/a/directory"

_S3 = {
    # fsspec's own: what one server lists must not hide what another one writes.
    "use_listings_cache": False,
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}},
}
_KINDS: dict[str, dict[str, Any]] = {"s3": _S3, "s3a": _S3, "file": {"auto_mkdir": True}}
_PUT: dict[str, dict[str, Any]] = {
    # s3fs would hold ten parts of 50 MiB in memory.
    kind: {"chunksize": _PART_BYTES, "max_concurrency": 2}
    for kind in ("s3", "s3a")
}


class StoreError(UnmingleError):
    """The place that UNMINGLE_STORE_URL names cannot be used."""


class ObjectStore:
    """Files in a place that several servers share.

    Attributes:
        place: the URL, without a password.
    """

    def __init__(self, url: str) -> None:
        """Connect, and see that files can be written there.

        Raises:
            StoreError: they cannot, or the URL names no such place.
        """
        self.place = re.sub(r"(?<=://)[^/@]*@", "", url).rstrip("/")
        kind, separator, _ = url.partition("://")
        if not separator:
            raise StoreError(f"UNMINGLE_STORE_URL={self.place} is no URL; {_EXPECTED}.")
        try:
            from fsspec.core import url_to_fs

            self._files, root = url_to_fs(url.rstrip("/"), skip_instance_cache=True, **_KINDS.get(kind, {}))
        except ImportError as error:
            raise StoreError(
                f"UNMINGLE_STORE_URL={self.place} needs a package that is not installed ({error}): "
                "pip install 'unmingle[shared]'."
            ) from error
        except ValueError as error:
            raise StoreError(f"UNMINGLE_STORE_URL={self.place} is of no known kind ({error}); {_EXPECTED}.") from error
        self._kind, self._root = kind, root.rstrip("/")
        try:
            self._files.pipe_file(self._path(_MARKER), b"Files of jobs of unmingle.\n")
        except Exception as error:
            raise StoreError(
                f"Nothing can be written to UNMINGLE_STORE_URL={self.place} ({_said(error)}). See that it exists, that "
                "it can be reached, and that the server's credentials allow reading, writing, listing and deleting."
            ) from error

    def _path(self, *names: str) -> str:
        return "/".join((self._root, *names))

    def put(self, source: Path, name: str) -> None:
        """Store a file, under a name that is new; it is there as a whole when this returns.

        Raises:
            FileNotFoundError: there is no such file here (any more).
            UnavailableError: the place does not respond.
        """
        path = self._path(name)
        with self._translated(), source.open("rb"):
            self._check_mounted()
            try:
                self._files.put_file(str(source), path, **_PUT.get(self._kind, {}))
            except FileNotFoundError as error:
                if not source.exists():
                    raise
                raise UnavailableError(f"{self.place} is not there any more") from error
            if self._kind == "file":
                for entry in (path, str(PurePosixPath(path).parent)):
                    _sync(entry)

    def get(self, name: str, target: Path) -> None:
        """Copy a file to `target`, which appears as a whole.

        Raises:
            FileNotFoundError: there is none.
            UnavailableError: the place does not respond.
        """
        part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        try:
            with self._translated():
                self._files.get_file(self._path(name), str(part))
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with all that is in it; it need not be there.

        Raises:
            UnavailableError: the place does not respond.
        """
        with self._translated(), contextlib.suppress(FileNotFoundError):
            self._files.rm(self._path(name), recursive=True)

    def names(self, folder: str = "") -> list[str]:
        """Of the files and folders in a folder.

        Raises:
            UnavailableError: the place does not respond.
        """
        path = self._path(folder) if folder else self._root
        with self._translated(), contextlib.suppress(FileNotFoundError):
            found = [PurePosixPath(entry).name for entry in self._files.ls(path, detail=False)]
            return [name for name in found if name != _MARKER]
        return []

    def age_s(self, folder: str) -> float:
        """Seconds since the newest file in a folder was written; 0 where that is not known.

        Raises:
            UnavailableError: the place does not respond.
        """
        with self._translated():
            entries = self._files.find(self._path(folder), detail=True).values()
        written = [_written(entry) for entry in entries]
        known = [moment for moment in written if moment is not None]
        return max(0.0, time.time() - max(known)) if known and len(known) == len(written) else 0.0

    def fault(self) -> str | None:
        """Why files cannot be had just now; None where they can."""
        try:
            self._files.info(self._path(_MARKER))
        except FileNotFoundError:
            return f"{self.place} is not there any more, or has been emptied while the server runs."
        except Exception as error:
            return f"{self.place} cannot be read ({_said(error)})."
        return None

    def _check_mounted(self) -> None:
        """A directory that is not mounted must not be taken for an empty one, and written to."""
        if self._kind == "file" and not self._files.exists(self._path(_MARKER)):
            raise UnavailableError(f"{self.place} is not there any more")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Whatever a driver raises, as an error of the operating system."""
        try:
            yield
        except (FileNotFoundError, UnavailableError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise UnavailableError(f"{self.place} does not respond ({_said(error)})") from error


def _written(entry: dict[str, Any]) -> float | None:
    """Seconds since 1970; each kind of place names it differently."""
    for key in ("LastModified", "last_modified", "updated", "mtime"):
        match entry.get(key):
            case datetime.datetime() as moment:
                return moment.timestamp()
            case float() | int() as seconds:
                return float(seconds)
    return None


def _said(error: BaseException) -> str:
    """The first line of what a driver says."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
