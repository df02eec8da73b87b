"""A recording on the page, from opening it to the sounds that are heard and saved."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
import soundfile
import soxr
from playwright.sync_api import Browser, Page, expect

from tests.conftest import EXAMPLES
from tests.service.harness import ROOT, RunningServer, children_of, encoded, noise, post, read
from tests.service.page.visitor import Visitor, kept_on

pytestmark = pytest.mark.slow

MIXTURES = ("two_speakers", "three_speakers")
PAGE_EXAMPLES = ROOT / "service" / "page" / "examples"


def test_the_examples_are_those_of_the_project() -> None:
    for name in MIXTURES:
        assert (PAGE_EXAMPLES / f"{name}.flac").read_bytes() == (EXAMPLES / name / "mixture.flac").read_bytes()


def test_it_opens_inside_an_example_paused_and_plays_what_the_api_gives(page: Page, server: RunningServer) -> None:
    visitor = Visitor(page, server)
    lanes = visitor.wait_for_result(3)
    expect(page.locator("#chip-name")).to_have_text("three_speakers.flac")
    expect(page.locator("#intro")).to_contain_text("This is an example")
    expect(page.locator("#time")).to_have_text(re.compile(r"0:0[123] of 0:05"))
    expect(page.locator("#play")).to_have_text("Play")
    assert "#" not in page.url
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("Pause")
    visitor.wait_until("loudness() > 0.001")
    content = (EXAMPLES / "three_speakers" / "mixture.flac").read_bytes()
    archive = zipfile.ZipFile(io.BytesIO(post(visitor.server, content, num_sources=3, background="stem").content))
    for number, name in enumerate(("stem_1.wav", "stem_2.wav", "stem_3.wav", "background.wav")):
        expected = soundfile.read(io.BytesIO(archive.read(name)), dtype="float32")[0]
        played = np.array(page.evaluate(f"[...played[{number}].getChannelData(0)]"), np.float32)
        assert page.evaluate(f"played[{number}].sampleRate") == 16_000
        # It is listened to in 16 bits.
        assert len(played) == len(expected)
        assert np.abs(played - expected).max() <= 1 / 32768
    for number in (1, 2, 3):
        page.locator("#format").evaluate("(select) => { select.value = 'wav:FLOAT'; }")
        name, saved = visitor.saved(lanes.nth(number - 1).get_by_role("button", name="Save"))
        assert name == f"three_speakers_Sound {number}.wav"
        assert saved == archive.read(f"stem_{number}.wav")
    visitor.saw_no_faults()


def test_another_number_takes_no_upload_and_gives_the_same_bytes(visitor: Visitor, two_speakers: Path) -> None:
    page = visitor.page
    expect(page.locator("#numbers input:checked")).to_have_value("2")
    expect(page.locator("#numbers label")).to_have_count(8)
    expect(page.locator("#number-words")).to_contain_text("Counted: 2")
    uploads = len(visitor.posts("recordings"))
    separations = len([url for url in visitor.posts("recordings") if url.endswith("/separations")])
    for number in (4, 1, 3):
        visitor.number(number)
    sent = visitor.posts("recordings")[uploads:]
    assert len(sent) == 3
    assert all(url.endswith("/separations") for url in sent)
    assert separations
    page.locator("#format").evaluate("(select) => { select.value = 'wav:FLOAT'; }")
    _, saved = visitor.saved(visitor.lanes.nth(1).get_by_role("button", name="Save"))
    answer = post(visitor.server, two_speakers.read_bytes(), num_sources=3, background="stem")
    assert saved == zipfile.ZipFile(io.BytesIO(answer.content)).read("stem_2.wav")


def test_each_sound_is_described_and_listed(visitor: Visitor) -> None:
    lanes = visitor.lanes
    for number in (0, 1):
        expect(lanes.nth(number).locator(".confidence")).to_have_text(re.compile("^(clear|fairly clear|mixed).*%$"))
        expect(lanes.nth(number).locator(".heard")).to_have_text(re.compile(r"heard for \d\.\d\ss of 5\.0\ss"))
    visitor.page.get_by_text("Who is heard when, as a table").click()
    expect(visitor.page.get_by_role("row").nth(1)).to_have_text(re.compile(r"Sound \d0:0\d\.\d0:0\d\.\d"))


def test_names_go_into_files_manifest_and_reports(visitor: Visitor, two_speakers: Path) -> None:
    page = visitor.page
    page.get_by_label("Name of sound 1").fill("Anna / Maria")
    page.get_by_label("Name of sound 1").press("Enter")
    visitor.number(3)
    visitor.number(2)
    expect(page.get_by_label("Name of sound 1")).to_have_value("Anna / Maria")  # it is the same voice
    page.get_by_role("button", name="Export").click()
    page.get_by_label("Format of the sounds").select_option("FLAC")
    name, saved = visitor.saved(page.get_by_role("button", name="All sounds"))
    assert name == "mixture.zip"
    archive = zipfile.ZipFile(io.BytesIO(saved))
    assert archive.testzip() is None
    assert archive.namelist() == [
        "Anna  Maria.flac",
        "Sound 2.flac",
        "Background.flac",
        "manifest.json",
        "activity.rttm",
    ]
    manifest = json.loads(archive.read("manifest.json"))
    assert [stem["file"] for stem in manifest["stems"]] == ["Anna  Maria.flac", "Sound 2.flac"]
    assert manifest["stems"][0]["name"] == "Anna / Maria"
    parts = [soundfile.read(io.BytesIO(archive.read(name)))[0] for name in archive.namelist()[:3]]
    assert np.abs(sum(parts) - soundfile.read(two_speakers)[0]).max() < 1e-5
    assert re.match(r"SPEAKER mixture 1 \d\.\d{3} \d\.\d{3} <NA>", archive.read("activity.rttm").decode())
    page.get_by_role("button", name="Close").click()
    for format, ending, content in (
        ("WAV, 16 bits", "wav", b"RIFF"),
        ("WAV, 24 bits", "wav", b"RIFF"),
        ("Ogg Vorbis", "ogg", b"OggS"),
        ("MP3", "mp3", b""),
    ):
        page.locator("#format").evaluate(
            "(select, name) => { select.value = [...select.options].find((option) => option.text === name).value; }",
            format,
        )
        name, saved = visitor.saved(visitor.lanes.first.get_by_role("button", name="Save"))
        assert name == f"mixture_Anna  Maria.{ending}"
        assert saved.startswith(content)
        info = soundfile.info(io.BytesIO(saved))
        assert (info.samplerate, info.channels) == (16_000, 1)
        assert info.duration == pytest.approx(5.0, abs=0.1)
    page.get_by_role("button", name="Export").click()
    for button, file, content in (
        ("Who is heard when", "mixture.rttm", b"Anna_/_Maria"),
        ("Audacity", "mixture.labels.txt", b"Anna / Maria"),
        ("Times", "mixture.csv", b'"Anna / Maria",'),
        ("Picture (PNG)", "mixture.png", b"\x89PNG"),
        ("Picture (SVG)", "mixture.svg", b"Anna / Maria</text>"),
    ):
        name, saved = visitor.saved(page.get_by_role("dialog").get_by_role("button", name=button))
        assert name == file
        assert content in saved


def test_they_play_together_alone_and_as_the_original(visitor: Visitor) -> None:
    page, lanes = visitor.page, visitor.lanes
    page.locator("#position").press("Home")
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_text("Pause")
    visitor.wait_until("loudness() > 0.001")
    page.keyboard.press("1")
    expect(lanes.nth(0).get_by_role("button", name="Solo")).to_have_attribute("aria-pressed", "true")
    expect(lanes.nth(1)).to_have_class(re.compile("unheard"))
    page.keyboard.press("0")
    lanes.nth(1).get_by_role("button", name="Mute").click()
    expect(lanes.nth(1)).to_have_class(re.compile("unheard"))
    page.keyboard.press("o")
    expect(page.get_by_role("button", name="Original", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(lanes.nth(1)).not_to_have_class(re.compile("unheard"))
    page.keyboard.press("o")
    expect(lanes.nth(1)).to_have_class(re.compile("unheard"))
    for mute in page.locator(".lane .mute").all():
        if mute.get_attribute("aria-pressed") == "false":
            mute.click()
    visitor.wait_until("loudness() === 0")
    page.get_by_label("Volume of Sound 1").fill("0.3")
    page.keyboard.press("Escape")


def test_zoom_loop_and_seek_are_in_step(visitor: Visitor) -> None:
    page = visitor.page
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    page.keyboard.press("+")
    expect(page.locator("#axis-from")).to_have_text(re.compile(r"^[1-9]"))
    span = [float(page.locator(id).inner_text().split()[0]) for id in ("#axis-from", "#axis-to")]
    assert abs(span[1] - span[0] - 1.25) < 0.02
    visitor.wait_until("performance.getEntriesByType('resource').some((r) => /masks.*start_s=[1-9]/.test(r.name))")
    page.keyboard.press("l")
    expect(page.get_by_role("button", name="Loop")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Space")
    visitor.wait_until(f"document.getElementById('position').value > {span[0] + 0.9}")
    visitor.wait_until(f"document.getElementById('position').value < {span[0] + 0.5}")
    assert float(page.locator("#position").input_value()) >= span[0] - 0.05
    page.keyboard.press("Space")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("-")
    page.keyboard.press("-")
    expect(page.locator("#axis-to")).to_have_text("5.00 s")


def drag(page: Page, over: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """With the mouse; places are parts of the element's width and height."""
    page.locator(over).first.scroll_into_view_if_needed()
    box = page.locator(over).first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=5)
    page.mouse.up()


