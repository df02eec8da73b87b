"""Dashboard and alerts speak of metrics that the server has, with labels that it gives. Needs no engine."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.docker.stack import ROOT
from unmingle.service.app import create_app
from unmingle.service.problems import KINDS
from unmingle.service.settings import Settings

PROMETHEUS = ROOT / "docker" / "prometheus"
DASHBOARD = json.loads((ROOT / "docker/grafana/dashboards/unmingle.json").read_text())
PANEL_QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
ALERT_QUERIES = re.findall(r"expr: (.*)", (PROMETHEUS / "alerts.yml").read_text())
QUERIES = PANEL_QUERIES + ALERT_QUERIES

NAME = re.compile(r"\b((?:unmingle|process)_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|=|!=)"([^"]*)"')
OF_PROMETHEUS = {"instance", "job"}  # the labels that it gives to everything it reads

Served = dict[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, two_speakers: Path) -> Served:
    """Samples by name, as lists of their labels, of a server that has had something to do."""
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("data"), request_timeout_s=600))

    async def metrics() -> str:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as http,
        ):
            deadline = time.monotonic() + 60
            while (answer := await http.get("/readyz")).status_code != 200:
                assert time.monotonic() < deadline, answer.text
                await asyncio.sleep(0.05)
            for content in (two_speakers.read_bytes(), b"no audio"):
                await http.post("/separate", files={"file": content})
            return (await http.get("/metrics")).text

    samples: Served = defaultdict(list)
    for family in text_string_to_metric_families(asyncio.run(metrics())):
        for sample in family.samples:
            samples[sample.name].append(sample.labels)
    return samples


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_asks_for_what_there_is(served: Served, query: str) -> None:
    named = NAME.findall(query)
    assert named or re.search(r"DCGM_|\bup\b", query)
    for name, selector in named:
        assert name in served
        labels = {label for sample in served[name] for label in sample}
        matchers = MATCHER.findall(selector)
        assert {label for label, _, _ in matchers} <= labels | OF_PROMETHEUS
        asked = {(label, value) for label, operator, value in matchers if operator == "=" and label in labels}
        assert asked <= {*(pair for sample in served[name] for pair in sample.items()), ("state", "failed")}
        assert {code for label, _, value in matchers if label == "code" for code in value.split("|")} <= set(KINDS)
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            assert set(grouped.split(", ")) <= labels | OF_PROMETHEUS


def test_the_dashboard_shows_what_an_operator_asks_about() -> None:
    titles = {panel["title"] for panel in DASHBOARD["panels"]}
    assert {"Queue", "Latency by stage", "Real-time factor", "Rejections", "GPU use"} <= titles


def test_the_dashboard_is_laid_out_without_gaps_and_reads_the_source_that_is_provisioned() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        box = panel["gridPos"]
        own = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
        assert not own & cells, panel["title"]
        cells |= own
    assert {x for x, _ in cells} == set(range(24))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    source = (ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text()
    (uid,) = re.findall(r"uid: (\w+)", source)
    asked = {t["datasource"]["uid"] for panel in DASHBOARD["panels"] for t in (panel, *panel["targets"])}
    assert asked == {uid}


def test_every_alert_says_what_to_do() -> None:
    alerts = re.findall(r"alert: (\w+)", (PROMETHEUS / "alerts.yml").read_text())
    guide = (ROOT / "docs" / "deployment.md").read_text()
    assert len(alerts) == len(ALERT_QUERIES)
    assert not [alert for alert in alerts if alert not in guide]


@pytest.fixture
def promtool() -> str:
    """Prometheus' own checker."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed, so what only it can check was not. Debian: apt-get install prometheus")
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "docker/prometheus/prometheus.yml"),
        ("check", "rules", "docker/prometheus/alerts.yml"),
        ("test", "rules", "tests/docker/alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_takes_its_files_and_alerts_fire_when_they_should(promtool: str, arguments: tuple[str, ...]) -> None:
    done = subprocess.run([promtool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_every_query_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    queries = [query.replace("$__rate_interval", "1m").replace("$instance", ".*") for query in PANEL_QUERIES]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout
