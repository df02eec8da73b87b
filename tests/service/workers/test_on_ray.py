"""Workers on a Ray cluster of two nodes: the bytes of a worker here, and only what a lost one had is affected."""

from __future__ import annotations

import concurrent.futures
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.service.conftest import SMALL_MODEL
from tests.service.harness import (
    ROOT,
    Faults,
    RunningServer,
    connect,
    idle,
    noise,
    post,
    read,
    request_bytes,
    separating,
)
from tests.service.jobs.test_jobs import submit, wait
from tests.service.memory_group import MemoryGroup
from tests.service.ray_cluster import MARKS, START_S, WITHIN_S, RayCluster, files_of, refused, until
from tests.service.test_chaos import fails_its_job_alone, loses_no_job

pytestmark = MARKS

LEAST, MOST = 2, 3
LONG_S = 30.0
"""Of a recording that takes the small model so long that there is time to do something to its worker."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cluster: RayCluster) -> Iterator[RunningServer]:
    environment = {
        "UNMINGLE_MODEL": str(SMALL_MODEL),
        "UNMINGLE_RAY_ADDRESS": cluster.address,
        "UNMINGLE_RAY_WORKERS": str(LEAST),
        "UNMINGLE_RAY_MAX_WORKERS": str(MOST),
        "UNMINGLE_RAY_IDLE_S": "1",
        "UNMINGLE_RAY_START_S": str(START_S),
        "UNMINGLE_WORKER_SILENCE_S": "20",
    }
    running = RunningServer(tmp_path_factory.mktemp("on_ray"), environment, start_s=START_S)
    yield running
    running.kill()


@pytest.fixture
def ready(server: RunningServer) -> RunningServer:
    """Once it has nothing to do, and all workers that it has at least."""
    server.wait_for(idle)
    until(lambda: sizes(server) == (LEAST, 0))
    return server


def sizes(server: RunningServer) -> tuple[int, int]:
    """How many workers are ready, and how many start."""
    text = server.http.get("/metrics").text
    ready, starting = (re.search(rf'^unmingle_workers{{state="{s}"}} (\d+)', text, re.M) for s in ("ready", "starting"))
    assert ready and starting
    return int(ready[1]), int(starting[1])


def lost(server: RunningServer) -> dict[str, int]:
    """Workers so far, by the reason, without those of which there are none."""
    text = server.http.get("/metrics").text
    found = re.findall(r'^unmingle_workers_lost_total\{reason="(\w+)"\} (\d+)', text, re.M)
    return {reason: int(count) for reason, count in found if float(count)}


def more(before: dict[str, int], reason: str) -> dict[str, int]:
    return {**before, reason: before.get(reason, 0) + 1}


def busy(cluster: RayCluster) -> int:
    """A worker that computes."""
    before = {worker: ticks(worker) for worker in cluster.workers()}
    until(lambda: any(ticks(worker) > before[worker] + 5 for worker in before))
    return max(before, key=lambda worker: ticks(worker) - before[worker])


def ticks(process: int) -> int:
    fields = read(process, "stat").rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0


def test_answers_have_the_bytes_of_workers_here(
    ready: RunningServer, small_server: RunningServer, two_speakers: Path
) -> None:
    for content in (two_speakers.read_bytes(), noise(3)):
        assert files_of(post(ready, content)) == files_of(post(small_server, content))
    flac = {"num_sources": 2, "format": "flac"}
    assert files_of(post(ready, noise(3), **flac)) == files_of(post(small_server, noise(3), **flac))
    location = submit(ready, noise(3), num_sources=2, background="share").headers["location"]
    wait(ready, location, "done")
    assert files_of(ready.http.get(location + "/result")) == files_of(post(small_server, noise(3), num_sources=2))


class LongJob(NamedTuple):
    """What a server makes of minutes of noise, and whether several workers did."""

    files: dict[str, bytes]
    spread: bool

    @classmethod
    def on(cls, server: RunningServer) -> LongJob:
        location = submit(server, noise(245, 8_000), num_sources=2).headers["location"]
        wait(server, location, "done", within_s=2 * WITHIN_S)
        spread = "cut" in server.http.get(location + "/manifest").json()["stage_seconds"]
        return cls(files_of(server.http.get(location + "/result")), spread)


@pytest.fixture(scope="module")
def by_one(small_server: RunningServer) -> LongJob:
    return LongJob.on(small_server)


def test_a_long_job_is_spread_over_the_cluster(ready: RunningServer, by_one: LongJob) -> None:
    """To the bytes of one worker."""
    by_many = LongJob.on(ready)
    assert not by_one.spread and by_many.spread
    assert by_many.files == by_one.files


def test_the_front_computes_nothing_and_workers_know_no_keys(ready: RunningServer, cluster: RayCluster) -> None:
    assert b"onnxruntime" not in read(ready.process.pid, "maps")
    workers = cluster.workers()
    assert len(workers) == LEAST
    for worker in workers:
        assert b"onnxruntime" in read(worker, "maps")
        assert b"UNMINGLE_" not in read(worker, "environ")


def kill_actor(worker: int, actor: int, _: MemoryGroup | None) -> None:
    os.kill(actor, signal.SIGKILL)


def stop_actor(worker: int, actor: int, _: MemoryGroup | None) -> None:
    os.kill(actor, signal.SIGSTOP)


def crash(worker: int, actor: int, _: MemoryGroup | None) -> None:
    os.kill(worker, signal.SIGSEGV)


def leave_no_memory(worker: int, actor: int, group: MemoryGroup | None) -> None:
    assert group
    group.add(worker)


@pytest.fixture
def no_memory() -> Iterator[MemoryGroup]:
    """Of all that a process has when it comes here, nothing is counted: what it wants next is too much."""
    group = MemoryGroup(2**20)
    yield group
    group.close()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(kill_actor, "killed"), (crash, "crashed"), (stop_actor, "hung"), (leave_no_memory, "killed")],
)
def test_a_request_whose_worker_is_lost_is_answered_all_the_same(
    ready: RunningServer,
    cluster: RayCluster,
    long_stems: dict[str, bytes],
    request: pytest.FixtureRequest,
    fault: Callable[[int, int, MemoryGroup | None], None],
    reason: str,
) -> None:
    group = request.getfixturevalue("no_memory") if fault is leave_no_memory else None
    before = lost(ready)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(post, ready, noise(LONG_S), num_sources=8)
        ready.wait_for(separating)
        worker = busy(cluster)
        actor, _ = cluster.workers()[worker]
        fault(worker, actor, group)
        assert files_of(answer.result()) == long_stems
    assert lost(ready) == more(before, reason)
    assert not read(worker, "cmdline")
    assert not read(actor, "cmdline")


def test_a_request_whose_node_is_lost_is_answered_all_the_same(
    ready: RunningServer, cluster: RayCluster, long_stems: dict[str, bytes]
) -> None:
    """The first node has room for one of the workers, so at least one is on the second."""
    before = lost(ready)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answers = [pool.submit(post, ready, noise(LONG_S), num_sources=8) for _ in range(LEAST)]
        ready.wait_for(lambda body: body["queue"]["running"] == LEAST)
        there = [worker for worker, (_, raylet) in cluster.workers().items() if raylet == cluster.second]
        cluster.kill()
        assert [files_of(answer.result()) for answer in answers] == [long_stems] * LEAST
    assert there
    assert lost(ready) == {**before, "node": len(there)}
    assert not any(read(worker, "cmdline") for worker in there)
    cluster.add()


@pytest.fixture(scope="module")
def long_stems(small_server: RunningServer) -> dict[str, bytes]:
    return files_of(post(small_server, noise(LONG_S), num_sources=8))


def test_a_client_that_leaves_frees_its_worker(ready: RunningServer, cluster: RayCluster) -> None:
    before, workers = lost(ready), set(cluster.workers())
    with connect(ready) as client:
        client.sendall(request_bytes(noise(300)))
        ready.wait_for(separating)
    ready.wait_for(idle)
    ready.wait_for(lambda _: not ready.spooled())
    assert lost(ready) == before
    assert set(cluster.workers()) == workers


def test_there_are_more_workers_under_load_and_fewer_after(ready: RunningServer, cluster: RayCluster) -> None:
    location = submit(ready, noise(600), num_sources=8).headers["location"]
    until(lambda: sizes(ready) == (MOST, 0))
    assert len(cluster.workers()) == MOST
    ready.http.delete(location)
    until(lambda: sizes(ready) == (LEAST, 0))
    until(lambda: len(cluster.workers()) == LEAST)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, cluster: RayCluster, faults: Faults) -> Iterator[RunningServer]:
    """The faults are the server's own: its workers are Ray's."""
    environment = {
        "UNMINGLE_MODEL": str(SMALL_MODEL),
        "UNMINGLE_RAY_ADDRESS": cluster.address,
        "UNMINGLE_RAY_START_S": str(START_S),
        "UNMINGLE_TEST_FAULTS": str(faults.path),
    }
    command = (str(ROOT / "tests" / "service" / "faulty_server.py"),)
    running = RunningServer(tmp_path_factory.mktemp("faulty"), environment, command, start_s=START_S)
    yield running
    running.kill()


def test_what_raises_in_the_server_fails_its_job_and_the_next_is_done(faulty: RunningServer, faults: Faults) -> None:
    fails_its_job_alone(faulty, faults, "decode")


@pytest.mark.parametrize(
    ("stage", "error"), [("claim", "RuntimeError"), ("claim", "full disk"), ("finish", "full disk")]
)
def test_a_database_that_fails_for_a_while_loses_no_job(
    faulty: RunningServer, faults: Faults, stage: str, error: str
) -> None:
    loses_no_job(faulty, faults, stage, error)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory, cluster: RayCluster, elsewhere: Path) -> Iterator[RunningServer]:
    """A server of which one worker shares the data directory, and the others have a store in common with it."""
    if not cluster.hides:
        pytest.skip("this user may not give the second node another disk")
    environment = {
        "UNMINGLE_MODEL": str(SMALL_MODEL),
        "UNMINGLE_RAY_ADDRESS": cluster.address,
        "UNMINGLE_RAY_WORKERS": "2",
        "UNMINGLE_RAY_START_S": str(START_S),
        "UNMINGLE_STORE_URL": (tmp_path_factory.mktemp("apart") / "store").as_uri(),
    }
    directory = elsewhere / "server"
    directory.mkdir()
    running = RunningServer(directory, environment, start_s=START_S)
    until(lambda: sizes(running) == (2, 0))
    yield running
    running.kill()


def test_workers_with_another_disk_make_the_same_stems(
    apart: RunningServer, small_server: RunningServer, cluster: RayCluster, two_speakers: Path
) -> None:
    raylets = {raylet for _, raylet in cluster.workers().values()}
    assert cluster.second in raylets
    content = two_speakers.read_bytes()
    expected = files_of(post(small_server, content, format="flac"))
    with concurrent.futures.ThreadPoolExecutor() as pool:  # so that both have some of them
        answers = list(pool.map(lambda _: post(apart, content, format="flac"), range(4)))
    assert [files_of(answer) for answer in answers] == [expected] * 4


def test_workers_with_other_disks_share_a_long_job(apart: RunningServer, by_one: LongJob) -> None:
    by_many = LongJob.on(apart)
    assert by_many.spread
    assert by_many.files == by_one.files
    store = Path(httpx.URL(apart.environment["UNMINGLE_STORE_URL"]).path)
    until(lambda: not list(store.glob("staged-*")))


def test_a_worker_with_another_disk_that_is_lost_is_replaced(
    apart: RunningServer, cluster: RayCluster, long_stems: dict[str, bytes]
) -> None:
    """Nothing of what it had stays on its disk."""
    before = lost(apart)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answers = [pool.submit(post, apart, noise(LONG_S), num_sources=8) for _ in range(2)]
        apart.wait_for(lambda body: body["queue"]["running"] == 2)
        until(lambda: [*having_files(cluster)])
        there, scratch = next(having_files(cluster))
        os.kill(there, signal.SIGKILL)
        assert [files_of(answer.result()) for answer in answers] == [long_stems] * 2
    assert lost(apart) == more(before, "killed")
    assert not scratch.exists()


def having_files(cluster: RayCluster) -> Iterator[tuple[int, Path]]:
    """Workers that have fetched a recording, and where their files are."""
    for worker in cluster.workers():
        environment = dict(v.split(b"=", 1) for v in read(worker, "environ").split(b"\0") if v)
        scratch = Path(environment.get(b"TMPDIR", b"/none").decode())
        if list(scratch.glob("task-*/**/decoded")):
            yield worker, scratch


def test_workers_with_another_disk_need_a_store(cluster: RayCluster, elsewhere: Path) -> None:
    if not cluster.hides:
        pytest.skip("this user may not give the second node another disk")
    # More than the first node has.
    done = refused(elsewhere / "alone", {"UNMINGLE_RAY_ADDRESS": cluster.address, "UNMINGLE_RAY_CPUS": "2"})
    assert "does not share the server's data directory" in done.stderr
    assert "set UNMINGLE_STORE_URL" in done.stderr