def test_dragging_scrubs_a_lane_and_selects_a_box_that_can_be_looped(visitor: Visitor) -> None:
    page = visitor.page
    visitor.wait_for_map()
    drag(page, ".lane .wave", (0.1, 0.5), (0.5, 0.5))
    assert float(page.locator("#position").input_value()) == pytest.approx(2.5, abs=0.1)
    drag(page, "#picture", (0.2, 0.9), (0.4, 0.3))
    expect(page.locator("#selected")).to_contain_text(
        re.compile(r"Selected: (0\.9|1\.0) to 2\.0 s, .*Hz to .*Hz; [1-9]")
    )
    page.keyboard.press("l")
    page.keyboard.press("Space")
    visitor.wait_until("loudness() > 0.0005")
    assert 0.9 <= float(page.locator("#position").input_value()) <= 2.2
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    expect(page.locator("#selected")).to_have_text("Nothing is selected.")


def test_several_files_are_worked_through(quick: Visitor, two_speakers: Path, tmp_path: Path) -> None:
    other, photo = tmp_path / "other.wav", tmp_path / "photo.jpg"
    other.write_bytes(noise(1))
    photo.write_bytes(b"\xff\xd8\xff")
    quick.open(two_speakers, photo, other)
    page = quick.page
    expect(page.locator("#chip-name")).to_have_text("mixture.flac")
    expect(page.locator("#notice")).to_have_text("Left out, because they are not recordings: photo.jpg.")
    expect(page.locator("#listed li")).to_have_text([re.compile("mixture.flac ?ready"), re.compile("other.wav ?ready")])
    page.get_by_role("button", name="other.wav").click()
    expect(page.locator("#chip-name")).to_have_text("other.wav")
    quick.wait_for_result()


