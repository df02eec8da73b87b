"""The engine and real worker processes: a failure fails its own work only, lost workers are replaced, nothing hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.service.conftest import SMALL_MODEL
from tests.service.harness import ROOT, read
from tests.service.workers.tasks import Deaf, Endless, Raise, SeparateNoise, Strike, Unpicklable, Wait
from unmingle.model.errors import ModelError
from unmingle.service.problems import Problem
from unmingle.service.scheduling.engine import Engine, Lane, Task, Work
from unmingle.service.scheduling.worker import WorkFailedError
from unmingle.service.workers.here import HereWorker
from unmingle.service.workers.messages import Terms

WITHIN_S = 120
"""The machine may be busy with others."""


def terms(model: Path = SMALL_MODEL) -> Terms:
    return Terms(model, None, "cpu", 1, 2**32, at_once=8, beat_s=0.1, log_format="console", log_level="warning")


class Hired:
    """The workers of an engine, in the order in which they came."""

    def __init__(self, silence_s: float) -> None:
        self.silence_s = silence_s
        self.workers: list[HereWorker] = []

    def __call__(self) -> HereWorker:
        self.workers.append(HereWorker(terms(), self.silence_s))
        return self.workers[-1]

    @property
    def pid(self) -> int:
        """Of the latest."""
        return self.workers[-1].pid


@asynccontextmanager
async def running(
    requests: int = 1, jobs: int = 1, processes: int = 1, silence_s: float = 60.0
) -> AsyncIterator[tuple[Engine, Hired]]:
    hire = Hired(silence_s)
    engine = Engine(
        [hire() for _ in range(processes)], hire, {"requests": requests, "jobs": jobs, "packing": 1, "views": 1}
    )
    engine.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            await until(lambda: engine.workers == (processes, processes))
            yield engine, hire
    finally:
        await engine.stop()
    assert not any(read(worker.pid, "cmdline") for worker in hire.workers)


async def until(what: Callable[[], object]) -> None:
    while not what():
        await asyncio.sleep(0.005)


async def outcome(engine: Engine, task: Task[object], lane: Lane = "requests") -> object:
    """What it gives, or how it fails."""
    try:
        return await engine.run(Work(task, 1.0, lane))
    except Exception as error:
        return error


@pytest.fixture(autouse=True)
def tests_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By workers, which are sent tasks of ours."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_a_failure_fails_its_own_work_only() -> None:
    errors = ("ValueError", "MemoryError", "KeyboardInterrupt", "SystemExit")

    async def run() -> list[object]:
        async with running(requests=2) as (engine, hire):
            tasks = [SeparateNoise(), *(Raise(error) for error in errors), Unpicklable(), SeparateNoise()]
            outcomes = await asyncio.gather(*(outcome(engine, task) for task in tasks))
            assert len(hire.workers) == 1
            return outcomes

    first, *failures, last = asyncio.run(run())
    assert (first, last) == (2, 2)
    assert [type(failure) for failure in failures] == [WorkFailedError] * 5
    for error, failure in zip(errors, failures, strict=False):
        assert f"{error}: on purpose" in str(failure)


@pytest.mark.parametrize(
    ("sent", "reason"), [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "crashed"), (signal.SIGSTOP, "hung")]
)
def test_work_of_a_lost_worker_is_done_once_more(tmp_path: Path, sent: signal.Signals, reason: str) -> None:
    async def run() -> None:
        async with running(silence_s=5.0) as (engine, hire):
            doing = asyncio.create_task(outcome(engine, Wait(tmp_path / "begun", tmp_path / "go_on")))
            await until((tmp_path / "begun-1").exists)
            os.kill(hire.pid, sent)
            await until(lambda: engine.state == "starting")
            assert engine.takes_work
            meanwhile = asyncio.create_task(outcome(engine, SeparateNoise()))
            (tmp_path / "go_on").touch()
            assert await doing == 2
            assert await meanwhile == 2
            assert (engine.state, dict(engine.lost)) == ("ok", {reason: 1})
            assert len(hire.workers) == 2
            assert not read(hire.workers[0].pid, "cmdline")

    asyncio.run(run())


def test_work_that_kills_its_workers_takes_no_other_work_with_it() -> None:
    async def run() -> list[object]:
        async with running(requests=3) as (engine, _):
            tasks = [SeparateNoise(), Strike(signal.SIGKILL), SeparateNoise(), SeparateNoise()]
            outcomes = await asyncio.gather(*(outcome(engine, task) for task in tasks))
            assert dict(engine.lost) == {"killed": 2}
            return outcomes

    first, guilty, *others = asyncio.run(run())
    assert [first, *others] == [2, 2, 2]
    assert isinstance(guilty, Problem)
    assert (guilty.code, guilty.status) == ("worker_lost", 503)
    assert int(guilty.headers["Retry-After"]) >= 1


def test_a_lost_worker_costs_the_other_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(requests=2, processes=2) as (engine, hire):
            waiting = [
                asyncio.create_task(outcome(engine, Wait(tmp_path / name, tmp_path / "go_on"))) for name in ("a", "b")
            ]
            await until(lambda: (tmp_path / "a-1").exists() and (tmp_path / "b-1").exists())
            os.kill(hire.workers[0].pid, signal.SIGKILL)
            await until(lambda: engine.lost)
            assert engine.state == "ok"
            (tmp_path / "go_on").touch()
            assert sorted(await asyncio.gather(*waiting)) == [1, 2]

    asyncio.run(run())


def test_work_past_its_deadline_is_stopped_and_nothing_of_it_stays(tmp_path: Path) -> None:
    begun, file = tmp_path / "begun", tmp_path / "file"

    async def run() -> None:
        async with running() as (engine, hire):
            doing = asyncio.create_task(engine.run(Work(Endless(begun, file), 1.0)))
            await until(begun.exists)
            assert file in opened(hire.pid)
            doing.cancel()
            await asyncio.wait({doing})
            await until(lambda: not engine.running("requests"))
            assert file not in opened(hire.pid)
            assert await outcome(engine, SeparateNoise()) == 2
            assert len(hire.workers) == 1

    asyncio.run(run())


def opened(process: int) -> list[Path]:
    return [Path(os.readlink(entry)) for entry in Path(f"/proc/{process}/fd").iterdir()]


def test_work_that_does_not_stop_has_its_worker_replaced(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(silence_s=2.0) as (engine, _):
            doing = asyncio.create_task(engine.run(Work(Deaf(tmp_path / "begun"), 1.0)))
            await until((tmp_path / "begun").exists)
            doing.cancel()
            await asyncio.wait({doing})
            assert engine.running("requests") == 1
            assert await outcome(engine, SeparateNoise()) == 2
            assert dict(engine.lost) == {"hung": 1}

    asyncio.run(run())


def test_work_whose_deadline_passes_while_it_waits_is_never_begun(tmp_path: Path) -> None:
    async def run() -> None:
        async with running() as (engine, _):
            first = asyncio.create_task(outcome(engine, Wait(tmp_path / "first", tmp_path / "go_on")))
            await until((tmp_path / "first-1").exists)
            second = asyncio.create_task(outcome(engine, Wait(tmp_path / "second", tmp_path / "go_on")))
            await until(lambda: engine.waiting("requests"))
            second.cancel()
            await asyncio.wait({second})
            assert (engine.waiting("requests"), engine.running("requests")) == (0, 1)
            (tmp_path / "go_on").touch()
            assert await first == 1
            assert await outcome(engine, SeparateNoise()) == 2
            assert not (tmp_path / "second-1").exists()

    asyncio.run(run())


def test_stopping_leaves_nobody_waiting_and_no_process(tmp_path: Path) -> None:
    async def run() -> list[object]:
        async with running() as (engine, _):
            endless = [Endless(tmp_path / f"begun{number}", tmp_path / f"file{number}") for number in range(3)]
            doing = [asyncio.create_task(engine.run(Work(task, 1.0))) for task in endless]
            await until((tmp_path / "begun0").exists)
            began = time.monotonic()
            await engine.stop()
            assert time.monotonic() - began < 30
            return await asyncio.gather(*doing, return_exceptions=True)

    assert all(isinstance(result, BaseException) for result in asyncio.run(run()))


def test_jobs_take_no_worker_of_requests(tmp_path: Path) -> None:
    async def run() -> None:
        async with running() as (engine, _):
            jobs = [
                asyncio.create_task(outcome(engine, Wait(tmp_path / f"job{number}", tmp_path / "go_on"), "jobs"))
                for number in range(3)
            ]
            await until((tmp_path / "job0-1").exists)
            assert await outcome(engine, SeparateNoise()) == 2
            assert (engine.running("jobs"), engine.waiting("jobs")) == (1, 2)
            (tmp_path / "go_on").touch()
            assert await asyncio.gather(*jobs) == [1, 1, 1]

    asyncio.run(run())


def test_a_model_that_cannot_be_used_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"model\.onnx is not a usable ONNX model"):
        HereWorker(terms(tmp_path / "model.onnx"), 60.0).facts()
