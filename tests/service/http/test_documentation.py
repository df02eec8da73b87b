"""docs/api.md is true: its examples run, and its table of problems is the service's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.harness import ROOT, RunningServer
from unmingle.service.problems import KINDS
from unmingle.service.settings import PREFIX, Settings

API = (ROOT / "docs" / "api.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
EXAMPLES = re.findall(r"```(sh|python)\n(.*?)```", API, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_runs(server: RunningServer, tmp_path: Path, number: int) -> None:
    language, code = EXAMPLES[number]
    code = code.replace("http://127.0.0.1:8000", server.url).replace("examples/", f"{ROOT}/examples/")
    if language == "sh" and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    command = ["bash", "-euo", "pipefail", "-c", code.replace("curl ", "curl --fail ")]
    if language == "python":
        command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_table_of_problems_is_complete() -> None:
    rows = set(re.findall(r"^\| (\d+) \| `(\w+)` \| (.*) \|$", API, re.MULTILINE))
    assert rows == {(str(kind.status), code, kind.title) for code, kind in KINDS.items()}


def test_every_setting_is_explained() -> None:
    missing = [name for name in Settings.model_fields if f"`{PREFIX}{name.upper()}`" not in OPERATIONS]
    assert not missing
