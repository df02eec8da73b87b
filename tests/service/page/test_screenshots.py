"""Pictures of every state, for people to look at: PAGE_PICTURES=folder keeps them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.service.harness import RunningServer
from tests.service.page.visitor import Visitor

SIZES = {"desktop": (1280, 900), "tablet": (820, 1100), "phone": (360, 740)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_has_its_picture(page: Page, server: RunningServer, tmp_path: Path, size: str, scheme: str) -> None:
    folder = Path(os.environ.get("PAGE_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    taken: list[Path] = []

    def take(state: str, whole: bool = False) -> None:
        page.wait_for_timeout(300)
        if whole:
            page.evaluate("scrollTo(0, 0)")
        taken.append(folder / f"{state}_{size}_{scheme}.png")
        page.screenshot(path=taken[-1], full_page=whole)
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    visitor = Visitor(page, server, wait=False)
    expect(page.locator("#work")).to_be_visible()
    take("opening")
    visitor.wait_for_result(3)
    visitor.wait_until("performance.getEntriesByType('resource').some((r) => /points/.test(r.name))")
    page.wait_for_timeout(700)
    take("example", whole=True)
    page.get_by_role("button", name="Solo").first.click()
    page.get_by_text("Select without drawing").click()
    page.get_by_role("button", name="Select what is unclear").click()
    page.get_by_text("Who is heard when, as a table").click()
    take("selected", whole=True)
    for name in ("Export", "Recent", "Record"):
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_timeout(500)
        take(name.lower())
        page.keyboard.press("Escape")
    letter = tmp_path / "letter.wav"
    letter.write_text("Dear Sir or Madam")
    visitor.open(letter)
    visitor.expect_problem("no recording")
    take("problem")
    for picture in taken:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 5_000
