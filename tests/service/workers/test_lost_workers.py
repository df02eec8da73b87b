"""A worker of a real server that is killed, stopped or out of memory, at every stage: only what it had is affected."""

from __future__ import annotations

import concurrent.futures
import io
import os
import re
import signal
import time
import zipfile
from collections.abc import Iterator

import httpx
import pytest
import soundfile

from tests.service.conftest import SMALL_MODEL
from tests.service.harness import (
    ROOT,
    Faults,
    RunningServer,
    StartServer,
    children_of,
    connect,
    fork_servers_of,
    idle,
    noise,
    post,
    problem_of,
    read,
    request_bytes,
    separating,
    workers_of,
)
from tests.service.jobs.test_jobs import submit, wait
from tests.service.memory_group import MemoryGroup
from unmingle.model.options import SeparationOptions
from unmingle.model.separator import Separator

pytestmark = pytest.mark.slow

SILENCE_S = 10
WITHIN_S = 120
MOST_IDLE_BYTES = 250 * 2**20

MOST_BYTES = 768 * 2**20
"""Of all processes of a server together; it takes a third of that."""

STRIKES = [
    ("embed", "SIGKILL", "killed"),
    ("cluster", "no memory", "crashed"),
    ("write", "SIGSTOP", "hung"),
    ("pack", "SIGSEGV", "crashed"),
    ("embed", "SIGSTOP", "hung"),
    ("cluster", "SIGKILL", "killed"),
    ("cluster", "SIGSTOP", "hung"),
    ("write", "SIGKILL", "killed"),
    ("pack", "SIGKILL", "killed"),
    ("pack", "SIGSTOP", "hung"),
]
"""Where, how, and what is seen of it. Each way at every stage, but for running out of memory, which is below."""
STAGES = ("embed", "cluster", "write", "pack")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, faults: Faults) -> Iterator[RunningServer]:
    environment = {
        "UNMINGLE_MODEL": str(SMALL_MODEL),
        "UNMINGLE_TEST_FAULTS": str(faults.path),
        "UNMINGLE_WORKER_SILENCE_S": str(SILENCE_S),
    }
    command = (str(ROOT / "tests" / "service" / "faulty_server.py"),)
    running = RunningServer(tmp_path_factory.mktemp("struck"), environment, command)
    yield running
    running.kill()


def strike(faults: Faults, stage: str, how: str, times: int) -> None:
    """From now on: whoever comes to the stage, so many times."""
    for number in range(times):
        (faults.path.parent / f"strike-{number}").touch()
    faults.set(strike={stage: how})


def lost(server: RunningServer) -> dict[str, int]:
    """Workers so far, by the reason."""
    found = re.findall(r'^unmingle_workers_lost_total\{reason="(\w+)"\} (\d+)', metrics(server), re.MULTILINE)
    return {reason: int(count) for reason, count in found}


def metrics(server: RunningServer) -> str:
    return server.http.get("/metrics").text


def more(before: dict[str, int], reason: str, count: int) -> dict[str, int]:
    return {**before, reason: before[reason] + count}


def stems_of(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.endswith(".wav")}


def well(server: RunningServer) -> None:
    server.wait_for(lambda body: body["status"] == "ok", WITHIN_S)
    assert server.http.get("/readyz").status_code == 200
    server.wait_for(idle)
    server.wait_for(lambda _: not server.spooled())
    server.wait_for(lambda _: not server.unlinked())
    assert len(workers_of(server.process.pid)) == 1


@pytest.mark.parametrize(("stage", "how", "reason"), STRIKES)
def test_a_request_whose_worker_is_lost_is_answered_all_the_same(
    server: RunningServer, faults: Faults, stage: str, how: str, reason: str
) -> None:
    check_all_are_answered(server, faults, stage, how, reason)


def check_all_are_answered(server: RunningServer, faults: Faults, stage: str, how: str, reason: str) -> None:
    recording = noise(2)
    expected, before = stems_of(post(server, recording)), lost(server)
    strike(faults, stage, how, 1)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answers = [pool.submit(post, server, recording) for _ in range(3)]
        while not all(answer.done() for answer in answers):
            assert server.http.get("/livez", timeout=20).status_code == 200
            time.sleep(0.05)
        assert [stems_of(answer.result()) for answer in answers] == [expected] * 3
    assert lost(server) == more(before, reason, 1)
    well(server)


@pytest.fixture(scope="module")
def held_to_memory(server: RunningServer) -> Iterator[None]:
    group = MemoryGroup(MOST_BYTES)
    group.add(server.process.pid)
    for child in (*fork_servers_of(server.process.pid), *workers_of(server.process.pid)):
        group.add(child)
    yield
    server.kill()
    group.close()


@pytest.mark.usefixtures("held_to_memory")
@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_that_uses_up_the_memory_is_the_one_that_the_kernel_ends(
    server: RunningServer, faults: Faults, stage: str
) -> None:
    check_all_are_answered(server, faults, stage, "out of memory", "killed")


@pytest.mark.parametrize(("stage", "how", "reason"), STRIKES[:1])
def test_a_request_that_loses_two_workers_is_refused(
    server: RunningServer, faults: Faults, stage: str, how: str, reason: str
) -> None:
    before = lost(server)
    strike(faults, stage, how, 2)
    answer = post(server, noise(2))
    problem_of(answer, 503, "worker_lost")
    assert int(answer.headers["retry-after"]) >= 1
    assert lost(server) == more(before, reason, 2)
    well(server)
    assert post(server, noise(2)).status_code == 200


