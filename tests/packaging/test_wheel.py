"""The wheel in a fresh virtual environment, away from the checkout. `make release` runs this; it takes minutes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.service.harness import START_S, free_port
from unmingle.service.version import version

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.skipif(not os.environ.get("RELEASE_TESTS"), reason="`make release` runs this")


@pytest.fixture(scope="session")
def wheel() -> Path:
    """What `python -m build` wrote."""
    wheels = list((ROOT / "dist").glob("unmingle-*.whl"))
    assert len(wheels) == 1, "`make wheel` writes it"
    return wheels[0]


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of a fresh environment with the wheel and its cpu extra."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", f"{wheel}[cpu]"], check=True)
    return folder / "bin"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "UNMINGLE_"))}


def test_model_page_and_notices_are_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    models = ("weights/unmingle.onnx", "weights/unmingle-float16.onnx", "graphs/masks.onnx")
    assert {f"unmingle/model/{name}" for name in models} <= set(names)
    assert any(name.endswith("licenses/NOTICE") for name in names)
    page = ROOT / "unmingle" / "service" / "page"
    here = {path.relative_to(ROOT).as_posix() for path in page.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert here <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "examples/", "docker/"))]


def test_it_says_its_version(installed: Path, tmp_path: Path) -> None:
    said = subprocess.run(
        [installed / "unmingle", "--version"],
        cwd=tmp_path,
        env=_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout.split() == ["unmingle", version().removesuffix("+checkout")]


def test_it_serves(installed: Path, tmp_path: Path, two_speakers: Path) -> None:
    port = free_port()
    environment = {**_environment(), "UNMINGLE_DATA_DIR": str(tmp_path / "data")}
    server = subprocess.Popen([installed / "unmingle", "serve", "--port", str(port)], cwd=tmp_path, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http:
            _wait_until_ready(http, server)
            answer = http.post("/separate", files={"file": (two_speakers.name, two_speakers.read_bytes())})
            assert answer.status_code == 200, answer.text
            for path in ("/", "/page/files/main.js", "/page/files/examples/two_speakers.flac"):
                assert http.get(path).status_code == 200
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    command = [sys.executable, "-m", "unmingle", "separate", str(two_speakers), "-o", str(tmp_path / "stems")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as stems:
        for name in ("stem_1.wav", "stem_2.wav"):
            here = (tmp_path / "stems" / "mixture" / name).read_bytes()
            assert len(stems.read(name)) == len(here)


def _wait_until_ready(http: httpx.Client, server: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + START_S
    while True:
        try:
            if http.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert server.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.1)
