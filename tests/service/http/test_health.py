"""GET /health of the real server: true, and never late."""

from __future__ import annotations

import concurrent.futures
import time

import numpy as np
import pytest

from tests.service.harness import RunningServer, encoded, post
from unmingle.model.separator import Separator
from unmingle.service.version import version


def test_health_names_model_provider_and_version(server: RunningServer, separator: Separator) -> None:
    response = server.http.get("/health")
    body = response.json()
    assert response.status_code == 200
    assert body["status"] == "ok"
    assert body["model"] == {"name": separator.embedder.config.name, "hash": separator.embedder.model_hash}
    assert body["provider"] == separator.embedder.provider
    assert body["version"] == version()
    # On a machine without a GPU it says so, here and in a metric.
    assert (body["fallback"] is None) == (body["provider"] == "CUDAExecutionProvider")
    fallback = f"unmingle_device_fallback {float(body['fallback'] is not None)}"
    assert fallback in server.http.get("/metrics").text.splitlines()
    assert body["uptime_s"] > 0


@pytest.mark.slow
def test_health_answers_within_100_ms_while_a_long_separation_runs(server: RunningServer) -> None:
    minutes = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000 * 120).astype(np.float32)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        server.http.get("/health")
        separation = pool.submit(post, server, encoded(minutes, 16_000, subtype="PCM_16"), num_sources=3)
        late, during = [], 0
        while not separation.done():
            start = time.perf_counter()
            body = server.http.get("/health").json()
            late.append(time.perf_counter() - start)
            during += body["queue"]["running"]
            time.sleep(0.02)
        assert separation.result().status_code == 200
    assert during > 3, "the separation was too short to tell"
    # The machine that runs tests may be busy with others, too: one answer in twenty may be late.
    assert np.quantile(late, 0.95) < 0.1
