"""Long recordings on the page: jobs that tell their progress, can be cancelled, and are found again."""

from __future__ import annotations

import io
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from playwright.sync_api import Page, Response, Route, expect

from tests.service.conftest import SMALL_MODEL
from tests.service.harness import RunningServer, noise
from tests.service.page.visitor import WAIT_S, Visitor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory, bundled_model: Path) -> Iterator[RunningServer]:
    """A server that takes no more than two seconds while one waits: not even the example."""
    settings = {"UNMINGLE_MODEL": str(bundled_model), "UNMINGLE_MAX_SECONDS": "2"}
    running = RunningServer(tmp_path_factory.mktemp("hurried"), settings)
    yield running
    running.kill()


@pytest.fixture
def long_recording(tmp_path: Path) -> Path:
    """More than is done at once."""
    path = tmp_path / "long talk.wav"
    path.write_bytes(noise(300))
    return path


def job_of(page: Page) -> str:
    """Path of the job that the page's address names."""
    expect(page).to_have_url(re.compile("#job="))
    return f"/jobs/{re.search(r'#job=([^&]+)', page.url)[1]}"


def test_progress_is_shown_and_cancelling_deletes_the_job(
    page: Page, hurried: RunningServer, long_recording: Path
) -> None:
    visitor = Visitor(page, hurried)
    visitor.open(long_recording)
    expect(page.locator("#work-name")).to_have_text("long talk.wav")
    job = job_of(page)
    expect(page.locator("#stage")).to_have_text("Separating")
    visitor.wait_until("document.getElementById('progress').value > 0")
    expect(page.locator("#detail")).to_have_text(re.compile(r"^\d+\s%, about \d+(\.\d)?\s(s|min) left$"))
    assert re.match(r"^\d+ % long talk.wav . Unmingle$", page.title())
    page.reload()
    expect(page.locator("#work-name")).to_have_text("long talk.wav")
    expect(page.locator("#stage")).to_have_text("Separating")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#notice")).to_have_text("Cancelled.")
    expect(page.get_by_role("alert")).to_be_hidden()
    assert "#job" not in page.url
    hurried.wait_for(lambda _: hurried.http.get(job).status_code == 404)
    visitor.forgive()
    visitor.saw_no_faults()


def test_a_model_that_cannot_count_separates_a_long_recording_into_two(page: Page, tmp_path: Path) -> None:
    hurried = RunningServer(tmp_path, {"UNMINGLE_MODEL": str(SMALL_MODEL), "UNMINGLE_MAX_SECONDS": "2"})
    try:
        path = tmp_path / "talk.wav"
        path.write_bytes(noise(4))
        visitor = Visitor(page, hurried)
        expect(visitor.opened(path)).to_have_count(2)
        visitor.saw_no_faults()
    finally:
        hurried.kill()


def test_a_job_is_found_again_shown_without_memory_and_deleted_on_being_asked(
    page: Page, hurried: RunningServer, two_speakers: Path
) -> None:
    visitor = Visitor(page, hurried)
    lanes = visitor.opened(two_speakers)
    job = job_of(page)
    expect(lanes).to_have_count(2)
    assert page.evaluate("performance.getEntriesByType('resource').some((r) => /jobs.*peaks/.test(r.name))")
    visitor.wait_for_map()
    page.get_by_text("Select without drawing").click()
    page.get_by_label("From, s").fill("1")
    page.get_by_label("To, s").fill("2")
    page.get_by_role("button", name="Select this part").click()
    expect(page.locator("#selected")).to_have_text(re.compile(r"1\.0 to 2\.0 s.*; [1-9]\d* of \d+ points"))
    expect(page.get_by_role("button", name="Hear selection")).to_be_hidden()  # what it takes is gone
    background = page.get_by_role("group", name="Background")
    page.locator("#format").evaluate("(select) => { select.value = 'mp3:MP3'; }")
    name, saved = visitor.saved(background.get_by_role("button", name="Save"))
    assert name == "mixture_Background.mp3"
    assert soundfile.info(io.BytesIO(saved)).format == "MP3"
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("Pause")
    page.reload()
    visitor.wait_for_result(2)
    expect(page.locator("#chip-name")).to_have_text("mixture.flac")
    page.get_by_role("button", name="Export").click()
    page.get_by_label("Format of the sounds").select_option("FLAC")
    name, saved = visitor.saved(page.get_by_role("button", name="All sounds"))
    assert name == "mixture.zip"
    names = ["Sound 1.flac", "Sound 2.flac", "Background.flac", "manifest.json", "activity.rttm"]
    assert zipfile.ZipFile(io.BytesIO(saved)).namelist() == names
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy a link").click()
    expect(page.locator("#export-words")).to_contain_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Delete from the server").click()
    page.get_by_role("button", name="Keep it").click()
    assert hurried.http.get(job).status_code == 200
    page.get_by_role("button", name="Delete from the server").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#notice")).to_have_text("Deleted from the server.")
    assert hurried.http.get(job).status_code == 404
    page.goto("about:blank")  # or else only the address would change, and the answer might come before a reload
    page.goto(f"{hurried.url}/#job={job.removeprefix('/jobs/')}")
    visitor.expect_problem("This recording is not on the server any more.")


