"""Dashboard and alerts speak of metrics that the server has. Needs no engine."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from service.app import create_app
from service.settings import Settings
from tests.docker.stack import ROOT

_NAME = re.compile(r"\b(?:unmingle|process)_[a-z_]+")


def _metrics(data_dir: Path) -> set[str]:
    """Names of the samples that a server offers before it has seen any request."""
    app = create_app(Settings(data_dir=data_dir))

    async def metrics() -> str:
        async with app.router.lifespan_context(app):
            return app.state.service.metrics.text().decode()

    text = asyncio.run(metrics())
    names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    return names | {f"{name}{end}" for name in names for end in ("_bucket", "_sum", "_count")}


def test_every_panel_and_alert_asks_for_a_metric_that_there_is(tmp_path: Path) -> None:
    there = _metrics(tmp_path)
    dashboard = json.loads((ROOT / "docker/grafana/dashboards/unmingle.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += re.findall(r"expr: (.*)", (ROOT / "docker/prometheus/alerts.yml").read_text())
    assert len(queries) > 20
    for query in queries:
        names = _NAME.findall(re.sub(r'"[^"]*"', "", query))
        assert names or re.search(r"DCGM_|\bup\b", query)
        assert set(names) <= there, query


def test_the_dashboard_shows_what_an_operator_asks_about() -> None:
    dashboard = json.loads((ROOT / "docker/grafana/dashboards/unmingle.json").read_text())
    titles = {panel["title"] for panel in dashboard["panels"]}
    assert {"Queue", "Latency by stage", "Real-time factor", "Rejections", "GPU use"} <= titles
