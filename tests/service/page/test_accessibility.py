"""For everybody: by keyboard, with a screen reader, in light and in dark, in few colours, on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

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


SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")


def test_axe_finds_nothing_in_any_state(patient: Visitor, tmp_path: Path) -> None:
    page = patient.page

    def look(state: str) -> None:
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            assert violations(page) == [], (state, scheme)

    look("a recording")
    letter = tmp_path / "letter.wav"
    letter.write_text("Dear Sir or Madam")
    patient.open(letter)
    patient.expect_problem("cannot be read")
    patient.lanes.nth(0).get_by_role("button", name="Solo").click()
    page.get_by_text("Who is heard when, as a table").click()
    page.get_by_text("Select without drawing").click()
    page.get_by_role("button", name="Select what is unclear").click()
    look("a problem, a selection")
    for name in ("Export", "Recent"):
        page.get_by_role("button", name=name).click()
        look(name)
        page.get_by_role("button", name="Close").click()
    page.emulate_media(color_scheme="light")


# Of each control that is to be seen and can be used: its name, and the contrast of its edge, or of its face, with what
# is behind it, as WCAG 2 reckons. Sliders and ticks are the browser's own, and left to it.
_CONTRASTS = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const opacity = (colour) => parts(colour)[3] ?? 1;
    const over = (colour, back) => {
        const under = parts(back);
        return parts(colour).slice(0, 3).map((v, i) => opacity(colour) * v + (1 - opacity(colour)) * under[i]);
    };
    const luminance = (rgb) => {
        const linear = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const contrast = (colour, back) => {
        const [dark, light] = [luminance(over(colour, back)), luminance(parts(back))].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const behind = (element) => {
        for (let at = element.parentElement; at; at = at.parentElement) {
            const { backgroundColor } = getComputedStyle(at);
            if (opacity(backgroundColor) === 1) return backgroundColor;
        }
        return "rgb(255, 255, 255)";
    };
    const controls = (document.querySelector("dialog[open]") ?? document.body).querySelectorAll(
        "button:not(.plain, :disabled), .button, select:not(:disabled), .number span, "
            + "input:is([type=text], [type=number]):read-write"
    );
    return [...controls].filter((control) => control.checkVisibility()).map((control) => {
        const style = getComputedStyle(control);
        const edges = ["Top", "Bottom"].filter((side) => parseFloat(style[`border${side}Width`]) > 0);
        const colours = [style.backgroundColor, ...edges.map((side) => style[`border${side}Color`])];
        const name = control.id || control.textContent.trim() || control.getAttribute("aria-label");
        return [name, Math.max(...colours.map((colour) => contrast(colour, behind(control))))];
    });
}"""


@pytest.mark.parametrize("forced", ["none", "active"])
def test_every_control_stands_out(patient: Visitor, forced: Literal["none", "active"]) -> None:
    """Its edge has a contrast of at least 3."""
    page = patient.page
    solo = page.get_by_role("button", name="Solo").first
    if solo.get_attribute("aria-pressed") == "false":
        solo.click()

    def look(most: int) -> None:
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme, forced_colors=forced)
            found = page.evaluate(_CONTRASTS)
            assert len(found) >= most
            assert [(name, contrast) for name, contrast in found if contrast < 3] == [], scheme

    look(25)
    for name, most in (("Export", 8), ("Recent", 1)):
        page.get_by_role("button", name=name).click()
        look(most)
        page.keyboard.press("Escape")
    page.emulate_media(color_scheme="light", forced_colors="none")


def test_nothing_moves_for_those_who_do_not_want_it(patient: Visitor) -> None:
    page = patient.page
    # A message that appears, and a bar that does not know how far it is.
    page.evaluate("for (const id of ['notice', 'work']) document.getElementById(id).hidden = false;")
    moving = """() => [...document.querySelectorAll("*")].filter((element) => {
        const { animationName, transitionDuration, scrollBehavior } = getComputedStyle(element);
        return animationName !== "none" || parseFloat(transitionDuration) > 0 || scrollBehavior === "smooth";
    }).map((element) => element.id)"""
    page.emulate_media(reduced_motion="no-preference")
    assert "notice" in page.evaluate(moving)
    bar = "getComputedStyle(document.getElementById('progress')).appearance"
    assert page.evaluate(bar) == "auto"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == []
    assert page.evaluate("document.getAnimations().length") == 0
    assert page.evaluate(bar) == "none"  # the browser's own runs to and fro
    page.emulate_media(reduced_motion="no-preference")
    page.evaluate("for (const id of ['notice', 'work']) document.getElementById(id).hidden = true;")