def test_the_microphone_shows_its_level_pauses_and_is_separated(quick: Visitor) -> None:
    page = quick.page
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#record-words")).to_have_text(re.compile("Recording, 0:0"))
    quick.wait_until("document.getElementById('level').value > 0.2")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Pause").click()
    quick.wait_until("/0:0[2-9]/.test(document.getElementById('record-words').textContent)")
    page.get_by_role("button", name="Stop and separate").click()
    expect(page.locator("#chip-name")).to_have_text(re.compile("^Recording "))
    quick.wait_for_result()
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#record-words")).to_have_text(re.compile("Recording, 0:0"))
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_what_was_done_is_found_again_and_cleared(quick: Visitor, two_speakers: Path) -> None:
    page = quick.page
    quick.opened(two_speakers)
    page.get_by_label("Name of sound 1").fill("Anna")
    page.get_by_label("Name of sound 1").press("Enter")
    address = page.url
    assert re.search(r"#recording=[\w-]+&name=mixture\.flac$", address)
    page.reload()  # at once: a name that can be seen is not lost
    quick.wait_for_result()
    expect(page.locator("#chip-name")).to_have_text("mixture.flac")
    expect(page.get_by_label("Name of sound 1")).to_have_value("Anna")
    # The server forgets it; the browser still has the file.
    recording = re.search(r"#recording=([\w-]+)", address)[1]
    assert quick.server.http.delete(f"/recordings/{recording}").status_code == 204
    page.reload()
    quick.wait_for_result()
    expect(page.locator("#chip-name")).to_have_text("mixture.flac")
    quick.forgive()
    page.get_by_role("button", name="Recent").click()
    expect(page.locator(".recent li")).to_have_count(2)  # it, and what was open before
    page.get_by_role("button", name="Clear the list").click()
    expect(page.locator(".recent li")).to_have_text(["None yet."])


