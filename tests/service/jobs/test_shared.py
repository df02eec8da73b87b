"""Two servers that share PostgreSQL and S3: whichever is asked, and whichever dies, every job is done once."""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import httpx
import pytest

from tests.service.conftest import SMALL_MODEL
from tests.service.harness import RunningServer, noise, problem_of
from tests.service.jobs.test_jobs import submit, wait
from tests.service.services import S3, Postgresql

pytestmark = [pytest.mark.slow, pytest.mark.services]

WITHIN_S = 150
LEASE_S = 8


class Cluster:
    """A database and a prefix in a bucket, and the servers that share them."""

    def __init__(self, directory: Path, postgresql: Postgresql, s3: S3) -> None:
        self._directory, self.s3 = directory, s3
        self.prefix = f"{s3.bucket}/{secrets.token_hex(4)}"
        self.environment = {
            "UNMINGLE_MODEL": str(SMALL_MODEL),
            "UNMINGLE_DATABASE_URL": postgresql.database(),
            "UNMINGLE_STORE_URL": f"s3://{self.prefix}",
            "UNMINGLE_JOB_LEASE_S": str(LEASE_S),
            "UNMINGLE_MAX_JOBS": "4",
            **s3.environment,
        }
        self.servers: list[RunningServer] = []

    def start(self, **more: str) -> RunningServer:
        directory = self._directory / f"server{len(self.servers)}"
        directory.mkdir()
        self.servers.append(RunningServer(directory, {**self.environment, **more}))
        return self.servers[-1]

    def stored(self) -> list[str]:
        """Names of all files of jobs."""
        store = fsspec.filesystem(
            "s3", key="test", secret="test", client_kwargs={"endpoint_url": self.s3.url}, use_listings_cache=False
        )
        found = [path.removeprefix(self.prefix + "/") for path in store.find(self.prefix)]
        return sorted(name for name in found if "/" in name)

    @contextlib.contextmanager
    def publishing(self, server: RunningServer, location: str) -> Iterator[None]:
        """While a server has the stems of a job, and the store does not take them."""
        self.s3.process.send_signal(signal.SIGSTOP)
        try:
            until((place(server, location) / "stems" / "manifest.json").exists)
            yield
        finally:
            self.s3.process.send_signal(signal.SIGCONT)

    def folders(self, location: str) -> set[str]:
        """What there is of a job: its upload, and the results of runs. What is not needed goes after it is done."""
        return {name.split("/")[1] for name in self.stored() if name.startswith(name_of(location))}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, postgresql: Postgresql, s3: S3) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"), postgresql, s3)
    made.start(), made.start()
    yield made
    for server in made.servers:
        server.kill()


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[tuple[RunningServer, RunningServer]]:
    """Two servers that run and have no jobs."""
    first, second = cluster.servers
    yield first, second
    for server in cluster.servers:
        if server.process.poll() is not None:
            server.start()


def until(what: Callable[[], object], say: Callable[[], object] = lambda: "") -> None:
    give_up = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < give_up, say()
        time.sleep(0.05)


def cached(server: RunningServer) -> list[str]:
    return [path.name for path in (server.directory / "data" / "cache").iterdir()]


def name_of(location: str) -> str:
    return location.rsplit("/", maxsplit=1)[-1]


def result(server: RunningServer, location: str, **query: object) -> httpx.Response:
    answer = server.http.get(location + "/result", params=query)
    assert answer.status_code == 200, answer.text
    return answer


def runner_of(cluster: Cluster, location: str) -> tuple[RunningServer, RunningServer]:
    """The server that runs a job, and the other one. A server has a job's upload while it works on it."""
    found: list[RunningServer] = []

    def look() -> bool:
        found[:] = [server for server in cluster.servers if (place(server, location) / "decoded").exists()]
        return len(found) == 1

    until(look)
    (other,) = (server for server in cluster.servers if server is not found[0])
    return found[0], other


def place(server: RunningServer, location: str) -> Path:
    return server.directory / "data" / "cache" / name_of(location)


