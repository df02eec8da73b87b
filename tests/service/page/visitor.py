"""What a visitor of the page does and sees."""

from __future__ import annotations

import time
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect

from tests.service.harness import RunningServer

WAIT_S = 240.0  # the machine may be busy with others

# Everything that goes to the loudspeakers goes through a meter, too; and violations of the policy are noted.
_METER = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...more) {
  if (target instanceof AudioDestinationNode) {
    window.meter ??= new AnalyserNode(this.context, { fftSize: 32768 });
    connect.call(this, window.meter);
  }
  return connect.call(this, target, ...more);
};
window.loudness = () => {
  const samples = new Float32Array(window.meter.fftSize);
  window.meter.getFloatTimeDomainData(samples);
  return Math.sqrt(samples.slice(-4096).reduce((sum, x) => sum + x * x, 0) / 4096);
};
window.violations = [];
addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


class Visitor:
    """One tab on the page of one server."""

    def __init__(self, page: Page, server: RunningServer, fragment: str = "") -> None:
        self.page, self.server = page, server
        self.faults: list[str] = []
        self._requests: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._request)
        page.add_init_script(_METER)
        page.goto(server.url + "/" + fragment)
        expect(page.locator("#sources input").first).to_be_attached()

    def choose(self, file: Path, sources: str = "2") -> None:
        """Choose a file and say how many sounds are in it."""
        self.page.set_input_files("#file", file)
        self.page.check(f"#sources input[value='{sources}']")

    def separate(self, file: Path, sources: str = "2") -> None:
        """Choose a file and send it."""
        self.choose(file, sources)
        self.page.click("#go")

    def wait_for_result(self, sounds: int) -> Locator:
        """The rows of the stems."""
        stems = self.page.locator("#result .stem:not(.sound-background)")
        expect(stems).to_have_count(sounds)
        return stems

    def saved(self, link: Locator) -> tuple[str, bytes]:
        """Name and content of what a link saves."""
        with self.page.expect_download() as download:
            link.click()
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def wait_until(self, expression: str) -> None:
        """Until an expression is true in the page. (Playwright's own way of waiting breaks the page's policy.)"""
        give_up = time.monotonic() + WAIT_S
        while not self.page.evaluate(expression):
            assert time.monotonic() < give_up, f"never: {expression}"
            self.page.wait_for_timeout(20)

    def expect_problem(self, text: str) -> None:
        """Read a problem, and what the browser itself says of the refused request."""
        expect(self.page.get_by_role("alert")).to_contain_text(text)
        self.faults = [fault for fault in self.faults if "Failed to load resource" not in fault]

    def saw_no_faults(self) -> None:
        """Nothing went wrong unseen, and nothing came from elsewhere."""
        assert not self.faults
        assert self.page.evaluate("window.violations") == []
        assert all(url.startswith((self.server.url, f"blob:{self.server.url}")) for url in self._requests)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def _request(self, request: Request) -> None:
        self._requests.append(request.url)