def test_a_separation_survives_that_the_server_forgets_the_recording(quick: Visitor, two_speakers: Path) -> None:
    quick.opened(two_speakers)
    recording = re.search(r"#recording=([\w-]+)", quick.page.url)[1]
    quick.server.http.delete(f"/recordings/{recording}")
    quick.number(3)
    quick.forgive()


def video(path: Path, sound: Path, picture: str, voice: str) -> Path:
    """Two seconds of a sound, and a grey picture with it."""
    samples, rate = soundfile.read(sound, dtype="float32", frames=2 * 48_000)
    samples = soxr.resample(samples[: 2 * rate], rate, 48_000).astype(np.float32)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(picture, rate=10, width=64, height=48, pix_fmt="yuv420p")
        sounds = container.add_stream(voice, rate=48_000, layout="mono")
        for _ in range(20):
            grey = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 128, np.uint8), "rgb24")
            container.mux(pictures.encode(grey))
        container.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(samples[None], "flt", "mono")
        frame.sample_rate = 48_000
        container.mux(sounds.encode(frame))
        container.mux(sounds.encode(None))
    return path


def test_the_sound_of_a_video_is_separated_by_server_or_browser(
    quick: Visitor, two_speakers: Path, tmp_path: Path
) -> None:
    """The server reads it; one that was installed without its extra for formats does not, but then the browser does."""
    page = quick.page
    quick.opened(video(tmp_path / "clip.mp4", two_speakers, "mpeg4", "aac"))
    expect(page.locator("#chip-facts")).to_have_text("0:02 · 48 kHz · mono")
    uploads = len([url for url in quick.posts("recordings") if url.endswith("/recordings")])
    refused = {"type": "x", "title": "No", "status": 415, "detail": "", "code": "format_unsupported", "request_id": "1"}
    page.route("**/recordings", lambda route: route.fulfill(status=415, json=refused), times=1)
    quick.opened(video(tmp_path / "clip.webm", two_speakers, "libvpx", "libopus"))
    expect(page.locator("#chip-facts")).to_have_text("0:02 · 48 kHz · mono")
    assert len([url for url in quick.posts("recordings") if url.endswith("/recordings")]) == uploads + 2
    page.locator("#play").click()
    quick.wait_until("played.length > 0 && loudness() > 0.001")
    quick.forgive()


def test_a_stereo_recording_at_another_rate_plays_exactly(quick: Visitor, tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.3, 0.3, (44_100, 2)).astype(np.float32)
    path.write_bytes(encoded(samples, 44_100))
    quick.opened(path)
    quick.page.locator("#play").click()
    quick.wait_until("played.length > 1")
    assert quick.page.evaluate("[played.at(-1).sampleRate, played.at(-1).numberOfChannels]") == [44_100, 2]
    count = quick.page.locator(".lane .mute").count()
    heard = sum(
        np.array(quick.page.evaluate(f"[...played.at(-{n}).getChannelData(1)]"), np.float32)
        for n in range(1, count + 1)
    )
    assert np.abs(heard - samples[:, 1]).max() < 3e-4  # rounded to 16 bits each


def test_masks_are_refined_where_the_server_can(page: Page, tmp_path: Path, two_speakers: Path) -> None:
    refiner = ROOT / "training" / "weights" / "refiner-1.onnx"
    running = RunningServer(tmp_path, {"UNMINGLE_REFINER": str(refiner)})
    try:
        visitor = Visitor(page, running, kept_on(running, two_speakers))
        chosen = page.get_by_label("Masks of the sounds are")
        expect(chosen).to_have_value("fast")
        for quality in ("high", "fast"):
            with page.expect_response(lambda response: response.url.endswith("/separations")) as made:
                chosen.select_option(quality)
            assert made.value.json()["manifest"]["quality"] == quality
            visitor.wait_for_result()
            page.reload()
            visitor.wait_for_result()
            expect(chosen).to_have_value(quality)  # it is remembered
        visitor.saw_no_faults()
    finally:
        running.kill()