@pytest.mark.parametrize(("stage", "how", "reason"), STRIKES[:3])
def test_a_job_whose_worker_is_lost_is_done_once(
    server: RunningServer, faults: Faults, stage: str, how: str, reason: str
) -> None:
    recording = noise(3)
    expected, before = stems_of(post(server, recording, num_sources=2)), lost(server)
    strike(faults, stage, how, 1)
    location = submit(server, recording, num_sources=2, background="share").headers["location"]
    wait(server, location, "done")
    assert stems_of(server.http.get(location + "/result")) == expected
    assert lost(server) == more(before, reason, 1)
    well(server)


def test_a_job_that_loses_two_workers_fails_and_says_so(server: RunningServer, faults: Faults) -> None:
    strike(faults, "embed", "SIGKILL", 2)
    location = submit(server, noise(3)).headers["location"]
    assert wait(server, location, "failed")["problem"]["code"] == "worker_lost"
    well(server)
    wait(server, submit(server, noise(3)).headers["location"], "done")


def test_while_the_only_worker_is_replaced_work_is_taken_and_waits(server: RunningServer, faults: Faults) -> None:
    """Also an upload that was being decoded then. Whoever asks is told that the server is not ready."""
    [worker] = workers_of(server.process.pid)
    [decoders] = fork_servers_of(server.process.pid)
    faults.set(hold=True)
    os.kill(decoders, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        try:
            decoding = pool.submit(post, server, noise(1))
            server.wait_for(lambda _: any((request / "decoded").exists() for request in server.spooled()))
            os.kill(worker, signal.SIGKILL)
            server.wait_for(lambda body: body["status"] == "starting")
            os.kill(decoders, signal.SIGCONT)
            sent = pool.submit(post, server, noise(2))
            server.wait_for(lambda body: body["queue"]["waiting"] == 2)
            refused = server.http.get("/readyz")
            problem_of(refused, 503, "not_ready")
            assert int(refused.headers["retry-after"]) >= 1
            assert 'unmingle_workers{state="starting"} 1.0' in metrics(server)
        finally:
            os.kill(decoders, signal.SIGCONT)
            faults.set()
        assert (decoding.result().status_code, sent.result().status_code) == (200, 200)
    well(server)
    assert workers_of(server.process.pid) != [worker]


def test_stems_have_the_bytes_of_the_library(server: RunningServer) -> None:
    recording = noise(2)
    samples, rate = soundfile.read(io.BytesIO(recording), dtype="float32")
    library = Separator.load(SMALL_MODEL, device="cpu").separate(
        samples, rate, options=SeparationOptions(num_sources=2, background="share")
    )
    served = stems_of(post(server, recording, num_sources=2))
    for number, stem in enumerate(library.stems, 1):
        found, _ = soundfile.read(io.BytesIO(served[f"stem_{number}.wav"]), dtype="float32")
        assert found.tobytes() == stem.tobytes()


def test_a_client_that_leaves_frees_its_worker(server: RunningServer) -> None:
    with connect(server) as client:
        client.sendall(request_bytes(noise(600)))
        server.wait_for(separating)
    server.wait_for(idle)
    well(server)


def test_the_front_loads_no_model(small_server: RunningServer) -> None:
    assert post(small_server, noise(1)).status_code == 200
    [worker] = workers_of(small_server.process.pid)
    assert b"onnxruntime" in read(worker, "maps")
    assert b"onnxruntime" not in read(small_server.process.pid, "maps")
    assert b"UNMINGLE_" not in read(worker, "environ")


def test_all_processes_together_take_little_while_nobody_asks(start_server: StartServer) -> None:
    """With the bundled model. What several of them have in common is counted once (PSS)."""
    server = start_server()
    give_up = time.monotonic() + WITHIN_S
    while (taken := sum(shared_out_bytes(process) for process in tree(server.process.pid))) > MOST_IDLE_BYTES:
        assert time.monotonic() < give_up, f"{taken / 2**20:.0f} MiB"
        time.sleep(0.2)
    assert taken > 2**20


def tree(process: int) -> list[int]:
    return [process, *(each for child in children_of(process) for each in tree(child))]


def shared_out_bytes(process: int) -> int:
    found = re.search(rb"^Pss:\s+(\d+)", read(process, "smaps_rollup"), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


@pytest.mark.parametrize("state", [signal.SIGCONT, signal.SIGSTOP])
def test_workers_end_with_the_server(start_small: StartServer, state: signal.Signals) -> None:
    server = start_small(UNMINGLE_WORKER_PROCESSES="2")
    give_up = time.monotonic() + WITHIN_S
    while 'unmingle_workers{state="ready"} 2' not in metrics(server):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    workers = workers_of(server.process.pid)
    assert len(workers) == 2
    with concurrent.futures.ThreadPoolExecutor() as pool:
        sent = pool.submit(post, server, noise(300), num_sources=8)
        server.wait_for(separating)
        for worker in workers:
            os.kill(worker, state)
        server.process.kill()
        server.process.wait(timeout=WITHIN_S)
        with pytest.raises(httpx.TransportError):
            sent.result()
    while any(read(worker, "cmdline") for worker in workers):
        assert time.monotonic() < give_up
        time.sleep(0.01)
