"""Take the picture of the page for the README: a real server, a real browser, one of the examples.

Run as: python docs/make_screenshot.py [--output PNG] [--url http://127.0.0.1:8000/]
It needs Chromium: one that is installed, or CHROMIUM=/path. Without --url it starts a server of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
WIDTH = 1280
START_S = 120.0
LOOK_MS = 120_000
POSITION = 0.55
"""Of the recording, where the playhead stands."""
DRAWN = """["spectrogram", "map"].every((id) => {
    const canvas = document.getElementById(id);
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value, at) => at % 4 < 3 && value > 60);
})"""
"""Whether there is something on the picture and on the map."""


def main() -> None:
    """Start a server, separate an example on its page, and keep what is to be seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=HERE / "images/page.png")
    parser.add_argument("--url", help="of a server that runs")
    given = parser.parse_args()
    if given.url:
        take(given.url, given.output)
    else:
        with running() as url:
            take(url, given.output)


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Address of a server with default settings."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "UNMINGLE_DATA_DIR": folder, "PYTHONPATH": str(HERE.parent)}
        command = [sys.executable, "-m", "unmingle", "serve", "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            wait_until_ready(server, f"http://127.0.0.1:{port}/readyz")
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(60)


def wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    """Until the server takes work."""
    give_up = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > give_up:
                sys.exit("The server does not start; try `unmingle serve` to see why.")
            time.sleep(0.1)


def take(url: str, output: Path) -> None:
    """Wait for the example of three people, and write what the window shows."""
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        sys.exit("No Chromium is installed here; name one: CHROMIUM=/path/to/chromium.")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has no sandbox
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        page.goto(url)
        page.locator("#studio").wait_for(timeout=LOOK_MS)
        page.locator("#position").evaluate(
            "(slider, at) => { slider.value = at * slider.max; slider.dispatchEvent(new Event('input')); }", POSITION
        )
        give_up = time.monotonic() + LOOK_MS / 1000
        while not page.evaluate(DRAWN):  # they come after the sounds
            if time.monotonic() > give_up:
                sys.exit("The page shows no picture.")
            page.wait_for_timeout(100)
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur()")
        height = page.evaluate("document.querySelector('main').getBoundingClientRect().bottom + scrollY + 16")
        output.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=output, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        browser.close()


if __name__ == "__main__":
    main()
