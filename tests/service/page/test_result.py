"""A recording on the page, from the click to the stems that are heard and saved."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import EXAMPLES
from tests.service.harness import post
from tests.service.page.visitor import Visitor

pytestmark = pytest.mark.slow

MIXTURES = {"two_speakers": 2, "three_speakers": 3}
ROOT = Path(__file__).parents[3]
PAGE_EXAMPLES = ROOT / "service" / "page" / "examples"


def test_the_examples_are_those_of_the_project() -> None:
    for name in MIXTURES:
        assert (PAGE_EXAMPLES / f"{name}.flac").read_bytes() == (EXAMPLES / name / "mixture.flac").read_bytes()


def test_an_example_in_one_click_gives_what_the_api_gives(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="three people").click()
    stems = visitor.wait_for_result(3)
    expect(visitor.page.get_by_role("heading", level=2)).to_have_text("Three sounds in three_speakers")
    expect(visitor.page.get_by_role("heading", level=2)).to_be_focused()
    content = (EXAMPLES / "three_speakers" / "mixture.flac").read_bytes()
    archive = zipfile.ZipFile(io.BytesIO(post(visitor.server, content, num_sources=3, background="stem").content))
    for number in (1, 2, 3):
        name, saved = visitor.saved(stems.nth(number - 1).get_by_role("link", name="Save"))
        assert name == f"three_speakers_stem_{number}.wav"
        assert saved == archive.read(f"stem_{number}.wav")
    name, saved = visitor.saved(visitor.page.get_by_role("link", name="Save all"))
    assert name == "three_speakers_stems.zip"
    everything = zipfile.ZipFile(io.BytesIO(saved))
    assert everything.namelist() == archive.namelist()
    assert everything.read("activity.rttm") == archive.read("activity.rttm")


def test_each_stem_is_described_in_words(visitor: Visitor, two_speakers: Path) -> None:
    visitor.separate(two_speakers)
    stems = visitor.wait_for_result(2)
    for number in (0, 1):
        expect(stems.nth(number).locator(".confidence")).to_have_text(re.compile("^(Clearly|Fairly|Poorly) separated"))
        expect(stems.nth(number).locator(".heard")).to_have_text(re.compile(r"Heard for \d\.\d\ss of 5\.0\ss, \d+\s%"))
    visitor.page.get_by_text("Who is heard when").click()
    expect(visitor.page.get_by_role("row").nth(1)).to_have_text(re.compile(r"Sound \d0:0\d\.\d0:0\d\.\d"))


def test_they_play_together_and_are_muted_and_heard_alone(visitor: Visitor, two_speakers: Path) -> None:
    visitor.separate(two_speakers)
    stems = visitor.wait_for_result(2)
    play, position = visitor.page.locator(".play"), visitor.page.get_by_role("slider", name="Position")
    expect(play).to_have_text("Play")
    play.click()
    expect(play).to_have_text("Pause")
    visitor.wait_until("loudness() > 0.001")
    visitor.wait_until("document.querySelector('.position').value > 0.3")
    mutes = visitor.page.locator("#result .stem").get_by_role("button", name="Mute").all()
    assert len(mutes) == 3  # the background is heard, too
    solo = stems.nth(1).get_by_role("button", name="Solo")
    position.evaluate("slider => { slider.value = 0.2; slider.dispatchEvent(new Event('input')); }")
    visitor.wait_until("document.querySelector('.position').value < 0.5")
    visitor.wait_until("document.querySelector('.position').value > 0.5")  # it plays on from there
    position.evaluate("slider => { slider.value = 0.2; slider.dispatchEvent(new Event('input')); }")
    for mute in mutes:
        mute.click()
        expect(mute).to_have_attribute("aria-pressed", "true")
    visitor.wait_until("loudness() < 1e-6")
    solo.click()
    expect(stems.nth(0)).to_have_class(re.compile("unheard"))
    expect(stems.nth(1)).not_to_have_class(re.compile("unheard"))
    visitor.wait_until("loudness() > 0.001")
    visitor.page.get_by_role("button", name="Hear all together again").click()
    expect(solo).to_have_attribute("aria-pressed", "false")
    expect(mutes[0]).to_have_attribute("aria-pressed", "false")
    if play.inner_text() == "Pause":  # else it has come to the end meanwhile
        play.click()
    expect(play).to_have_text("Play")


def test_it_stops_at_the_end_and_begins_anew(visitor: Visitor, two_speakers: Path) -> None:
    visitor.separate(two_speakers)
    visitor.wait_for_result(2)
    visitor.page.get_by_role("slider", name="Position").press("End")
    visitor.page.locator(".position").evaluate("slider => slider.dispatchEvent(new Event('input'))")
    visitor.page.locator(".position").press("ArrowLeft")
    visitor.page.locator(".play").click()
    expect(visitor.page.locator(".play")).to_have_text("Pause")
    expect(visitor.page.locator(".play")).to_have_text("Play")
    expect(visitor.page.locator(".time")).to_have_text("0:00 of 0:05")


def test_a_dropped_file_is_counted(visitor: Visitor) -> None:
    page = visitor.page
    page.evaluate(
        """async () => {
            const response = await fetch("page/files/examples/three_speakers.flac");
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([await response.blob()], "talk.of.three.flac"));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.locator("#chosen")).to_have_text("talk.of.three.flac")
    page.get_by_role("radio", name="Count them").check()
    expect(page.get_by_text("Counting finds up to eight")).to_be_visible()
    page.get_by_role("button", name="Separate").click()
    expect(page.locator(".summary")).to_contain_text(re.compile(r"Counted: \d, (almost certain|likely|not sure)"))
    expect(page.get_by_role("heading", level=2)).to_have_text(re.compile("sounds? in talk.of.three$"))


def test_another_recording_takes_the_place_of_the_first(visitor: Visitor, two_speakers: Path) -> None:
    visitor.separate(two_speakers)
    visitor.wait_for_result(2)
    visitor.page.get_by_role("button", name="Another recording").click()
    expect(visitor.page.locator("#result")).to_be_hidden()
    expect(visitor.page.locator("#file")).to_be_focused()
    visitor.separate(two_speakers, "1")
    visitor.wait_for_result(1)
    expect(visitor.wait_for_result(1).locator(".confidence")).to_have_text("The whole recording")


def test_the_picture_of_the_page_can_be_taken_again(browser: Browser, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    subprocess.run([sys.executable, ROOT / "docs" / "make_screenshot.py", "--output", picture], check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_its_files_are_served_under_a_policy_that_lets_nothing_in(visitor: Visitor) -> None:
    for path in ("/", "/page/files/main.js", "/page/files/style.css", "/page/files/examples/two_speakers.flac"):
        answer = visitor.server.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("../app.py", "%2e%2e/app.py", "index.html/../../app.py", "/etc/passwd", "nothing.js"):
        assert httpx.get(f"{visitor.server.url}/page/files/{path}").status_code == 404
