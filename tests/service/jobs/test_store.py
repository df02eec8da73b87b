"""The jobs in each kind of database: claimed once, done once, whichever servers there are and whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from unmingle.service.jobs.job import Job
from unmingle.service.jobs.quota import Quota, QuotaError
from unmingle.service.jobs.store import JobStore
from unmingle.service.jobs.tables import servers

OpenStore = Callable[[], JobStore]

LEASE_S = 3600.0
"""None of these tests waits for a lease to end."""


POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.services)


def place_of(kind: str, request: pytest.FixtureRequest, directory: Path) -> Path | str:
    """A new database: of one server, or by a URL for several."""
    if kind == "postgresql":
        return request.getfixturevalue("postgresql").database()
    return directory / "jobs.sqlite" if kind == "file" else f"sqlite:///{directory / 'jobs.sqlite'}"


@pytest.fixture(params=["file", POSTGRESQL])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    opened = JobStore(place_of(request.param, request, tmp_path), LEASE_S)
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", POSTGRESQL])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStore]:
    """Opens the same database as often as it is called, as another server each time."""
    place, opened = place_of(request.param, request, tmp_path), []

    def open_it() -> JobStore:
        opened.append(JobStore(place, LEASE_S))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


def add(store: JobStore, job_id: str, owner: str = "alice", key: str | None = None, **others: object) -> Job:
    return store.add(job_id, owner, "{}", f"fingerprint of {job_id}", key, None, **others)


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


def dies(store: JobStore, by: JobStore) -> None:
    """The lease of a server is over, as `by` sees it."""
    store.members.leave()
    assert by.members.beat({})


def test_a_job_from_its_upload_to_its_end(store: JobStore) -> None:
    assert store.is_new
    assert (store.all(), store.claim(), store.counts()["queued"]) == ([], None, 0)
    job = store.add("a", "alice", '{"seed": 1}', "f", "key", 2.5, 100)
    assert job == store.get("a") == store.with_key("alice", "key")
    assert (job.state, job.owner, job.audio_seconds, job.stored_bytes) == ("queued", "alice", 2.5, 100)
    assert abs(job.created - time.time()) < 60
    assert store.with_key("bob", "key") is None
    claimed = store.claim()
    assert claimed and (claimed.id, claimed.state, claimed.attempts, claimed.run) == ("a", "running", 1, 1)
    assert claimed.server == store.server
    store.measured(claimed, 3.0)
    assert store.finish(claimed, None, 700)
    done = store.get("a")
    assert done and (done.state, done.audio_seconds, done.stored_bytes, done.problem) == ("done", 3.0, 700, None)
    assert not store.finish(claimed, {"code": "internal"})
    store.remove("a")
    assert store.get("a") is None


def test_jobs_keep_their_order_and_can_be_skipped(store: JobStore) -> None:
    for name in "abcd":
        add(store, name)
    first = store.claim()
    second = store.claim({"b"})
    assert first and second and (first.id, second.id) == ("a", "c")
    assert store.requeue(first, forgive=True)
    assert ids(store.unfinished()) == ["a", "b", "c", "d"]
    again = store.claim()
    assert again and (again.id, again.attempts, again.run) == ("a", 1, 2)
    problem = {"code": "audio_unusable", "detail": "ü\0"}
    assert store.finish(again, problem)
    failed = store.get("a")
    assert failed and (failed.state, failed.problem) == ("failed", problem)
    assert store.counts() == {"queued": 2, "running": 1, "done": 0, "failed": 1}


def test_a_key_stands_for_one_job_of_its_owner(store: JobStore) -> None:
    assert add(store, "a", "alice", "key").id == "a"
    assert add(store, "b", "alice", "key").id == "a"
    assert add(store, "c", "bob", "key").id == "c"
    assert ids(store.all()) == ["a", "c"]


def test_finished_jobs_age_and_expire(store: JobStore) -> None:
    add(store, "a"), add(store, "b")
    job = store.claim()
    assert job and store.finish(job)
    store.age(5.0)  # for the first time: there may have been no server for long
    before = store.get("a").age_s
    assert before <= 5.0
    assert store.expired(0.0, before + 1.0) == []
    assert store.expired(0.0, before - 1.0) == ["a"]
    store.age(0.0)
    assert (store.get("a").age_s, store.get("b").age_s) == (before, 0.0)


def test_every_job_is_claimed_once_however_many_ask(open_store: OpenStore) -> None:
    first = open_store()
    for number in range(24):
        add(first, str(number))
    second = open_store()
    first.members.beat({}), second.members.beat({})
    claimed: list[Job] = []

    def take(store: JobStore) -> None:
        while job := store.claim():
            claimed.append(job)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(take, (first, second) * 3))
    assert sorted(int(job.id) for job in claimed) == list(range(24))
    assert {job.run for job in claimed} == {1}


def test_a_key_is_taken_once_however_many_servers_have_it(open_store: OpenStore) -> None:
    stores = [open_store(), open_store()]
    ready = threading.Barrier(6)

    def send(number: int) -> str:
        ready.wait(timeout=60)
        return add(stores[number % 2], f"job {number}", "alice", "key").id

    with ThreadPoolExecutor(6) as threads:
        given = set(threads.map(send, range(6)))
    assert len(given) == 1
    assert ids(stores[0].all()) == list(given)


def test_limits_are_those_of_all_servers_together(open_store: OpenStore) -> None:
    stores = [open_store(), open_store()]
    ready = threading.Barrier(6)

    def send(number: int) -> bool:
        ready.wait(timeout=60)
        try:
            add(stores[number % 2], f"job {number}", quota=Quota(100, 3))
        except QuotaError as error:
            assert (error.of_owner, error.count, error.most) == (True, 3, 3)
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(send, range(6))) == 3
    assert add(stores[0], "of bob", "bob", quota=Quota(4, 3))
    with pytest.raises(QuotaError, match="4 of 4"):
        add(stores[1], "of carol", "carol", quota=Quota(4, 3))


def test_the_job_of_a_server_that_died_is_taken_over_and_it_cannot_interfere(open_store: OpenStore) -> None:
    first, second = open_store(), open_store()
    first.members.beat({}), second.members.beat({})
    add(first, "a")
    lost = first.claim()
    assert lost and lost.run == 1
    assert second.claim() is None, "its server is alive"
    dies(first, second)
    taken = second.claim()
    assert taken and (taken.id, taken.run, taken.attempts, taken.server) == ("a", 2, 2, second.server)
    # The first one wakes up: it was only stopped.
    (seen,) = first.members.beat({"a": (lost.run, 0.9)})
    assert (seen.run, seen.server, seen.progress) == (2, second.server, 0.0)
    first.measured(lost, 77.0)
    assert not first.requeue(lost, forgive=True)
    assert not first.finish(lost, {"code": "internal"})
    assert first.claim() is None
    job = first.get("a")
    assert job and (job.state, job.audio_seconds, job.problem) == ("running", None, None)
    assert second.finish(taken)
    assert not first.finish(lost)


def test_servers_that_could_not_speak_for_a_while_get_the_time_to_do_so(open_store: OpenStore) -> None:
    first, second = open_store(), open_store()
    first.members.beat({}), second.members.beat({})
    add(first, "a")
    assert first.claim()
    with first.database.writing() as connection:  # the database was away for two hours
        connection.execute(update(servers).values(seen=servers.c.seen - 2 * LEASE_S))
    second.members.beat({})
    assert second.claim() is None
    first.members.beat({})
    assert second.members.alive() == 2


def test_progress_and_deletion_are_seen_by_all(open_store: OpenStore) -> None:
    first, second = open_store(), open_store()
    add(first, "a"), add(first, "b")
    job = first.claim()
    assert job
    first.members.beat({"a": (1, 0.25)})
    assert [(standing.id, standing.progress) for standing in second.members.beat({})] == [("a", 0.25), ("b", 0.0)]
    assert second.members.alive() == 2
    second.remove("a")
    assert [standing.id for standing in first.members.beat({"a": (1, 0.5)})] == ["b"]
    assert not first.finish(job)
    assert ids(first.all()) == ["b"]


def test_two_servers_do_not_make_jobs_age_twice_as_fast(open_store: OpenStore) -> None:
    first, second = open_store(), open_store()
    add(first, "a")
    job = first.claim()
    assert job and first.finish(job)
    first.age(0.0)
    start, age = time.monotonic(), first.get("a").age_s
    while time.monotonic() - start < 0.5:
        first.age(60.0)  # as much as ever has passed here: the other one has counted most of it
        second.age(60.0)
    elapsed = time.monotonic() - start
    aged = first.get("a").age_s - age
    assert 0.1 < aged < elapsed + 0.5


def test_what_a_server_left_is_queued_again_by_its_successor_at_once(open_store: OpenStore) -> None:
    first, other = open_store(), open_store()
    first.members.beat({}), other.members.beat({})
    add(first, "a"), add(first, "b")
    assert first.claim() and other.claim()
    successor = open_store()
    assert ids(successor.resume(first.server)) == ["a"]
    assert [job.state for job in successor.all()] == ["queued", "running"]
    assert other.members.alive() == 1


def test_servers_agree_on_where_the_files_are(open_store: OpenStore) -> None:
    first, second = open_store(), open_store()
    assert first.members.agree_on_store("s3://one", "") == "s3://one"
    assert first.members.agree_on_store("s3://two", "") == "s3://two", "there is nothing in the first one"
    first.members.beat({})
    assert second.members.agree_on_store("s3://one", "") == "s3://two"
    assert second.members.agree_on_store("s3://one", first.server) == "s3://one", "it is its own successor"
    first.members.leave()
    add(first, "a")
    assert second.members.agree_on_store("s3://three", "") == "s3://one"