def test_long_sounds_are_listened_to_compressed_and_from_anywhere(page: Page, small_server: RunningServer) -> None:
    answer = small_server.http.post("/jobs", params={"num_sources": 2}, files={"file": noise(60)})
    job = answer.headers["location"]
    give_up = time.monotonic() + WAIT_S
    while small_server.http.get(job).json()["state"] != "done":
        assert time.monotonic() < give_up
        time.sleep(0.1)
    parts: list[tuple[str, int]] = []

    def note(response: Response) -> None:
        if "content-range" in response.headers:
            parts.append((response.url, int(response.headers["content-range"].rpartition("/")[2])))

    page.on("response", note)
    visitor = Visitor(page, small_server, f"#job={job.removeprefix('/jobs/')}&name=talk.wav")
    page.locator("#play").click()
    visitor.wait_until("document.getElementById('position').value > 0.2")
    page.locator("#position").evaluate(
        "(slider) => { slider.value = 50; slider.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    visitor.wait_until("document.getElementById('position').value > 50.2")
    page.locator("#play").click()
    assert {url for url, _ in parts} == {
        f"{small_server.url}{job}/stems/{stem}?format=flac&subtype=PCM_16" for stem in (1, 2)
    }
    for url in {url for url, _ in parts}:
        whole = small_server.http.get(url).content
        assert whole.startswith(b"fLaC")
        assert len(whole) < 60 * 16_000 * 4 / 2  # half of the WAV, though noise hardly gets smaller
        assert {size for other, size in parts if other == url} == {len(whole)}
    visitor.saw_no_faults()
    small_server.http.delete(job)


def test_a_list_of_long_files_becomes_jobs(
    page: Page, hurried: RunningServer, two_speakers: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.wav"
    other.write_bytes(noise(3))
    visitor = Visitor(page, hurried, wait=False)
    visitor.open(two_speakers, other)
    listed = page.locator("#listed li")
    expect(listed).to_have_text([re.compile("mixture.flac ?ready"), re.compile("other.wav ?ready")])
    expect(page.locator("#listed [aria-current]")).to_have_text("mixture.flac")
    first = job_of(page)
    page.get_by_role("button", name="other.wav").click()
    expect(page.locator("#chip-name")).to_have_text("other.wav")
    expect(page.locator("#listed [aria-current]")).to_have_text("other.wav")
    assert job_of(page) != first
    page.get_by_role("button", name="mixture.flac").click()
    expect(page.locator("#chip-name")).to_have_text("mixture.flac")
    assert job_of(page) == first
    visitor.saw_no_faults()


def test_cancel_while_a_finished_job_is_fetched_does_not_delete_it(
    page: Page, hurried: RunningServer, two_speakers: Path
) -> None:
    manifests: list[Route] = []

    def hold(route: Route) -> None:  # the fetching does not end
        manifests.append(route)

    page.route("**/manifest", hold)
    visitor = Visitor(page, hurried, wait=False)
    expect(page.locator("#stage")).to_have_text("Fetching the sounds")
    job = job_of(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#notice")).to_contain_text("stays on the server")
    page.wait_for_timeout(500)
    assert hurried.http.get(job).json()["state"] == "done"
    assert not [request for request in visitor.requests if request.startswith("DELETE")]
    for route in manifests:
        route.abort()


def test_whoever_looks_elsewhere_is_told_when_it_is_done(page: Page, hurried: RunningServer) -> None:
    manifests: list[Route] = []

    def hold(route: Route) -> None:
        manifests.append(route)

    page.route("**/manifest", hold, times=1)
    page.context.grant_permissions(["notifications"])
    # A browser without a window hides no tab, and shows no notification that could be looked at.
    page.add_init_script(
        """
        Object.defineProperty(document, "hidden", { get: () => true });
        window.told = [];
        const Plain = Notification;
        window.Notification = class extends Plain {
            constructor(title, more) { super(title, more); window.told.push(more.body); }
        };
        """
    )
    visitor = Visitor(page, hurried, wait=False)
    expect(page.locator("#stage")).to_have_text("Fetching the sounds")
    page.get_by_role("button", name="Tell me when it is done").click()
    expect(page.locator("#notify")).to_have_attribute("aria-pressed", "true")
    visitor.held(manifests).continue_()
    visitor.wait_for_result(3)
    assert page.evaluate("told") == ["3 sounds in three_speakers."]


def test_back_during_a_job_leads_back_and_forward_to_the_job(
    page: Page, hurried: RunningServer, long_recording: Path
) -> None:
    visitor = Visitor(page, hurried)
    before = page.url
    visitor.open(long_recording)
    job = job_of(page)
    page.go_back()
    expect(page).to_have_url(before)
    assert hurried.http.get(job).json()["state"] in ("queued", "running")
    page.go_forward()
    assert job_of(page) == job
    expect(page.locator("#work-name")).to_have_text("long talk.wav")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#work")).to_be_hidden()
