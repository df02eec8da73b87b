"""Event streams: as many as there may be, told of each change at once, and over when the job is."""

from __future__ import annotations

import contextlib
import json
import time

from tests.service.harness import StartServer, noise, problem_of
from tests.service.jobs.test_jobs import submit
from tests.service.test_slow_clients import held, wait_for_held


def test_streams_are_counted_and_told_at_once(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_MAX_STREAMS="2")
    running = submit(server, noise(1200), num_sources=8).headers["location"]
    waiting = submit(server, noise(0.5)).headers["location"]
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(server.http.stream("GET", waiting + "/events")) for _ in "12"]
        for stream in streams:
            assert (stream.status_code, stream.headers["x-accel-buffering"]) == (200, "no")
        refused = server.http.get(waiting + "/events")
        problem_of(refused, 503, "server_full")
        assert int(refused.headers["retry-after"]) >= 1
        lines = streams[0].iter_lines()
        assert next(lines) == "event: status"
        assert json.loads(next(lines).removeprefix("data: "))["position"] == 1
        began = time.monotonic()
        assert server.http.delete(running).status_code == 204
        rest = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        assert rest[-1]["state"] == "done"
        assert time.monotonic() - began < 60
    wait_for_held(server, "streams", 0)
    assert held(server, "jobs") == 0
