"""The engine: one failure is one failure, dead workers come back, nothing hangs."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import pytest

from unmingle.model.separator import Separator
from unmingle.service.scheduling.engine import Control, Engine, Lane, Work

WORKERS: dict[Lane, int] = {"requests": 1, "jobs": 1}

E = TypeVar("E", bound=Engine)


@contextmanager
def running(engine: E) -> Iterator[E]:
    engine.start()
    give_up = time.monotonic() + 60
    while engine.state == "starting":
        assert time.monotonic() < give_up
        time.sleep(0.01)
    yield engine
    engine.stop()


@pytest.fixture
def engine(separator: Separator) -> Iterator[Engine]:
    with running(Engine(separator, WORKERS)) as engine:
        yield engine


def separate(separator: Separator, control: Control) -> int:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    return len(separator.separate(noise, 16_000, 2, progress=control).stems)


def work(run: object = separate, seconds: float = 1.0, lane: Lane = "requests") -> Work:
    return Work(run, seconds, lane)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyboardInterrupt, SystemExit])
def test_a_failure_fails_its_own_work_only(engine: Engine, error: type[BaseException]) -> None:
    def fail(separator: Separator, control: Control) -> None:
        raise error("on purpose")

    async def run() -> list[object]:
        tasks = [engine.run(work()), engine.run(work(fail)), engine.run(work())]
        return await asyncio.gather(*(asyncio.ensure_future(outcome(task)) for task in tasks))

    async def outcome(task: object) -> object:
        try:
            return await task  # type: ignore[misc]
        except BaseException as caught:
            return type(caught)

    first, second, third = asyncio.run(run())
    assert (first, third) == (2, 2)
    assert isinstance(second, type) and issubclass(second, Exception)


class MortalEngine(Engine):
    """One of its workers dies when told to."""

    dies = False
    dead: threading.Thread | None = None

    def _next(self) -> object:  # type: ignore[override]
        if self.dies:
            self.dies, self.dead = False, threading.current_thread()
            raise SystemExit
        return super()._next()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_died_comes_back(separator: Separator) -> None:
    with running(MortalEngine(separator, WORKERS)) as engine:
        engine.dies = True
        assert asyncio.run(engine.run(work())) == 2
        give_up = time.monotonic() + 60
        while engine.dead is None or engine.dead.is_alive():
            assert time.monotonic() < give_up, "no worker has died"
            time.sleep(0.01)
        assert asyncio.run(engine.run(work())) == 2


def test_work_past_its_deadline_is_given_up_and_stopped(engine: Engine) -> None:
    stopped = threading.Event()

    def endless(separator: Separator, control: Control) -> None:
        try:
            while True:
                control(0.5)
                time.sleep(0.001)
        finally:
            stopped.set()

    async def run() -> None:
        async with asyncio.timeout(0.5):
            await engine.run(work(endless))

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert stopped.wait(5)
    assert asyncio.run(engine.run(work())) == 2


def test_work_whose_deadline_passes_while_it_waits_is_never_begun(engine: Engine) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def first(separator: Separator, control: Control) -> str:
        begun.set()
        assert go_on.wait(60)
        return "first"

    def second(separator: Separator, control: Control) -> None:
        pytest.fail("it was begun")

    async def run() -> str:
        running = asyncio.create_task(engine.run(work(first)))
        assert await asyncio.to_thread(begun.wait, 60)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await engine.run(work(second))
        assert (engine.waiting("requests"), engine.running("requests")) == (0, 1)
        go_on.set()
        return await running

    try:
        assert asyncio.run(run()) == "first"
    finally:
        go_on.set()


def test_nothing_of_work_that_failed_or_was_stopped_stays(engine: Engine) -> None:
    class Kept:
        """What the work has in its hands, such as an open file."""

    kept: list[weakref.ref[Kept]] = []

    def fail(separator: Separator, control: Control) -> None:
        local = Kept()
        kept.append(weakref.ref(local))
        raise ValueError("on purpose")

    def endless(separator: Separator, control: Control) -> None:
        local = Kept()
        kept.append(weakref.ref(local))
        while True:
            control(0.5)
            time.sleep(0.001)

    async def run() -> None:
        with pytest.raises(ValueError, match="on purpose"):
            await engine.run(work(fail))
        stopped = asyncio.create_task(engine.run(work(endless)))
        async with asyncio.timeout(60):
            while len(kept) < 2:
                await asyncio.sleep(0.001)
            stopped.cancel()
            await asyncio.wait({stopped})
            while engine.running("requests"):
                await asyncio.sleep(0.001)

    gc.disable()  # which comes when it likes
    try:
        asyncio.run(run())
        give_up = time.monotonic() + 60
        while any(reference() for reference in kept):  # the worker lets go right after the engine is free
            assert time.monotonic() < give_up
            time.sleep(0.001)
    finally:
        gc.enable()


def test_stopping_leaves_nobody_waiting(engine: Engine) -> None:
    begun = threading.Event()

    def slow(separator: Separator, control: Control) -> None:
        begun.set()
        while True:
            control(0.1)
            time.sleep(0.001)

    async def run() -> list[object]:
        tasks = [asyncio.ensure_future(engine.run(work(slow))) for _ in range(3)]
        assert await asyncio.to_thread(begun.wait, 60)
        await asyncio.to_thread(engine.stop)
        async with asyncio.timeout(5):
            return await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(result, BaseException) for result in asyncio.run(run()))


def test_jobs_take_no_worker_of_requests(engine: Engine) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def long(separator: Separator, control: Control) -> str:
        begun.set()
        go_on.wait(60)
        return "long"

    async def run() -> None:
        jobs = [asyncio.create_task(engine.run(work(long, 3600.0, "jobs"))) for _ in range(3)]
        assert await asyncio.to_thread(begun.wait, 60)
        async with asyncio.timeout(60):
            assert await engine.run(work()) == 2
        assert (engine.running("jobs"), engine.waiting("jobs")) == (1, 2)
        go_on.set()
        assert await asyncio.gather(*jobs) == ["long"] * 3

    try:
        asyncio.run(run())
    finally:
        go_on.set()
