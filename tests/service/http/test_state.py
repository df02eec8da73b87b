"""What operators see: probes, metrics, models, request ids, settings, logs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.service.harness import ROOT, RunningServer, StartServer, connect, noise, post, problem_of, request_bytes
from unmingle.model.separator import Separator
from unmingle.service.http.auth import hashed


def samples(server: RunningServer) -> dict[tuple[str, frozenset], float]:
    text = server.http.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_probes(server: RunningServer) -> None:
    assert server.http.get("/livez").text == "ok\n"
    assert server.http.get("/readyz").text == "ok\n"


def test_models(server: RunningServer, separator: Separator) -> None:
    (model,) = server.http.get("/models").json()["models"]
    assert model["name"] == separator.embedder.config.name
    assert model["hash"] == separator.embedder.model_hash
    assert model["max_sources"] == 8


def test_metrics_count_what_happens(server: RunningServer, two_speakers: Path) -> None:
    before = samples(server)
    assert post(server, two_speakers.read_bytes()).status_code == 200
    post(server, b"no audio")
    after = samples(server)

    def grown(name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return after[key] - before.get(key, 0.0)

    assert grown("unmingle_audio_seconds_total") == 5.0
    assert grown("unmingle_requests_total", method="POST", route="/separate", status="200") == 1
    assert grown("unmingle_rejections_total", code="format_unsupported") == 1
    assert grown("unmingle_stage_seconds_count", stage="embed") == 1
    assert after["unmingle_ready", frozenset({("engine", "requests")})] == 1
    # A request is in hand until the client has taken its answer.
    server.wait_for(lambda _: samples(server)["unmingle_requests_in_hand", frozenset()] == 0)
    assert after["unmingle_disk_free_bytes", frozenset()] > 0
    assert after["unmingle_queued_audio_seconds", frozenset({("engine", "requests")})] == 0


def test_request_ids_are_kept_or_made_and_stages_timed(server: RunningServer, two_speakers: Path) -> None:
    files = {"file": two_speakers.read_bytes()}
    response = server.http.post("/separate", files=files, headers={"x-request-id": "abc-123"}, timeout=60)
    assert response.headers["x-request-id"] == "abc-123"
    assert "embed;dur=" in response.headers["server-timing"]
    made = [server.http.get("/livez", headers={"x-request-id": "a b\tc"}).headers["x-request-id"] for _ in "12"]
    assert made[0] != made[1]
    assert all(len(one) == 16 for one in made)


def test_openapi_lists_every_address_with_its_problems(server: RunningServer) -> None:
    document = server.http.get("/openapi.json").json()
    assert {"/separate", "/health", "/livez", "/readyz", "/metrics", "/models"} <= set(document["paths"])
    responses = document["paths"]["/separate"]["post"]["responses"]
    assert {"200", "400", "401", "406", "413", "415", "422", "429", "503"} <= set(responses)
    assert "upload_too_large" in responses["413"]["content"]["application/problem+json"]["examples"]


def test_api_keys_and_json_logs_and_a_misspelt_setting(start_server: StartServer, two_speakers: Path) -> None:
    server = start_server(
        UNMINGLE_API_KEYS=f"alice={hashed('open sesame')}, bob={hashed('mellon')}, bob={hashed('schlüssel')}",
        UNMINGLE_KEY_REQUESTS_PER_MINUTE="30",
        UNMINGLE_LOG_FORMAT="json",
        UNMINGLE_MAX_SECOND="5",
    )
    url, files = "/separate", {"file": ("diary.flac", two_speakers.read_bytes())}
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic open sesame"}):
        response = server.http.post(url, files=files, headers=headers)
        problem_of(response, 401, "unauthorised")
        assert response.headers["www-authenticate"] == "Bearer"
    alice, bob = ({"authorization": f"Bearer {key}"} for key in ("open sesame", "mellon"))
    answers = [server.http.post(url, files={"file": b"x"}, headers=alice) for _ in range(7)]
    assert answers[0].status_code == 415
    problem_of(answers[-1], 429, "rate_limited")
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert server.http.post(url, files=files, headers=bob, timeout=60).status_code == 200
    next_key = {"authorization": "Bearer schlüssel".encode()}
    assert server.http.post(url, files=files, headers=next_key, timeout=60).status_code == 200
    log = server.log.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert any("UNMINGLE_MAX_SECOND " in line["message"] for line in lines)
    assert any(line.get("problem") == "rate_limited" and line["request_id"] for line in lines)
    assert "diary" not in log
    assert "sesame" not in log


def test_a_key_has_its_share_of_the_places(start_server: StartServer) -> None:
    keys = f"alice={hashed('a')},bob={hashed('b')}"
    server = start_server(UNMINGLE_API_KEYS=keys, UNMINGLE_KEY_RECORDINGS="1")
    alice, bob = ({"authorization": f"Bearer {key}"} for key in "ab")
    with connect(server) as uploading:
        head = request_bytes(noise(1), announced=1_000_000).replace(
            b"Host: localhost", b"Host: localhost\r\nAuthorization: Bearer a", 1
        )
        uploading.sendall(head)
        server.wait_for(lambda _: bool(server.spooled()))
        refused = server.http.post("/separate", files={"file": noise(1)}, headers=alice)
        problem_of(refused, 429, "key_busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert server.http.post("/separate", files={"file": noise(1)}, headers=bob).status_code == 200


@pytest.mark.slow
def test_connections_without_a_request_are_closed(start_server: StartServer) -> None:
    server = start_server(UNMINGLE_CLIENT_TIMEOUT_S="3")
    with connect(server) as silent:
        for _ in range(40):  # a connection that is in use stays, however long
            assert server.http.get("/livez").status_code == 200
            time.sleep(0.1)
        silent.settimeout(60)
        silent.sendall(b"GET /livez HT")
        assert silent.recv(1000) == b""  # closed


def test_the_page_needs_nothing_from_elsewhere(server: RunningServer) -> None:
    response = server.http.get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "<title>Unmingle</title>" in response.text
    assert "http://" not in response.text
    assert "https://" not in response.text


def test_settings_are_listed_and_bad_ones_named(tmp_path: Path) -> None:
    def unmingle(*arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "unmingle", *arguments]
        everything = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        return subprocess.run(
            command, cwd=tmp_path, env=everything, input=given, capture_output=True, text=True, check=False
        )

    listed = unmingle("settings", UNMINGLE_PORT="8123", UNMINGLE_PROT="8124")
    assert "UNMINGLE_PORT=8123" in listed.stdout
    assert "UNMINGLE_PROT is not a setting" in listed.stderr
    for command in ("settings", "serve"):
        bad = unmingle(command, UNMINGLE_PORT="many")
        assert bad.returncode == 2
        assert "UNMINGLE_PORT=many" in bad.stderr
        assert "Traceback" not in bad.stderr
    assert unmingle("hash-key", "alice", given="open sesame\n").stdout == f"alice={hashed('open sesame')}\n"
    assert "not valid" in unmingle("serve", UNMINGLE_API_KEYS="alice=secret", UNMINGLE_DATA_DIR="data").stderr


def test_a_second_server_on_one_data_directory_says_so(server: RunningServer) -> None:
    command = [sys.executable, "-m", "unmingle", "serve", "--port", "0"]
    done = subprocess.run(
        command, cwd=server.directory, env=server.environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "Another server uses the data directory" in done.stderr
