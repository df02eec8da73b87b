"""The files of a task whose worker has another disk: they go to it and come back through a store that both reach.

    server                                worker
    puts what the task reads  -> store -> fetches it into a directory of its own, and runs the task there
    takes what it has written <- store <- puts it

Paths in a task, and in what it gives, are pickled relative to the directory that all of them are in. Blocking, but for
`Staging.run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import io
import pickle
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from unmingle.service.output.part_files import open_to_change
from unmingle.service.problems import UnavailableError
from unmingle.service.scheduling.work import Control, Files, Task, TaskFiles
from unmingle.service.store.objects import ObjectStore, StoreError

if TYPE_CHECKING:  # the server's front makes tasks, and loads neither ONNX Runtime nor a model
    from unmingle.model.separator import Separator

T = TypeVar("T")

_AT_ONCE = 8
"""Tasks whose files a server puts or takes at the same time."""
_COPIED_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class StagedFile:
    """A file, or some bytes of it, in the store.

    Attributes:
        name: in the store.
        path: relative to that of the `StagedFiles`; "." for that itself.
        start: where its bytes are in the file; None where they are all of it.
    """

    name: str
    path: str
    start: int | None


@dataclasses.dataclass(frozen=True)
class StagedFiles:
    """A file or a directory in the store.

    Attributes:
        path: relative to the directory that all are in.
        directories: the directories in it, relative to it, itself included; none for a file.
        files: what is in it.
        anew: whether it is a directory that takes the place of what is there.
    """

    path: str
    directories: tuple[str, ...]
    files: tuple[StagedFile, ...]
    anew: bool


@dataclasses.dataclass(frozen=True)
class Brought:
    """What a staged task gives: the result, packed, and what was written."""

    result: bytes
    written: tuple[StagedFiles, ...]


@dataclasses.dataclass(frozen=True)
class Unreachable:
    """What it gives where the worker cannot reach the store; why."""

    detail: str


@dataclasses.dataclass(frozen=True)
class StagedTask:
    """Another task, with its files in the store.

    Attributes:
        task: packed.
        url: of the store.
        folder: for what it writes.
        read: what there has to be.
        writes: what it writes, by relative paths.
    """

    task: bytes
    url: str
    folder: str
    read: tuple[StagedFiles, ...]
    writes: tuple[Files, ...]

    @property
    def files(self) -> TaskFiles:
        """Everything is in the store."""
        return TaskFiles(())

    def run(self, separator: Separator, control: Control) -> Brought | Unreachable:
        """See `Task`."""
        with tempfile.TemporaryDirectory(prefix="task-") as directory:
            root = Path(directory)
            try:
                store = _store(self.url)
                for needed in self.read:
                    control(0.0)
                    (root / needed.path).parent.mkdir(parents=True, exist_ok=True)
                    _fetch(store, needed, root / needed.path)
            except (UnavailableError, StoreError) as error:
                return Unreachable(str(error))
            for files in self.writes:
                path = root / files.path
                (path.parent if files.end is None else path).mkdir(parents=True, exist_ok=True)
            result = unpacked(self.task, root).run(separator, control)
            wanted = [dataclasses.replace(files, path=root / files.path) for files in self.writes]
            try:
                return Brought(packed(result, root), _put(store, wanted, self.folder, root, root, lambda: control(1.0)))
            except UnavailableError as error:
                return Unreachable(str(error))


class Staging:
    """Of one server's tasks."""

    def __init__(self, url: str, root: Path, scratch: Path) -> None:
        """Args:
        url: of the store.
        root: the directory that all files of tasks are in.
        scratch: the directory for copies of parts of them, while they are stored.

        Raises:
            StoreError: the store cannot be used.
        """
        self.url, self._root, self._scratch = url, root, scratch
        self._store = ObjectStore(url)
        self._threads = ThreadPoolExecutor(_AT_ONCE, "staging")

    async def run(self, task: Task[T], do: Callable[[StagedTask], Awaitable[Brought | Unreachable]]) -> T:
        """Have a task done by a worker with another disk.

        Args:
            task: what is to be done.
            do: has the worker do it.

        Raises:
            UnavailableError: the store does not respond, here or there.
        """
        loop, folder = asyncio.get_running_loop(), f"staged-{secrets.token_hex(8)}"
        try:
            staged = await loop.run_in_executor(self._threads, self._staged, task, folder)
            brought = await do(staged)
            if isinstance(brought, Unreachable):
                raise UnavailableError(f"a worker cannot reach the store: {brought.detail}")
            await loop.run_in_executor(self._threads, self._take, brought)
        finally:
            self._threads.submit(self._clear, folder)
        result: T = unpacked(brought.result, self._root)
        return result

    def _staged(self, task: Task[T], folder: str) -> StagedTask:
        files = task.files
        read = _put(self._store, files.reads, f"{folder}/read", self._root, self._scratch)
        writes = tuple(dataclasses.replace(wanted, path=wanted.path.relative_to(self._root)) for wanted in files.writes)
        return StagedTask(packed(task, self._root), self.url, f"{folder}/written", read, writes)

    def _take(self, brought: Brought) -> None:
        for files in brought.written:
            target = self._root / files.path
            if not files.anew:
                _fetch(self._store, files, target)
                continue
            anew = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
            try:
                _fetch(self._store, files, anew)
                shutil.rmtree(target, ignore_errors=True)
                anew.rename(target)
            except BaseException:
                shutil.rmtree(anew, ignore_errors=True)
                raise

    def _clear(self, folder: str) -> None:
        with contextlib.suppress(OSError):  # what stays there is swept away later, as files of no job
            self._store.delete(folder)


