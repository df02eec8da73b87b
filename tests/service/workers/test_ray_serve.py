"""A server behind Ray Serve, and what a server on Ray is refused at the start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.service import schemathesis_run
from tests.service.conftest import SMALL_MODEL
from tests.service.harness import (
    RunningServer,
    connect,
    encoded,
    free_port,
    idle,
    noise,
    post,
    problem_of,
    request_bytes,
    separating,
)
from tests.service.jobs.test_jobs import submit, wait
from tests.service.ray_cluster import CPUS, MARKS, START_S, WITHIN_S, RayCluster, files_of, refused, until
from tests.service.services import Postgresql

pytestmark = MARKS


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, cluster: RayCluster) -> Iterator[RunningServer]:
    """The server behind Ray Serve."""
    environment = {
        "UNMINGLE_MODEL": str(SMALL_MODEL),
        "UNMINGLE_RAY_ADDRESS": cluster.address,
        "UNMINGLE_RAY_START_S": str(START_S),
        "UNMINGLE_MAX_REQUESTS": "1",
    }
    running = RunningServer(tmp_path_factory.mktemp("serve"), environment, options=("--ray",), start_s=START_S)
    yield running
    running.kill()


def test_ray_serve_passes_big_uploads_and_answers(serve: RunningServer, small_server: RunningServer) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (45 * 48_000, 2)).astype(np.float32)
    content = encoded(samples, 48_000)
    assert len(content) > 16 * 2**20
    how = {"num_sources": 2, "spatial": "off"}
    answer = post(serve, content, **how)
    assert len(answer.content) > 32 * 2**20
    assert files_of(answer) == files_of(post(small_server, content, **how))


def test_a_full_server_behind_ray_serve_says_when_to_come_again(serve: RunningServer) -> None:
    with connect(serve) as client:
        client.sendall(request_bytes(noise(300)))
        serve.wait_for(separating)
        refused = post(serve, noise(1))
        problem_of(refused, 503, "server_full")
        assert int(refused.headers["retry-after"]) >= 1
    serve.wait_for(idle)
    assert post(serve, noise(1)).status_code == 200


def test_the_server_behind_ray_serve_stops(serve: RunningServer, cluster: RayCluster) -> None:
    before = len(cluster.workers())
    serve.terminate()
    assert serve.process.wait(timeout=WITHIN_S) == 0
    until(lambda: len(cluster.workers()) == before - 1)
    with pytest.raises(httpx.TransportError):
        serve.http.get("/livez")


def two_fronts(cluster: RayCluster, postgresql: Postgresql, directory: Path, more: dict[str, str]) -> RunningServer:
    """A server behind Ray Serve, of which one front at the least is ready."""
    environment = {
        "UNMINGLE_MODEL": str(SMALL_MODEL),
        "UNMINGLE_RAY_ADDRESS": cluster.address,
        "UNMINGLE_RAY_FRONTS": "2",
        "UNMINGLE_DATABASE_URL": postgresql.database(),
        "UNMINGLE_STORE_URL": (directory / "store").as_uri(),
        **more,
    }
    return RunningServer(directory, environment, options=("--ray",), start_s=240)


def test_several_fronts_behind_ray_serve_share_their_jobs(
    cluster: RayCluster, postgresql: Postgresql, tmp_path: Path
) -> None:
    running = two_fronts(cluster, postgresql, tmp_path, {})
    try:
        until(lambda: "unmingle_servers 2.0" in running.http.get("/metrics").text)
        location = submit(running, noise(1)).headers["location"]
        wait(running, location, "done")
        [stems] = {frozenset(files_of(running.http.get(location + "/result")).items()) for _ in range(12)}
        assert {name for name, _ in stems} >= {"activity.rttm"}  # the same, whichever of them was asked
    finally:
        running.terminate()
        assert running.process.wait(timeout=WITHIN_S) == 0
        running.kill()


def test_ray_serve_stops_while_a_front_waits_for_room(
    cluster: RayCluster, postgresql: Postgresql, tmp_path: Path
) -> None:
    """The cluster has room for one of them and its worker."""
    more = {"UNMINGLE_RAY_START_S": str(START_S), "UNMINGLE_RAY_CPUS": str(max(CPUS) - 2)}
    running = two_fronts(cluster, postgresql, tmp_path, more)
    try:
        assert post(running, noise(1)).status_code == 200
        running.terminate()
        assert running.process.wait(timeout=WITHIN_S) == 0
        until(lambda: not cluster.workers())
    finally:
        running.kill()


def test_several_fronts_behind_ray_serve_need_something_to_share(cluster: RayCluster, tmp_path: Path) -> None:
    done = refused(tmp_path, {"UNMINGLE_RAY_ADDRESS": cluster.address, "UNMINGLE_RAY_FRONTS": "2"}, "--ray")
    assert "UNMINGLE_RAY_FRONTS=2: several fronts share their jobs; expected UNMINGLE_DATABASE_URL" in done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"UNMINGLE_RAY_ADDRESS": "127.0.0.1:{port}"},
            "No Ray cluster answers at UNMINGLE_RAY_ADDRESS=127.0.0.1:{port}",
        ),
        ({"UNMINGLE_RAY_ADDRESS": "somewhere"}, "expected auto, host:port or ray://host:port"),
        ({"UNMINGLE_RAY_CPUS": "64"}, "room for 0 workers of 64 CPUs, and 1 are wanted"),
        ({"UNMINGLE_RAY_GPUS": "0.5"}, "room for 0 workers of 1 CPUs and 0.5 GPUs"),
        ({"UNMINGLE_RAY_GPUS": "1.5"}, "expected a part of one GPU, or whole ones"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(
    cluster: RayCluster, tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    port = str(free_port())
    asked = {name: value.format(port=port) for name, value in settings.items()}
    done = refused(tmp_path, {"UNMINGLE_RAY_ADDRESS": cluster.address, "UNMINGLE_RAY_START_S": "1", **asked})
    assert message.format(port=port) in done.stderr


def test_schemathesis_finds_nothing(cluster: RayCluster, tmp_path: Path) -> None:
    environment = {"UNMINGLE_MODEL": str(SMALL_MODEL), "UNMINGLE_RAY_ADDRESS": cluster.address}
    running = RunningServer(tmp_path, {**environment, **schemathesis_run.SETTINGS})
    try:
        schemathesis_run.finds_nothing(running, tmp_path, 2, "^/(jobs|separate)")
    finally:
        running.kill()