def running_for_a_while(cluster: Cluster, location: str) -> tuple[RunningServer, RunningServer]:
    running, other = runner_of(cluster, location)
    until(lambda: running.http.get(location).json()["progress"] > 0.05)
    return running, other


LONG = {"num_sources": 4}
LONG_S = 60


def test_any_server_answers_for_a_job(cluster: Cluster, pair: tuple[RunningServer, RunningServer]) -> None:
    first, second = pair
    content = noise(3)
    location = submit(first, content, "key").headers["location"]
    again = submit(second, content, "key")
    assert (again.status_code, again.headers["location"]) == (200, location)
    wait(second, location, "done")
    whole = result(first, location).content
    assert result(second, location).content == whole
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        stem = archive.read("stem_2.wav")
    assert second.http.get(location + "/manifest").json() == first.http.get(location + "/manifest").json() == manifest
    part = second.http.get(location + "/result", params={"stem": 2}, headers={"range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, stem[1000:2000])
    assert second.http.get(location + "/stems/1").content[:4] == b"fLaC"
    assert len(second.http.get(location + "/peaks").json()["low"]) > 0
    assert "unmingle_servers 2.0" in first.http.get("/metrics").text
    names = [f"{name_of(location)}/run-1/{name}" for name in ("manifest.json", "stem_1.wav", "stem_2.wav")]
    assert set(names) <= set(cluster.stored())
    until(lambda: cluster.folders(location) == {"run-1"}, cluster.stored)
    assert second.http.delete(location).status_code == 204
    for server in pair:
        problem_of(server.http.get(location), 404, "job_unknown")
        problem_of(server.http.get(location + "/result"), 404, "job_unknown")
        until(lambda server=server: not cached(server), lambda server=server: cached(server))
    assert cluster.stored() == []


def test_events_come_from_the_other_server(cluster: Cluster, pair: tuple[RunningServer, RunningServer]) -> None:
    location = submit(pair[0], noise(LONG_S), num_sources=8).headers["location"]
    _, other = runner_of(cluster, location)
    seen = []
    with other.http.stream("GET", location + "/events", timeout=WITHIN_S) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
    assert seen[-1]["state"] == "done"
    progress = [status["progress"] for status in seen]
    assert progress == sorted(progress)
    assert any(0 < value < 1 for value in progress)
    assert other.http.delete(location).status_code == 204


def test_a_job_is_stopped_that_is_deleted_on_the_other_server(
    cluster: Cluster, pair: tuple[RunningServer, RunningServer]
) -> None:
    location = submit(pair[0], noise(LONG_S), **LONG).headers["location"]
    running, other = running_for_a_while(cluster, location)
    assert other.http.delete(location).status_code == 204
    problem_of(running.http.get(location), 404, "job_unknown")
    until(lambda: not cached(running) and not cached(other), lambda: (cached(running), cached(other)))
    next_one = submit(running, noise(1)).headers["location"]
    wait(other, next_one, "done")
    other.http.delete(next_one)
    until(lambda: cluster.stored() == [], cluster.stored)


def test_limits_are_those_of_all_servers(pair: tuple[RunningServer, RunningServer]) -> None:
    first, second = pair
    content = noise(300)  # so that none is done before the last one is sent
    accepted = [submit(server, content, num_sources=8).headers["location"] for server in (first, second, first, second)]
    problem = problem_of(submit(second, noise(1)), 503, "server_full")
    assert problem["limit"] == 4
    positions = [second.http.get(location).json()["position"] for location in accepted]
    assert positions == sorted(positions)
    for location in accepted:
        assert first.http.delete(location).status_code == 204

    def there_is_room() -> bool:
        answer = submit(second, noise(1))
        accepted.append(answer.headers.get("location", ""))
        return answer.status_code == 202

    until(there_is_room)
    wait(first, accepted[-1], "done")
    assert first.http.delete(accepted[-1]).status_code == 204


@pytest.mark.parametrize("stage", ["queued", "running", "publishing"])
def test_the_other_server_does_the_job_of_one_that_is_killed(
    cluster: Cluster, pair: tuple[RunningServer, RunningServer], stage: str
) -> None:
    seconds = 5 if stage == "queued" else LONG_S
    content, key = noise(seconds), f"killed while {stage}"
    location = submit(pair[0], content, key, **LONG).headers["location"]
    if stage == "queued":
        running, other = pair
    else:
        running, other = running_for_a_while(cluster, location)
    with cluster.publishing(running, location) if stage == "publishing" else contextlib.nullcontext():
        running.kill()
    again = submit(other, content, key, **LONG)
    assert (again.status_code, again.headers["location"]) == (200, location)
    wait(other, location, "done", within_s=WITHIN_S)
    with zipfile.ZipFile(io.BytesIO(result(other, location).content)) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("manifest.json"))["seconds"] == seconds
    until(lambda: len(cluster.folders(location)) == 1, cluster.stored)
    running.start()
    assert running.http.get(location).json()["state"] == "done"
    assert running.http.delete(location).status_code == 204
    until(lambda: cluster.stored() == [], cluster.stored)


@pytest.mark.parametrize("stage", ["running", "publishing"])
def test_a_server_that_was_stopped_and_wakes_up_does_no_harm(
    cluster: Cluster, pair: tuple[RunningServer, RunningServer], stage: str
) -> None:
    location = submit(pair[0], noise(LONG_S), **LONG).headers["location"]
    stopped, other = running_for_a_while(cluster, location)
    told = stopped.log.stat().st_size
    with cluster.publishing(stopped, location) if stage == "publishing" else contextlib.nullcontext():
        stopped.process.send_signal(signal.SIGSTOP)
    try:
        wait(other, location, "done", within_s=WITHIN_S)
        whole = result(other, location).content
        until(lambda: "run-2" in cluster.folders(location), cluster.stored)
    finally:
        stopped.process.send_signal(signal.SIGCONT)
    until(lambda: b"another server" in stopped.log.read_bytes()[told:])
    until(lambda: not (place(stopped, location) / "upload").exists())
    until(lambda: cluster.folders(location) == {"run-2"}, cluster.stored)
    assert result(stopped, location).content == whole == result(other, location).content
    after = [submit(stopped, noise(1)).headers["location"] for _ in range(2)]
    for each in after:
        wait(stopped, each, "done")
    for each in (location, *after):
        assert stopped.http.delete(each).status_code == 204


def test_a_server_that_ends_in_order_leaves_its_job_at_once(
    cluster: Cluster, pair: tuple[RunningServer, RunningServer]
) -> None:
    location = submit(pair[0], noise(LONG_S), **LONG).headers["location"]
    ending, other = running_for_a_while(cluster, location)
    ending.terminate()
    assert ending.process.wait(timeout=WITHIN_S) == 0
    assert wait(other, location, "running", "done")
    wait(other, location, "done", within_s=WITHIN_S)
    other.http.delete(location)


def test_while_the_database_is_away_clients_are_told_and_then_all_is_well(
    cluster: Cluster, pair: tuple[RunningServer, RunningServer], postgresql: Postgresql
) -> None:
    location = submit(pair[0], noise(LONG_S), **LONG).headers["location"]
    running, other = running_for_a_while(cluster, location)
    postgresql.stop()
    try:
        for server in pair:
            until(lambda server=server: server.http.get("/readyz").status_code == 503)
            assert "cannot be read" in server.http.get("/health").json()["jobs"]
            for refused in (submit(server, noise(1)), server.http.get(location)):
                problem_of(refused, 503, "not_ready")
                assert int(refused.headers["retry-after"]) >= 1
            assert server.http.post("/separate", files={"file": noise(0.5)}).status_code == 200
        assert "unmingle_ready" in running.http.get("/metrics").text
    finally:
        postgresql.start()
    for server in pair:
        until(lambda server=server: server.http.get("/readyz").status_code == 200)
    wait(other, location, "done", within_s=WITHIN_S)
    assert running.http.delete(location).status_code == 204
