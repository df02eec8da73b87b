"""What goes wrong, or is done in an unlucky order: said in words that help, and nothing is lost or left behind."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from tests.service.harness import RunningServer, StartServer, encoded, noise
from tests.service.page.visitor import CONTEXTS, Visitor

pytestmark = pytest.mark.slow


def test_a_wrong_second_file_leaves_the_first_result(quick: Visitor, two_speakers: Path, tmp_path: Path) -> None:
    letter = tmp_path / "letter.wav"
    letter.write_text("Dear Sir or Madam")
    lanes = quick.opened(two_speakers).count()
    quick.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    quick.open(letter)
    quick.expect_problem("This file cannot be read.")
    expect(quick.page.get_by_role("alert")).to_be_in_viewport(ratio=1)
    expect(quick.page.locator("#chip-name")).to_have_text("mixture.flac")
    expect(quick.lanes).to_have_count(lanes)
    expect(quick.page.get_by_role("alert")).to_contain_text("In the server's log: request ")
    quick.opened(two_speakers)
    expect(quick.page.get_by_role("alert")).to_be_hidden()  # it does not stay when something better was chosen


@pytest.mark.parametrize("slow", ["**/page/files/examples/*.flac", "**/page/settings"])
def test_a_file_that_is_opened_before_the_example_is_there_is_not_replaced_by_it(
    page: Page, small_server: RunningServer, two_speakers: Path, slow: str
) -> None:
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route(slow, hold)
    visitor = Visitor(page, small_server, wait=False)
    route = visitor.held(waiting)
    visitor.open(two_speakers)
    expect(page.locator("#work")).to_be_visible()
    route.continue_()
    expect(page.locator("#chip-name")).to_have_text(two_speakers.name)
    visitor.wait_for_result(2)
    page.wait_for_load_state("networkidle")
    expect(page.locator("#chip-name")).to_have_text(two_speakers.name)
    assert [url.endswith("/recordings") for url in visitor.posts("recordings")] == [True, False]  # sent, separated
    visitor.saw_no_faults()


def test_a_photo_is_refused_at_once(quick: Visitor, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8\xff")
    before = len(quick.posts("recordings"))
    quick.open(photo)
    quick.expect_problem("photo.jpg: expected a sound or video file.")
    assert len(quick.posts("recordings")) == before


def test_an_empty_and_a_broken_recording_say_why(quick: Visitor, tmp_path: Path) -> None:
    empty, broken = tmp_path / "empty.wav", tmp_path / "nan.wav"
    empty.write_bytes(b"")
    broken.write_bytes(encoded(np.array([0.1, np.nan, 0.1], np.float32), 16_000))
    quick.open(empty)
    quick.expect_problem("The file is empty.")
    quick.open(broken)
    quick.expect_problem("not finite")


def test_cancel_while_the_file_is_read_is_heeded(quick: Visitor, two_speakers: Path) -> None:
    page = quick.page
    # A browser that takes its time to tell how long the file lasts.
    page.evaluate(
        """() => {
            const Plain = Audio;
            window.Audio = function () {
                const player = new Plain();
                Object.defineProperty(player, "src", { set() {} });
                return player;
            };
        }"""
    )
    before = len(quick.posts("recordings"))
    quick.open(two_speakers)
    expect(page.locator("#stage")).to_have_text("Reading the file")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#notice")).to_have_text("Cancelled.")
    page.wait_for_timeout(3500)  # the browser gives up telling after three seconds
    expect(page.locator("#chip-name")).to_have_text("mixture.flac")
    expect(page.locator("#work")).to_be_hidden()
    assert len(quick.posts("recordings")) == before


def test_quick_choices_show_the_last_and_send_each_once(quick: Visitor, two_speakers: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.wav"
    other.write_bytes(noise(1))
    before = len(quick.posts("recordings"))
    quick.open(two_speakers)
    quick.open(other)
    expect(quick.page.locator("#chip-name")).to_have_text("other.wav")
    quick.wait_for_result()
    quick.page.wait_for_timeout(1000)
    expect(quick.page.locator("#chip-name")).to_have_text("other.wav")
    uploads = [url for url in quick.posts("recordings")[before:] if url.endswith("/recordings")]
    assert len(uploads) <= 2
    quick.faults = [fault for fault in quick.faults if "abort" not in fault.lower()]


def test_a_busy_server_is_tried_again_after_a_countdown(quick: Visitor, two_speakers: Path) -> None:
    page = quick.page
    full = {
        "type": "x",
        "title": "The server has as much work as it takes.",
        "status": 503,
        "detail": "unmingle_held{resource=requests}",
        "code": "server_full",
        "request_id": "1",
    }
    page.route(
        "**/recordings", lambda route: route.fulfill(status=503, headers={"Retry-After": "3"}, json=full), times=1
    )
    for id in ("stage", "detail", "problem"):
        quick.watch(id)
    quick.opened(two_speakers)
    quick.expect_text("stage", "The server is busy")
    quick.expect_text("detail", "Trying again in [23] s\\.")
    assert page.evaluate("texts.problem") == []
    quick.forgive()


def test_a_busy_server_is_tried_again_for_another_number_too(quick: Visitor) -> None:
    """As those with an API key meet one, whose requests per minute are counted."""
    page = quick.page
    limited = {
        "type": "x",
        "title": "Too many",
        "status": 429,
        "detail": "unmingle_held",
        "code": "rate_limited",
        "request_id": "1",
    }
    for path in ("**/separations", "**/stems/2?*"):
        page.route(path, lambda route: route.fulfill(status=429, headers={"Retry-After": "1"}, json=limited), times=1)
    quick.watch("notice")
    quick.number(3)
    quick.expect_text("notice", "The server is busy. Trying again in 1 s.")
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_hidden()
    quick.forgive()


def test_results_that_are_replaced_leave_nothing_behind(quick: Visitor, two_speakers: Path) -> None:
    page = quick.page
    page.emulate_media(color_scheme="dark")
    quick.number(2)
    canvases = page.locator("canvas").count()
    for number in (3, 2):
        quick.number(number)
        page.locator("#play").click()
        expect(page.locator("#play")).to_have_text("Pause")
        page.locator("#play").click()
        assert quick.holds(CONTEXTS)[CONTEXTS]
        page.emulate_media(color_scheme="light")
    quick.opened(two_speakers)
    quick.number(2)
    quick.expect_nothing_of_other_results()
    assert page.locator("canvas").count() == canvases


def test_seeking_to_the_end_while_playing_stays_there(quick: Visitor) -> None:
    page = quick.page
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("Pause")
    page.locator("#position").press("End")
    page.locator("#position").evaluate("(slider) => slider.dispatchEvent(new Event('input'))")
    expect(page.locator("#play")).to_have_text("Play")
    expect(page.locator("#time")).to_have_text("0:05 of 0:05")
    page.evaluate("window.starts = []")
    page.locator("#play").click()
    quick.wait_until("starts.length > 0")
    assert set(page.evaluate("starts")) == {0}  # from the start


def test_silence_is_no_failure(visitor: Visitor, tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    silence.write_bytes(encoded(np.zeros(32_000, np.float32), 16_000))
    visitor.opened(silence)
    visitor.number(3)
    expect(visitor.lanes.locator(".confidence")).to_have_text(["silent"] * 3)
    expect(visitor.page.locator("#warnings")).to_contain_text("The recording is silent.")


def test_one_voice_on_a_telephone_is_not_almost_certain(visitor: Visitor, two_speakers: Path, tmp_path: Path) -> None:
    import soundfile
    import soxr

    call = tmp_path / "call.wav"
    samples, rate = soundfile.read(two_speakers.parent / "source_1.flac", dtype="float32")
    call.write_bytes(encoded(soxr.resample(samples, rate, 8_000).astype(np.float32), 8_000))
    visitor.opened(call)
    words = visitor.page.locator("#number-words")
    expect(words).to_contain_text("Counted: ")
    assert "almost certain" not in words.inner_text()
    if "Counted: 1" in words.inner_text():
        expect(words).to_contain_text("try 2")
    expect(visitor.page.locator("#numbers input[value='2']")).to_be_enabled()


def test_a_server_that_is_gone_says_so(page: Page, start_small: StartServer, two_speakers: Path) -> None:
    server = start_small()
    visitor = Visitor(page, server)
    server.kill()
    visitor.open(two_speakers)
    visitor.expect_problem("The server does not answer.")


def test_an_api_key_is_asked_for_and_used(page: Page, start_small: StartServer, two_speakers: Path) -> None:
    from unmingle.service.http.auth import hashed

    server = start_small(UNMINGLE_API_KEYS=f"alice={hashed('open sesame')}")
    visitor = Visitor(page, server, wait=False)
    expect(page.locator("#notice")).to_have_text("Enter the API key to begin.")
    page.get_by_label("API key").fill("wrong")
    page.get_by_label("API key").press("Tab")
    visitor.expect_problem("This server needs an API key.")
    expect(page.get_by_label("API key")).to_be_focused()
    page.get_by_label("API key").fill("open sesame")
    page.get_by_label("API key").press("Tab")
    visitor.wait_for_result()
    visitor.opened(two_speakers)
    visitor.forgive()
    visitor.saw_no_faults()


def test_a_dropped_file_is_opened_anywhere(quick: Visitor) -> None:
    quick.page.evaluate(
        """async () => {
            const response = await fetch("page/files/examples/two_speakers.flac");
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([await response.blob()], "talk.of.two.flac", { type: "audio/flac" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }"""
    )
    expect(quick.page.locator("#chip-name")).to_have_text("talk.of.two.flac")
    quick.wait_for_result()


def test_points_and_boxes_are_selected_heard_and_made_sounds(visitor: Visitor) -> None:
    page = visitor.page
    expect(page.get_by_role("button", name="Hear selection")).to_be_disabled()
    visitor.wait_for_map()

    def lasso() -> None:
        """A line round the upper half of the map."""
        box = page.locator("#map").bounding_box()
        assert box is not None
        at = [
            (box["x"] + box["width"] * x, box["y"] + box["height"] * y)
            for x, y in ((0.02, 0.02), (0.98, 0.02), (0.98, 0.5), (0.02, 0.5))
        ]
        page.mouse.move(*at[0])
        page.mouse.down()
        for x, y in (*at[1:], at[0]):
            page.mouse.move(x, y, steps=4)
        page.mouse.up()
        expect(page.locator("#selected")).to_contain_text(re.compile(r"Selected: [1-9]\d* of \d+ points"))

    page.locator("#map").scroll_into_view_if_needed()
    lasso()
    page.get_by_role("button", name="Hear selection").click()
    visitor.wait_until("loudness() > 0.0005")
    expect(page.get_by_role("button", name="Hear selection")).to_be_visible()
    page.get_by_text("Select without drawing").click()
    page.get_by_label("From, s").fill("1")
    page.get_by_label("To, s").fill("2")
    page.get_by_role("button", name="Select this part").click()
    expect(page.locator("#selected")).to_contain_text("1.0 to 2.0 s")
    visitor.watch("hear")
    page.get_by_role("button", name="Hear selection").click()
    visitor.expect_text("hear", "^Stop$")
    expect(page.get_by_role("button", name="Hear selection")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#selected")).to_have_text("Nothing is selected.")
    lasso()
    page.get_by_role("button", name="Make it a sound").click()
    visitor.wait_for_result(3)
    expect(page.locator("#numbers input:checked")).to_have_count(0)
    made = len(visitor.posts("recordings"))
    lasso()
    page.get_by_label("Sound to merge the selection into").select_option("Sound 2")
    page.get_by_role("button", name="Merge").click()
    expect(page.locator("#selected")).to_have_text("Nothing is selected.")
    visitor.wait_for_result(3)
    assert len(visitor.posts("recordings")) == made + 1


def test_nothing_of_a_recording_that_was_replaced_is_shown(quick: Visitor, two_speakers: Path) -> None:
    """Answers that come late belong to nobody."""
    page, late = quick.page, []

    def hold(route: Route) -> None:
        late.append(route)

    page.route("**/separations", hold, times=1)
    page.locator("#numbers input[value='5']").check(force=True)
    quick.wait_until("document.querySelector('#studio.changing') !== null")
    page.unroute("**/separations")
    quick.number(2)
    for route in late:
        try:
            route.continue_()
        except Exception:  # the page has called it off already
            continue
    page.wait_for_timeout(500)
    expect(quick.lanes).to_have_count(2)
