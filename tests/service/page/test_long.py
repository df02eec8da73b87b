"""Ten minutes on the page: the number of sounds is changed, nothing stands still, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page

from tests.conftest import EXAMPLES
from tests.service.harness import RunningServer
from tests.service.page.visitor import Visitor, kept_on

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MINUTES = 10
RATE = 8_000  # of a telephone: half the samples, the same ten minutes
LONGEST_TASK_S = 0.1


@pytest.fixture(scope="module")
def ten_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations of the examples, one after the other and again, at different levels."""
    parts = [
        soundfile.read(EXAMPLES / name / "mixture.flac", dtype="float32")[0][::2]
        for name in ("two_speakers", "three_speakers", "same_gender")
    ]
    levels = np.random.default_rng(0).uniform(0.3, 1.0, 60 * MINUTES)
    everything = np.concatenate([level * parts[i % 3] for i, level in enumerate(levels)])
    path = tmp_path_factory.mktemp("long") / "meeting.flac"
    soundfile.write(path, everything[: 60 * MINUTES * RATE], RATE, subtype="PCM_16")
    return path


def longest_task_s(trace: bytes) -> float:
    """Of the main threads of pages, in time of the processor: that does not depend on what else the machine does."""
    events = json.loads(trace)["traceEvents"]
    main = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [
        event["tdur"]
        for event in events
        if event["name"] == "ThreadControllerImpl::RunTask" and (event["pid"], event["tid"]) in main and "tdur" in event
    ]
    assert len(tasks) > 100, "the trace has no tasks"
    return max(tasks) / 1e6


def test_the_number_is_changed_five_times_on_ten_minutes(
    browser: Browser, page: Page, small_server: RunningServer, ten_minutes: Path
) -> None:
    visitor = Visitor(page, small_server, kept_on(small_server, ten_minutes))
    visitor.number(2)
    visitor.wait_for_map()
    uploads = len(visitor.posts("recordings"))
    browser.start_tracing(page=page, categories=["toplevel"])
    for number in (3, 1, 2, 3, 2):
        visitor.number(number)
    longest = longest_task_s(browser.stop_tracing())
    sent = visitor.posts("recordings")[uploads:]
    assert len(sent) == 5
    assert all(url.endswith("/separations") for url in sent)  # and nothing was uploaded again
    assert longest < LONGEST_TASK_S
    visitor.expect_nothing_of_other_results()
    visitor.saw_no_faults()
