"""Long recordings on the page: jobs that tell their progress, can be cancelled, and are found again."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.conftest import EXAMPLES
from tests.service.harness import RunningServer, noise
from tests.service.page.visitor import Visitor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory, bundled_model: Path) -> Iterator[RunningServer]:
    """A server that takes no more than two seconds while one waits."""
    settings = {"UNMINGLE_MODEL": str(bundled_model), "UNMINGLE_MAX_SECONDS": "2"}
    running = RunningServer(tmp_path_factory.mktemp("hurried"), settings)
    yield running
    running.kill()


@pytest.fixture
def long_recording(tmp_path: Path) -> Path:
    """More than the page sends in one request, and more than is done at once."""
    path = tmp_path / "long.wav"
    path.write_bytes(noise(300))
    return path


def job_of(page: Page) -> str:
    """Path of the job that the page's address names."""
    expect(page).to_have_url(re.compile("#job="))
    return f"/jobs/{page.url.partition('#job=')[2]}"


def test_progress_is_shown_and_cancelling_deletes_the_job(visitor: Visitor, long_recording: Path) -> None:
    visitor.separate(long_recording, "8")
    page = visitor.page
    expect(page.get_by_role("progressbar")).to_be_visible()
    job = job_of(page)
    expect(page.locator("#stage")).to_have_text("Separating")
    visitor.wait_until("document.getElementById('progress').value > 0")
    expect(page.locator("#detail")).to_have_text(re.compile(r"^\d+\s%, about \d+(\.\d)?\s(s|min) left$"))
    assert visitor.server.http.get(job).json()["state"] == "running"
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("Cancelled")
    expect(page.locator("#work")).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.get_by_role("button", name="Separate")).to_be_focused()
    assert "#" not in page.url
    assert visitor.server.http.get(job).status_code == 404


def test_a_job_is_found_again_and_deleted(page: Page, hurried: RunningServer, two_speakers: Path) -> None:
    visitor = Visitor(page, hurried)
    visitor.separate(two_speakers)
    visitor.wait_for_result(2)
    job = job_of(page)
    page.reload()
    stems = visitor.wait_for_result(2)
    expect(page.get_by_role("heading", level=2)).to_have_text("Two sounds in mixture")
    name, saved = visitor.saved(stems.nth(1).get_by_role("link", name="Save"))
    assert (name, saved) == ("mixture_stem_2.wav", hurried.http.get(job + "/result", params={"stem": 2}).content)
    name, saved = visitor.saved(page.get_by_role("link", name="Save all"))
    assert (name, saved) == ("stems.zip", hurried.http.get(job + "/result").content)
    page.get_by_role("button", name="Another recording").click()
    expect(page.locator("#result")).to_be_hidden()
    assert "#" not in page.url
    page.go_back()
    visitor.wait_for_result(2)
    page.get_by_role("button", name="Delete from the server").click()
    expect(page.get_by_role("status")).to_have_text("Deleted from the server.")
    assert hurried.http.get(job).status_code == 404
    visitor.saw_no_faults()
    page.goto(f"{hurried.url}/#job={job.removeprefix('/jobs/')}")
    visitor.expect_problem("This recording is not on the server any more.")


def test_stems_too_long_for_memory_play_in_step_from_the_server(
    page: Page, hurried: RunningServer, two_speakers: Path
) -> None:
    def with_little_memory(route: Route) -> None:
        source = (Path(__file__).parents[3] / "service/page/separation.js").read_text()
        assert "256 * 2 ** 20" in source
        route.fulfill(body=source.replace("256 * 2 ** 20", "1"), content_type="text/javascript")

    page.route("**/separation.js", with_little_memory)
    # The players are not in the page; keep hold of them.
    page.add_init_script(
        """window.players = [];
        const Plain = Audio;
        window.Audio = function () {
            players.push(new Plain());
            return players.at(-1);
        };"""
    )
    visitor = Visitor(page, hurried)
    visitor.separate(two_speakers)
    stems = visitor.wait_for_result(2)
    page.evaluate("players = players.filter((player) => player.src.includes('/jobs/'))")
    assert page.evaluate("players.length") == 2
    page.locator(".play").click()
    expect(page.locator(".play")).to_have_text("Pause")
    visitor.wait_until("players.every((player) => player.currentTime > 1)")
    apart = page.evaluate("Math.abs(players[0].currentTime - players[1].currentTime)")
    assert apart < 0.1
    stems.nth(0).get_by_role("button", name="Solo").click()
    assert page.evaluate("players.map((player) => player.muted)") == [False, True]
    page.locator(".position").press("Home")
    visitor.wait_until("players.every((player) => player.currentTime < 1)")
    page.locator(".play").click()
    assert page.evaluate("players.every((player) => player.paused)")
    visitor.saw_no_faults()


def test_a_server_that_restarts_meanwhile_loses_nothing(
    page: Page, mortal_server: RunningServer, tmp_path: Path
) -> None:
    server = mortal_server
    visitor = Visitor(page, server)
    recording = tmp_path / "minutes.wav"
    recording.write_bytes(noise(120))
    visitor.separate(recording, "3")
    expect(page.locator("#stage")).to_have_text("Separating")
    server.kill()
    expect(page.locator("#stage")).to_have_text("The connection broke off; trying again")
    server.start()
    visitor.wait_for_result(3)


@pytest.fixture
def mortal_server(tmp_path: Path, bundled_model: Path) -> Iterator[RunningServer]:
    """A server that may be killed."""
    running = RunningServer(tmp_path, {"UNMINGLE_MODEL": str(bundled_model)})
    yield running
    running.kill()


def test_a_job_goes_through_with_an_api_key(page: Page, tmp_path: Path, bundled_model: Path) -> None:
    from unmingle.service.http.auth import hashed

    keys = {"UNMINGLE_API_KEYS": f"alice={hashed('open sesame')}", "UNMINGLE_MAX_SECONDS": "2"}
    server = RunningServer(tmp_path, {"UNMINGLE_MODEL": str(bundled_model), **keys})
    try:
        visitor = Visitor(page, server)
        mixture = EXAMPLES / "two_speakers" / "mixture.flac"
        page.get_by_label("API key").fill("wrong")
        visitor.separate(mixture)
        visitor.expect_problem("This server needs an API key.")
        expect(page.get_by_label("API key")).to_be_focused()
        page.get_by_label("API key").fill("open sesame")
        visitor.separate(mixture)
        visitor.wait_for_result(2)
        name, saved = visitor.saved(page.get_by_role("link", name="Save all"))
        headers = {"authorization": "Bearer open sesame"}
        archive = server.http.get(job_of(page) + "/result", headers=headers).content
        assert (name, saved) == ("mixture_stems.zip", archive)
        assert "stem_2.wav" in zipfile.ZipFile(io.BytesIO(saved)).namelist()
        page.locator(".play").click()
        expect(page.locator(".play")).to_have_text("Pause")
        visitor.saw_no_faults()
    finally:
        server.kill()