def test_everything_can_be_done_by_keyboard(quick: Visitor) -> None:
    page = quick.page
    keyboard = page.keyboard

    def tab_to(id: str) -> None:
        for _ in range(60):
            keyboard.press("Tab")
            if page.evaluate("document.activeElement.id || document.activeElement.className") == id:
                return
        raise AssertionError(f"Tab does not lead to {id}")

    tab_to("file")
    tab_to("play")
    keyboard.press("Space")
    expect(page.locator("#play")).to_have_text("Pause")
    keyboard.press("Space")
    expect(page.locator("#play")).to_have_text("Play")
    tab_to("position")
    keyboard.press("Home")
    keyboard.press("ArrowRight")
    expect(page.locator("#position")).to_have_attribute("aria-valuetext", "0:00 of 0:05")
    keyboard.press("PageUp")
    expect(page.locator("#position")).to_have_attribute("aria-valuetext", "0:05 of 0:05")
    tab_to("solo")
    keyboard.press("Space")
    expect(page.locator(".solo").first).to_have_attribute("aria-pressed", "true")
    page.locator("#numbers input:checked").focus()
    before = quick.lanes.count()
    keyboard.press("ArrowRight")
    quick.wait_for_result(before % 8 + 1)


def test_a_screen_reader_hears_the_stages_and_finds_its_way(quick: Visitor, two_speakers: Path) -> None:
    page = quick.page
    page.evaluate(
        """() => {
            window.heard = [];
            const status = document.getElementById("said");
            new MutationObserver(() => heard.push(status.textContent)).observe(status, { childList: true });
        }"""
    )
    quick.opened(two_speakers)
    heard = page.evaluate("heard")
    assert heard[0] == "Reading the file"
    assert "Separating" in heard
    assert len(heard) < 7  # stages, not every percent
    assert "sound" in page.locator("#said").inner_text()
    expect(page.get_by_role("group", name="Sound 1").get_by_role("button")).to_have_text(["Solo", "Mute", "Save"])
    expect(page.get_by_role("img", name="Spectrogram")).to_be_visible()
    expect(page.get_by_role("group", name="How many sounds?").get_by_role("radio")).to_have_count(8)


@pytest.mark.parametrize("width", [320, 360, 768, 1280, 3840])
def test_nothing_sticks_out_and_targets_are_large(patient: Visitor, width: int) -> None:
    page = patient.page
    page.set_viewport_size({"width": width, "height": 700})
    boxes = page.evaluate(
        """() => {
            const controls = document.querySelectorAll("main button, .bar button, .bar label, .number, select");
            return [...controls].filter((control) => control.checkVisibility()).map((control) => {
                const { left, right, width, height } = control.getBoundingClientRect();
                return [control.id || control.innerText, left, right, width, height];
            });
        }"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert len(boxes) > 20
    for name, left, right, wide, high in boxes:
        assert left >= 0, name
        assert right <= width, name
        assert high >= 43.9, name
        assert wide >= 43.9, name


def test_in_forced_colours_what_is_chosen_can_be_seen(patient: Visitor) -> None:
    page = patient.page
    page.emulate_media(forced_colors="active")
    solo = page.get_by_role("button", name="Solo").first
    if solo.get_attribute("aria-pressed") == "false":
        solo.click()
    style = "(element) => [getComputedStyle(element).backgroundColor, getComputedStyle(element).borderTopWidth].join()"
    on = page.locator(".solo").nth(0).evaluate(style)
    assert on != page.locator(".solo").nth(1).evaluate(style)
    chosen = page.locator("#numbers input:checked + span").evaluate(style)
    assert chosen != page.locator("#numbers input:not(:checked) + span").first.evaluate(style)
    page.emulate_media(forced_colors="none")


def test_messages_are_seen_and_heard(quick: Visitor, two_speakers: Path) -> None:
    page = quick.page
    page.route("**/recordings", lambda route: None)  # never answered
    quick.open(two_speakers)
    expect(page.locator("#stage")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#said")).to_have_text("Cancelled.")
    expect(page.locator("#notice")).to_have_text("Cancelled.")
    page.set_viewport_size({"width": 1280, "height": 500})
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.locator("#notice")).to_be_in_viewport(ratio=1)