def test_several_channels_are_used_as_is_chosen(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    expect(page.locator("#channels-card")).to_be_hidden()  # it has one
    expect(page.locator("#quality-card")).to_be_hidden()  # there is no refiner
    first, second = (
        soundfile.read(EXAMPLES / "two_speakers" / f"source_{n}.flac", dtype="float32")[0][:32_000] for n in (1, 2)
    )
    path = tmp_path / "stereo.wav"
    path.write_bytes(encoded(np.stack([0.9 * first + 0.3 * second, 0.3 * first + 0.9 * second], axis=-1), 16_000))
    visitor.opened(path)
    words = page.locator("#channels-words")
    expect(words).to_contain_text("Channels 1 and 2 told where sounds come from")
    page.get_by_label("Directions of sounds").select_option("ignored")
    expect(words).to_contain_text("All channels were masked alike")
    expect(page.get_by_label("Clean the sounds further")).to_be_disabled()
    page.get_by_label("Directions of sounds").select_option("used")
    page.get_by_label("Clean the sounds further").check()
    expect(words).to_contain_text("they no longer add up to the recording")
    visitor.wait_for_result()
    page.get_by_role("button", name="Original", exact=True).click()
    page.locator("#play").click()
    visitor.wait_until("played.length > 0 && loudness() > 0.0005")
    original = np.array(page.evaluate("[...played.at(-1).getChannelData(1)]"), np.float32)
    assert np.abs(original - (0.3 * first + 0.9 * second)).max() < 1e-4  # and all the same it can be heard
    sounds = page.locator(".lane .mute").count()
    assert page.evaluate("played.length") == sounds + 1
    together = sum(
        np.array(page.evaluate(f"[...played[{sound}].getChannelData(1)]"), np.float32) for sound in range(sounds)
    )
    assert np.abs(together - original).max() > 1e-3
    expect(page.locator("#play")).to_have_text("Play")  # it has ended
    page.get_by_label("Clean the sounds further").uncheck()
    page.get_by_label("Each sound gets").select_option("one: the best")
    expect(words).to_have_text(re.compile(r"The sounds are those of channel [12]\.$"))
    visitor.wait_for_result()
    page.evaluate("window.played = []")
    page.locator("#play").click()
    visitor.wait_until("played.length > 0 && played.at(-1).numberOfChannels === 1")
    page.reload()
    visitor.wait_for_result()
    expect(page.get_by_label("Each sound gets")).to_have_value("reference")  # it is remembered
    page.get_by_label("Each sound gets").select_option("just its own channel")
    expect(words).to_have_text("Each channel was separated on its own.")
    visitor.wait_for_result()
    expect(page).to_have_url(re.compile("#job="))
    expect(visitor.lanes.first.locator(".heard")).to_contain_text(re.compile("^channel [12]"))
    expect(page.locator("#map-card")).to_be_hidden()


def processor_s(server: RunningServer, browser: Browser) -> float:
    """What the server, its workers and the pages have taken of the processor so far."""
    found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    processes, taken = [server.process.pid], 0
    while processes:
        process = processes.pop()
        fields = read(process, "stat").rpartition(b")")[2].split()
        taken += sum(map(int, fields[11:15]))  # its own, and of children that have ended
        processes += children_of(process)
    own = taken / os.sysconf("SC_CLK_TCK")
    return own + sum(process["cpuTime"] for process in found if process["type"] == "renderer")


def test_another_number_is_heard_within_a_second(browser: Browser, visitor: Visitor) -> None:
    """In time of the processor, which no other program takes part in; it is shared by several cores."""
    page = visitor.page
    taken = []
    for number in (3, 2, 3, 2):  # the first makes what is there from then on
        before = processor_s(visitor.server, browser)
        visitor.number(number)
        taken.append(processor_s(visitor.server, browser) - before)
    page.locator("#play").click()
    visitor.wait_until("loudness() > 0.0005")
    assert min(taken) < 1.0


def test_the_policy_lets_nothing_in_from_elsewhere(small_server: RunningServer) -> None:
    response = httpx.get(small_server.url + "/", trust_env=False)
    assert "script-src 'self'" in response.headers["content-security-policy"]
    assert "worker-src 'self'" in response.headers["content-security-policy"]


def test_the_picture_of_the_page_can_be_taken_again(page: Page, server: RunningServer, tmp_path: Path) -> None:
    """The fixture `page` skips this where there is no Chromium."""
    picture = tmp_path / "page.png"
    script = str(ROOT / "docs" / "make_screenshot.py")
    command = [sys.executable, script, "--output", str(picture), "--url", server.url + "/"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=240, capture_output=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
