"""For everybody: by keyboard, with a screen reader, in light and in dark, on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.service.page.visitor import Visitor

pytestmark = pytest.mark.slow

RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}


def violations(page: Page) -> list[str]:
    """What axe-core finds."""
    found = Axe().run(page, options=RULES).response["violations"]
    return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_before_during_and_after(visitor: Visitor, two_speakers: Path, scheme: str) -> None:
    page = visitor.page
    page.emulate_media(color_scheme=scheme)
    assert violations(page) == []
    page.get_by_role("button", name="Separate").click()
    visitor.expect_problem("Choose a recording first")
    assert violations(page) == []
    visitor.separate(two_speakers)
    stems = visitor.wait_for_result(2)
    stems.nth(0).get_by_role("button", name="Solo").click()
    page.get_by_text("Who is heard when").click()
    assert violations(page) == []


def test_everything_can_be_done_by_keyboard(visitor: Visitor) -> None:
    page = visitor.page
    keyboard = page.keyboard

    def tab_to(name: str) -> None:
        for _ in range(30):
            keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id") == name:
                return
        raise AssertionError(f"Tab does not lead to {name}")

    tab_to("file")
    tab_to("two people")
    keyboard.press("Enter")
    visitor.wait_for_result(2)
    tab_to("Play")
    keyboard.press("Space")
    expect(page.locator(".play")).to_have_text("Pause")
    keyboard.press("Space")
    expect(page.locator(".play")).to_have_text("Play")
    keyboard.press("Tab")
    keyboard.press("Home")
    keyboard.press("ArrowRight")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "0:00 of 0:05")
    keyboard.press("PageUp")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "0:05 of 0:05")
    tab_to("Solo")
    keyboard.press("Space")
    expect(page.locator(".solo").first).to_have_attribute("aria-pressed", "true")
    tab_to("Another recording")
    keyboard.press("Enter")
    expect(page.locator("#file")).to_be_focused()


def test_a_screen_reader_hears_the_stages_and_finds_its_way(visitor: Visitor) -> None:
    page = visitor.page
    page.evaluate(
        """() => {
            window.heard = [];
            const status = document.getElementById("said");
            new MutationObserver(() => heard.push(status.textContent)).observe(status, { childList: true });
        }"""
    )
    page.get_by_role("button", name="two people").click()
    visitor.wait_for_result(2)
    expect(page.get_by_role("status")).to_have_text("Done: 2 sounds.")
    heard = page.evaluate("heard")
    assert heard[0] == "Reading the file"
    assert "Separating" in heard
    assert len(heard) < 6  # stages, not every percent
    expect(page.get_by_role("group", name="Sound 2").get_by_role("button")).to_have_count(2)
    expect(page.get_by_role("img", name="Sound 1")).to_be_visible()
    expect(
        page.get_by_role("radiogroup", name="How many").or_(page.get_by_role("group", name="How many"))
    ).to_be_visible()


@pytest.mark.parametrize("width", [320, 375, 768])
def test_nothing_sticks_out_on_a_narrow_screen(visitor: Visitor, two_speakers: Path, width: int) -> None:
    page = visitor.page
    page.set_viewport_size({"width": width, "height": 700})
    visitor.separate(two_speakers)
    visitor.wait_for_result(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for control in page.locator("button:visible, a.button:visible, .pills label").all():
        box = control.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] >= 24  # WCAG 2.2, target size
