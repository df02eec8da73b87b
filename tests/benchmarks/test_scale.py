"""The model of many workers agrees with queueing theory, and the benchmark runs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale_simulation import Cluster, Cost, Costs, Load, most_audio_per_s, pass_station, simulate

ROOT = Path(__file__).parents[2]
COSTS = Costs(Cost(0.01, 0.001), Cost(0.01, 0.001), Cost(0.05, 0.04), 64e3, 192e3, 0.1)
LOAD = Load(1.0, 60.0, 1.0, 20_000)
NETWORK = 1.25e9


def test_one_server_with_constant_service_waits_as_pollaczek_and_khinchine_say() -> None:
    """M/D/1: the mean wait is rho / (2 (1 - rho)) times the service."""
    rng, service, rho = np.random.default_rng(0), 2.0, 0.7
    arrivals = np.cumsum(rng.exponential(service / rho, 200_000))
    leaves = pass_station(arrivals, np.full(len(arrivals), service), [1.0])
    assert (leaves - arrivals - service).mean() == pytest.approx(service * rho / (2 * (1 - rho)), rel=0.03)


def test_several_servers_with_random_service_wait_as_erlang_says() -> None:
    """M/M/c: Erlang's C formula."""
    rng, servers, rho = np.random.default_rng(1), 5, 0.8
    arrivals = np.cumsum(rng.exponential(1.0 / (servers * rho), 200_000))
    service = rng.exponential(1.0, len(arrivals))
    offered = servers * rho
    last = offered**servers / math.factorial(servers) / (1 - rho)
    waits = last / (sum(offered**n / math.factorial(n) for n in range(servers)) + last)
    leaves = pass_station(arrivals, service, [1.0] * servers)
    assert (leaves - arrivals - service).mean() == pytest.approx(waits / (servers * (1 - rho)), rel=0.05)


def test_the_server_is_taken_that_has_been_free_for_longest() -> None:
    leaves = pass_station(np.array([0.0, 0.0, 10.0, 10.5]), np.ones(4), [0.5, 1.0])
    assert leaves.tolist() == [2.0, 1.0, 11.0, 12.5]


def test_workers_scale_until_another_station_is_full() -> None:
    few, more, many = (most_audio_per_s(COSTS, Cluster(n, 1, 3, NETWORK), LOAD) for n in (1, 10, 1000))
    assert more["workers"] == pytest.approx(10 * few["workers"])
    assert min(few, key=lambda station: few[station]) == "workers"
    assert min(many, key=lambda station: many[station]) == "front"
    assert many["front"] == few["front"]


def test_a_cluster_does_what_is_asked_of_it_while_it_can() -> None:
    cluster = Cluster(32, 1, 3, NETWORK)
    most = min(most_audio_per_s(COSTS, cluster, LOAD).values())
    calm, full = (
        simulate(COSTS, cluster, Load(part * most, 60.0, 1.0, 20_000), np.random.default_rng(2)) for part in (0.5, 1.5)
    )
    assert calm.audio_per_s == pytest.approx(0.5 * most, rel=0.05)
    assert full.audio_per_s == pytest.approx(most, rel=0.05)
    assert calm.p99_over_alone < 2 < full.p99_over_alone


def test_slow_workers_show_in_the_slowest_answers() -> None:
    even = Cluster(100, 4, 12, 4 * NETWORK)
    uneven = Cluster(100, 4, 12, 4 * NETWORK, straggler_share=0.05, straggler_factor=3.0)
    load = Load(0.8 * min(most_audio_per_s(COSTS, uneven, LOAD).values()), 60.0, 1.0, 20_000)
    usual, worse = (simulate(COSTS, cluster, load, np.random.default_rng(3)) for cluster in (even, uneven))
    assert worse.p99_over_alone > 1.5 * usual.p99_over_alone
    assert worse.p50_s < 1.2 * usual.p50_s


@pytest.mark.slow
def test_servers_are_measured_and_scaled_further(tmp_path: Path) -> None:
    few = ["--workers", "1", "2", "--seconds", "0.5", "2", "--requests", "2", "--rounds", "1", "--simulate", "1", "200"]
    model, out = ROOT / "tests" / "service" / "small.onnx", tmp_path / "scale.json"
    few += ["--simulated-requests", "500", "--model", str(model), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", *few],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured, costs, simulated = json.loads(out.read_text())["tables"].values()
    assert [(row["workers"], row["recording s"]) for row in measured] == [(1, 0.5), (1, 2.0), (2, 0.5), (2, 2.0)]
    assert all(row["audio s per s"] > 0 and row["worker"] > 0 and row["decoder"] > 0 for row in measured)
    assert [row["times the first"] for row in measured[:2]] == [1.0, 1.0]
    assert {row["of"] for row in costs} == {"front", "decoder", "worker"}
    assert [row["workers"] for row in simulated] == [1, 200, 200, 200]
    assert simulated[1]["audio s per s at most"] <= simulated[2]["audio s per s at most"]
