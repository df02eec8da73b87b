"""Pictures of every state, for people to look at: PAGE_PICTURES=folder keeps them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, Route, expect

from tests.conftest import EXAMPLES
from tests.service.harness import RunningServer, encoded
from tests.service.page.visitor import Visitor, kept_on

pytestmark = pytest.mark.slow

SIZES = {"desktop": (1280, 900), "tablet": (820, 1100), "phone": (360, 740)}
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")


class Take(Protocol):
    """Takes the pictures of a state: at three sizes, light and dark."""

    def __call__(self, state: str, *, whole: bool = False) -> None: ...


@pytest.fixture
def take(page: Page, tmp_path: Path) -> Iterator[Take]:
    folder = Path(os.environ.get("PAGE_PICTURES") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    taken: list[Path] = []
    page.emulate_media(reduced_motion="reduce")

    def take(state: str, *, whole: bool = False) -> None:
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                # Canvases are drawn anew with the frame after the one in which they are found to have another size.
                page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
                if whole:  # else the bar at the top is in the middle
                    page.evaluate("scrollTo(0, 0)")
                taken.append(folder / f"{state}_{size}_{scheme}.png")
                page.screenshot(path=taken[-1], full_page=whole)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (state, size)

    yield take
    assert taken
    for picture in taken:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 5_000


def test_pictures_of_the_example_and_of_every_dialog(page: Page, server: RunningServer, take: Take) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/recordings", hold, times=1)
    visitor = Visitor(page, server, wait=False)
    expect(page.locator("#work")).to_be_visible()
    take("opening")
    visitor.held(held).continue_()
    visitor.wait_for_result(3)
    visitor.wait_for_map()
    take("example", whole=True)
    page.get_by_role("button", name="Solo").first.click()
    page.get_by_text("Select without drawing").click()
    page.get_by_role("button", name="Select what is unclear").click()
    page.get_by_text("Who is heard when, as a table").click()
    take("selected", whole=True)
    for name in ("Export", "Recent", "Record"):
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        take(name.lower())
        page.keyboard.press("Escape")


def test_pictures_of_other_recordings(page: Page, server: RunningServer, take: Take, tmp_path: Path) -> None:
    three = EXAMPLES / "three_speakers" / "mixture.flac"
    visitor = Visitor(page, server, kept_on(server, three))
    stereo = tmp_path / "stereo.wav"
    first, second = (
        soundfile.read(EXAMPLES / "two_speakers" / f"source_{n}.flac", dtype="float32")[0][:32_000] for n in (1, 2)
    )
    stereo.write_bytes(encoded(np.stack([first + 0.3 * second, 0.3 * first + second], axis=-1), 16_000))
    visitor.opened(stereo)
    expect(page.locator("#channels-card")).to_be_visible()
    visitor.wait_for_map()
    take("channels", whole=True)
    visitor.open(three, stereo)
    expect(page.locator("#listed li").nth(1)).to_contain_text("ready")
    visitor.wait_for_result(3)
    take("list")
    job = server.http.post("/jobs", params={"num_sources": 3}, files={"file": three.read_bytes()}).json()["id"]
    page.goto(f"{server.url}/#job={job}&name=meeting.flac")
    expect(page.locator("#chip-name")).to_have_text("meeting.flac")
    visitor.wait_for_map()
    visitor.wait_for_map("spectrogram")
    take("job", whole=True)
    page.get_by_role("button", name="Delete from the server").click()
    take("delete")
    page.keyboard.press("Escape")
    letter = tmp_path / "letter.wav"
    letter.write_text("Dear Sir or Madam")
    visitor.open(letter)
    visitor.expect_problem("cannot be read")
    take("problem")
