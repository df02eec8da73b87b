"""What a visitor of the page does and sees."""

from __future__ import annotations

import time
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Route, expect

from tests.service.harness import RunningServer
from tests.service.page.heap import Kind, held

WAIT_S = 240.0  # the machine may be busy with others

_kept: dict[tuple[str, Path], str] = {}


def kept_on(server: RunningServer, file: Path) -> str:
    """Address of a recording that the server has listened to already, within the page: quicker than sending it."""
    found = _kept.get((server.url, file))
    if found is None or server.http.get(f"/recordings/{found}").status_code != 200:
        answer = server.http.post("/recordings", files={"file": file.read_bytes()}, timeout=WAIT_S)
        assert answer.status_code == 201, answer.text
        found = _kept[server.url, file] = answer.json()["id"]
    return f"#recording={found}&name={file.name}"


# Everything that goes to the loudspeakers goes through a meter, too; what is played is kept; and violations of the
# policy are noted.
_METER = """
window.contexts = [];
const Context = window.AudioContext;
window.AudioContext = class extends Context { constructor(...given) { super(...given); window.contexts.push(this); } };
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...more) {
  if (target instanceof AudioDestinationNode) {
    if (window.meter?.context !== this.context) window.meter = new AnalyserNode(this.context, { fftSize: 32768 });
    connect.call(this, window.meter);
  }
  return connect.call(this, target, ...more);
};
window.loudness = () => {
  if (!window.meter) return 0;
  const samples = new Float32Array(window.meter.fftSize);
  window.meter.getFloatTimeDomainData(samples);
  return Math.sqrt(samples.slice(-4096).reduce((sum, x) => sum + x * x, 0) / 4096);
};
window.played = [];
window.starts = []; // positions, in seconds
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (...when) {
  window.played.push(this.buffer);
  window.starts.push(when[1] ?? 0);
  return start.call(this, ...when);
};
window.texts = {};
window.watch = (id) => {
  const element = document.getElementById(id);
  const note = () => window.texts[id].push(element.textContent);
  window.texts[id] = [];
  new MutationObserver(note).observe(element, { childList: true, characterData: true, subtree: true });
};
window.violations = [];
addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


_IS_DRAWN = """
const canvas = document.getElementById(id);
const copy = new OffscreenCanvas(canvas.width, canvas.height);
const context = copy.getContext("2d", { willReadFrequently: true });
context.drawImage(canvas, 0, 0);
const { data } = context.getImageData(0, 0, copy.width, copy.height);
return data.some((value, i) => i % 4 < 3 && value > 60);
"""

# What belongs to a result: decoded sounds, pictures, and what holds them. A Player is an EventTarget to a snapshot.
SOUNDS, PICTURES, CONTEXTS = ("native", "AudioBuffer"), ("native", "ImageBitmap"), ("native", "AudioContext")
SESSIONS, PLAYERS = ("object", "Session"), ("native", "EventTarget")


class Visitor:
    """One tab on the page of one server."""

    def __init__(self, page: Page, server: RunningServer, fragment: str = "", *, wait: bool = True) -> None:
        self.page, self.server = page, server
        self.faults: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._request)
        page.add_init_script(_METER)
        page.goto(server.url + "/" + fragment)
        if wait:
            self.wait_for_result()

    def open(self, *files: Path) -> None:
        """Choose files, as the button Open does."""
        self.page.set_input_files("#file", list(files))

    def wait_for_result(self, sounds: int | None = None) -> Locator:
        """The rows of the sounds, once they are there."""
        expect(self.page.locator("#studio")).to_be_visible()
        expect(self.page.locator("#work")).to_be_hidden()
        expect(self.page.locator("#studio.changing")).to_have_count(0)
        lanes = self.lanes
        if sounds is not None:
            expect(lanes).to_have_count(sounds)
        return lanes

    @property
    def lanes(self) -> Locator:
        """The rows of the sounds, without original and background."""
        return self.page.locator(".lane:not(.is-original)").filter(has=self.page.locator(".name input:not([readonly])"))

    def opened(self, file: Path) -> Locator:
        """Open a file, and wait for its sounds."""
        self.open(file)
        expect(self.page.locator("#chip-name")).to_have_text(file.name)
        return self.wait_for_result()

    def number(self, number: int) -> Locator:
        """Choose a number of sounds, and wait for them."""
        self.page.locator(f"#numbers input[value='{number}']").check(force=True)
        return self.wait_for_result(number)

    def saved(self, link: Locator) -> tuple[str, bytes]:
        """Name and content of what a button saves."""
        with self.page.expect_download() as download:
            link.click()
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def wait_until(self, expression: str) -> None:
        """Until an expression is true in the page. (Playwright's own way of waiting breaks the page's policy.)"""
        give_up = time.monotonic() + WAIT_S
        while not self.page.evaluate(expression):
            assert time.monotonic() < give_up, f"never: {expression}"
            self.page.wait_for_timeout(50)

    def wait_for_map(self, canvas: str = "map") -> None:
        """Until something is drawn on the map, or on the spectrogram."""
        self.wait_until(f"((id) => {{ {_IS_DRAWN} }})({canvas!r})")

    def watch(self, id: str) -> None:
        """Note every text that an element has from now on, however briefly: see `expect_text`."""
        self.page.evaluate("watch", id)

    def expect_text(self, id: str, pattern: str) -> None:
        """Wait until an element that is watched has, or has had, such a text."""
        self.wait_until(f"texts[{id!r}].some((text) => /{pattern}/.test(text))")

    def expect_nothing_of_other_results(self) -> None:
        """Wait until the browser holds what is shown, and no more: one object of an earlier result is one too many.

        What the meter has noted does not count.
        """
        self.page.evaluate("window.played = []; window.meter = null; window.contexts = [];")
        voices, sounds = self.page.locator(".lane .mute").count(), self.lanes.count()
        pictures = 1 + sounds  # of all together, and of each
        wanted = {SOUNDS: voices, PICTURES: pictures, CONTEXTS: 0, SESSIONS: 1, PLAYERS: 1}
        give_up = time.monotonic() + WAIT_S / 4
        while wrong := {kind: ways for kind, ways in self.holds(*wanted).items() if len(ways) != wanted[kind]}:
            assert time.monotonic() < give_up, f"expected {wanted}; held otherwise: {wrong}"
            self.page.wait_for_timeout(200)

    def holds(self, *kinds: Kind) -> dict[Kind, list[str]]:
        """For every object of these kinds that the page holds, the way to it."""
        session = self.page.context.new_cdp_session(self.page)
        found = held(session, *kinds)
        session.detach()
        return found

    def held(self, routes: list[Route]) -> Route:
        """The first request that a handler of routes has kept, once it is there."""
        give_up = time.monotonic() + WAIT_S
        while not routes:
            assert time.monotonic() < give_up, "nothing was asked for"
            self.page.wait_for_timeout(20)
        return routes[0]

    def posts(self, path: str) -> list[str]:
        """Addresses of the POST requests to a path."""
        return [url for url in self.requests if url.startswith(f"POST {self.server.url}/{path}")]

    def expect_problem(self, text: str) -> None:
        """Read a problem, and what the browser itself says of the refused request."""
        expect(self.page.get_by_role("alert")).to_contain_text(text)
        self.forgive()

    def forgive(self) -> None:
        """Take no notice of what the browser says of requests that were refused."""
        self.faults = [fault for fault in self.faults if "Failed to load resource" not in fault]

    def saw_no_faults(self) -> None:
        """Nothing went wrong unseen, and nothing came from elsewhere."""
        assert not self.faults, self.faults
        assert self.page.evaluate("window.violations") == []
        addresses = [request.split(" ", 1)[1] for request in self.requests]
        assert all(url.startswith((self.server.url, f"blob:{self.server.url}", "data:")) for url in addresses)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def _request(self, request: Request) -> None:
        self.requests.append(f"{request.method} {request.url}")
