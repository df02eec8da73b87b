"""The README says what is so: its links lead somewhere, its Python runs, its commands exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("training/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if not t.startswith("http") and not (page.parent / t).exists()]
    assert not missing


def test_the_python_example_runs_as_it_stands(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (code,) = blocks("python")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    parts = [soundfile.read(file)[0] for file in (tmp_path / "stems").glob("*.wav")]
    mixture, _ = soundfile.read(ROOT / "examples/two_speakers/mixture.flac")
    assert len(parts) >= 2
    assert abs(sum(parts) - mixture).max() < 1e-5


def test_files_and_targets_of_the_commands_exist():
    commands = "\n".join(blocks("sh"))
    makefile = (ROOT / "Makefile").read_text()
    targets = {*re.findall(r"\bmake ([a-z]+)", commands), *re.findall(r"`make ([a-z]+)", README)}
    assert {"serve", "test", "train", "picture"} <= targets
    assert not [t for t in targets if f"\n{t}:" not in makefile]
    assert not [f for f in re.findall(r"(?:examples|training)/[\w/.]+", commands) if not (ROOT / f).exists()]


def test_the_picture_can_be_drawn_again(tmp_path):
    picture = tmp_path / "picture.png"
    script = ROOT / "docs" / "make_picture.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([sys.executable, script, "--output", picture], env=environment, check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