def packed(value: object, root: Path) -> bytes:
    """Pickled, with paths below `root` relative to it."""
    file = io.BytesIO()
    _Pickler(file, root).dump(value)
    return file.getvalue()


def unpacked(data: bytes, root: Path) -> Any:
    """The same value, with its paths below another directory."""
    return _Unpickler(io.BytesIO(data), root).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, root: Path) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._root = root

    def persistent_id(self, value: object) -> str | None:
        """Of a path."""
        if isinstance(value, Path) and value.is_relative_to(self._root):
            return str(value.relative_to(self._root))
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, root: Path) -> None:
        super().__init__(file)
        self._root = root

    def persistent_load(self, name: str) -> Path:
        """A path."""
        return self._root / name


@functools.lru_cache(maxsize=1)
def _store(url: str) -> ObjectStore:
    return ObjectStore(url)


def _put(
    store: ObjectStore,
    wanted: Sequence[Files],
    folder: str,
    root: Path,
    scratch: Path,
    still_wanted: Callable[[], None] = lambda: None,
) -> tuple[StagedFiles, ...]:
    """Store what there is of some files below `root`."""
    found = []
    for number, files in enumerate(wanted):
        directories: list[str] = []
        stored: list[StagedFile] = []
        for path in _all_in(files.path):
            still_wanted()
            relative = str(path.relative_to(files.path))
            if path.is_dir():
                directories.append(relative)
                continue
            name = f"{folder}/{number}/{len(stored)}"
            if files.start == 0 and (files.end is None or files.end >= path.stat().st_size):
                store.put(path, name)
                stored.append(StagedFile(name, relative, None))
            else:
                _put_excerpt(store, path, files.start, files.end, name, scratch)
                stored.append(StagedFile(name, relative, files.start))
        if directories or stored:
            relative, anew = str(files.path.relative_to(root)), bool(directories) and files.end is None
            found.append(StagedFiles(relative, tuple(directories), tuple(stored), anew))
    return tuple(found)


def _all_in(path: Path) -> Iterator[Path]:
    """The file, or the directory and all that is in it; nothing where there is neither."""
    if path.exists():
        yield path
        if path.is_dir():
            yield from sorted(path.rglob("*"))


def _put_excerpt(store: ObjectStore, path: Path, start: int, end: int | None, name: str, scratch: Path) -> None:
    with path.open("rb") as file, tempfile.NamedTemporaryFile(dir=scratch, prefix="excerpt-") as excerpt:
        file.seek(start)
        left = path.stat().st_size - start if end is None else end - start
        while left > 0 and (block := file.read(min(left, _COPIED_BYTES))):
            excerpt.write(block)
            left -= len(block)
        excerpt.flush()
        store.put(Path(excerpt.name), name)


def _fetch(store: ObjectStore, files: StagedFiles, target: Path) -> None:
    """Put them where they belong, whatever is there. The directory around them has to be there."""
    for relative in files.directories:
        (target / relative).mkdir(exist_ok=True)
    for file in files.files:
        path = target / file.path
        if file.start is None:
            store.get(file.name, path)
        else:
            _fetch_excerpt(store, file.name, path, file.start)


def _fetch_excerpt(store: ObjectStore, name: str, path: Path, start: int) -> None:
    excerpt = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        store.get(name, excerpt)
        with excerpt.open("rb") as source, open_to_change(path) as file:
            file.seek(start)
            shutil.copyfileobj(source, file, _COPIED_BYTES)
    finally:
        excerpt.unlink(missing_ok=True)
