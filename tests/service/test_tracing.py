"""Traces of a real server, as a collector gets them over HTTP."""

from __future__ import annotations

import gzip
import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.service.harness import RunningServer, StartServer, noise, post
from tests.service.jobs.test_jobs import wait

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra 'tracing' is not installed"
)

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WITHIN_S = 60


class Collector:
    """Takes OTLP over HTTP, and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, object]] = []
        """(service.name, span)"""
        keep = self._keep

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                keep(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _keep(self, body: bytes) -> None:
        for resource in trace_service.ExportTraceServiceRequest.FromString(body).resource_spans:
            (service,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
            self.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]

    def wait(self, until: Callable[[], bool]) -> None:
        give_up = time.monotonic() + WITHIN_S
        while not until():
            if time.monotonic() > give_up:
                pytest.fail(f"The collector has only {[(service, span.name) for service, span in self.spans]}")
            time.sleep(0.05)

    def one(self, name: str) -> object:
        (found,) = [span for _, span in self.spans if span.name == name]
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def attributes(span: object) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def end(server: RunningServer) -> None:
    server.terminate()
    assert server.process.wait(timeout=WITHIN_S) == 0


def test_a_request_is_followed_through_the_queue_and_the_worker(
    start_server: StartServer, collector: Collector
) -> None:
    server = start_server(UNMINGLE_TRACES_URL=collector.url, OTEL_BSP_SCHEDULE_DELAY="200")
    answer = server.http.post(
        "/separate",
        params={"num_sources": 2},
        files={"file": noise(2.0)},
        headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
    )
    assert answer.status_code == 200
    assert server.http.get("/no-such-path").status_code == 404
    collector.wait(lambda: any(span.name == "work" for _, span in collector.spans))
    end(server)  # sends what has not been sent
    request, decode, queue, work = (collector.one(name) for name in ("POST /separate", "decode", "queue", "work"))
    assert {span.trace_id.hex() for span in (request, decode, queue, work)} == {TRACE}
    assert request.parent_span_id.hex() == CALLER
    assert decode.parent_span_id == queue.parent_span_id == work.parent_span_id == request.span_id
    assert request.start_time_unix_nano <= decode.start_time_unix_nano <= decode.end_time_unix_nano
    assert decode.end_time_unix_nano <= queue.start_time_unix_nano <= queue.end_time_unix_nano
    assert queue.end_time_unix_nano <= work.end_time_unix_nano <= request.end_time_unix_nano
    assert {service for service, span in collector.spans if span is work} == {"unmingle-worker"}
    assert {service for service, span in collector.spans if span is request} == {"unmingle"}
    about = attributes(request)
    assert about["http.request.method"] == "POST" and about["http.route"] == "/separate"
    assert about["http.response.status_code"] == 200
    assert about["unmingle.request_id"] == answer.headers["x-request-id"]
    done = attributes(work)
    assert done["unmingle.audio_s"] == 2.0 and done["unmingle.sources"] == 2
    assert sum(value for key, value in done.items() if key.startswith("unmingle.stage.")) > 0
    (missing,) = [span for _, span in collector.spans if attributes(span).get("http.response.status_code") == 404]
    assert missing.trace_id.hex() != TRACE and not missing.parent_span_id
    assert not [span for _, span in collector.spans if "/health" in span.name]  # probes would drown the rest


def test_a_job_belongs_to_the_trace_of_its_request_also_after_a_restart(
    start_server: StartServer, collector: Collector
) -> None:
    server = start_server(UNMINGLE_TRACES_URL=collector.url, OTEL_BSP_SCHEDULE_DELAY="200")
    parent = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    accepted = server.http.post("/jobs", files={"file": noise(300)}, headers=parent)
    assert accepted.status_code == 202
    wait(server, accepted.headers["location"], "running")
    collector.wait(lambda: any(span.name == "POST /jobs" for _, span in collector.spans))
    server.kill()
    server.start()
    wait(server, accepted.headers["location"], "running")
    assert server.http.delete(accepted.headers["location"]).status_code == 204
    collector.wait(lambda: any(span.name == "job" for _, span in collector.spans))
    end(server)
    request, job = collector.one("POST /jobs"), collector.one("job")
    assert job.trace_id.hex() == request.trace_id.hex() == TRACE
    assert job.parent_span_id == request.span_id
    assert attributes(job)["unmingle.job"] == accepted.headers["location"].rpartition("/")[2]
    assert attributes(job)["unmingle.attempt"] == 2


def test_a_collector_that_is_away_disturbs_nobody(start_server: StartServer, collector: Collector) -> None:
    collector.close()
    server = start_server(UNMINGLE_TRACES_URL=collector.url, OTEL_BSP_SCHEDULE_DELAY="100")
    for _ in range(3):
        assert post(server, noise(0.5), num_sources=2).status_code == 200
    end(server)
    assert "Traceback" not in server.log.read_text()


def test_without_the_setting_nothing_of_it_is_loaded() -> None:
    # FastAPI loads the bare API by itself, where there is one.
    loaded = "import unmingle.service.server, unmingle.service.workers.process, sys; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    assert "opentelemetry.sdk" not in names and "opentelemetry.exporter" not in names


def test_what_is_missing_is_said(tmp_path: object) -> None:
    without = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from unmingle.service.cli import main\n"
        "sys.exit(main(['serve', '--port', '0']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", without],
        env={"PATH": "", "UNMINGLE_TRACES_URL": "http://localhost:4318/v1/traces", "UNMINGLE_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert ended.returncode != 0 and "Traceback" not in ended.stderr
    assert "pip install 'unmingle[tracing]'" in ended.stderr


def test_a_url_that_is_none_is_refused() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "unmingle", "settings"],
        env={"PATH": "", "UNMINGLE_TRACES_URL": "collector:4318"},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert ended.returncode != 0 and "UNMINGLE_TRACES_URL=collector:4318" in ended.stderr
