"""What goes wrong is said on the page, in words that help."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.service.harness import RunningServer, encoded, noise
from tests.service.page.visitor import Visitor

pytestmark = pytest.mark.slow


def test_what_is_no_recording_is_refused_in_words(visitor: Visitor, tmp_path: Path) -> None:
    letter = tmp_path / "letter.wav"
    letter.write_text("Dear Sir or Madam")
    visitor.separate(letter)
    visitor.expect_problem("The file is not in an audio format that this server reads.")
    expect(visitor.page.get_by_role("alert")).to_contain_text("expected WAV (PCM or float), FLAC, Ogg")
    expect(visitor.page.get_by_role("alert")).to_contain_text("The server's log has it under ")
    expect(visitor.page.locator("#work")).to_be_hidden()
    expect(visitor.page.get_by_role("button", name="Separate")).to_be_enabled()


def test_a_recording_that_cannot_be_separated_says_why(visitor: Visitor, tmp_path: Path, two_speakers: Path) -> None:
    path = tmp_path / "nan.wav"
    path.write_bytes(encoded(np.array([0.1, np.nan, 0.1], np.float32), 16_000))
    visitor.separate(path)
    visitor.expect_problem("The recording cannot be separated.")
    visitor.separate(two_speakers)
    visitor.wait_for_result(2)
    expect(visitor.page.get_by_role("alert")).to_be_hidden()


def test_nothing_and_an_empty_file_are_noticed_here(visitor: Visitor, tmp_path: Path) -> None:
    visitor.page.get_by_role("button", name="Separate").click()
    visitor.expect_problem("Choose a recording first")
    expect(visitor.page.locator("#file")).to_be_focused()
    empty = tmp_path / "empty.wav"
    empty.touch()
    visitor.separate(empty)
    visitor.expect_problem("The file is empty.")


def test_what_is_too_large_or_too_long_is_not_even_sent(page: Page, tmp_path: Path, bundled_model: Path) -> None:
    limits = {"UNMINGLE_JOB_MAX_UPLOAD_BYTES": "100000", "UNMINGLE_JOB_MAX_SECONDS": "2"}
    server = RunningServer(tmp_path, {"UNMINGLE_MODEL": str(bundled_model), **limits})
    try:
        visitor = Visitor(page, server)
        for seconds, rate, words in (
            (10, 16_000, "this server takes up to 100\u00a0kB"),
            (5, 8_000, "up to 2.0\u00a0s"),
        ):
            path = tmp_path / f"{seconds}.wav"
            path.write_bytes(noise(seconds, rate))
            visitor.separate(path)
            expect(page.get_by_role("alert")).to_contain_text(words)
        assert b'route="/separate"' not in server.http.get("/metrics").content
        visitor.saw_no_faults()
    finally:
        server.kill()


def test_a_server_that_is_gone_is_said_to_be(
    page: Page, tmp_path: Path, bundled_model: Path, two_speakers: Path
) -> None:
    server = RunningServer(tmp_path, {"UNMINGLE_MODEL": str(bundled_model)})
    try:
        visitor = Visitor(page, server)
        server.kill()
        visitor.separate(two_speakers)
        visitor.expect_problem("The server does not answer.")
        page.get_by_role("button", name="two people").click()
        visitor.expect_problem("The server does not answer.")
        assert not visitor.faults
    finally:
        server.kill()
