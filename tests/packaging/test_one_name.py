"""What is installed has one import name, `unmingle`, and importing it is cheap."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import unmingle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wheel and source archive of a copy of the checkout: building leaves files behind."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    without = shutil.ignore_patterns("__pycache__", "*.pt")
    for name in ("unmingle", "model", "service", "training"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=without)
    build = "import sys; from setuptools import build_meta as b; d = sys.argv[1]; b.build_sdist(d); b.build_wheel(d)"
    done = subprocess.run(
        [sys.executable, "-c", build, str(dist)], cwd=source, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,), (archive,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return wheel, archive


def test_the_wheel_installs_one_name(archives: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(archives[0]).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"unmingle"}
    _has_everything(names)


def test_the_source_archive_has_one_package(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[1]) as archive:
        names = [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]
    assert {name.partition("/")[0] for name in names if name.endswith(".py")} == {"unmingle"}
    _has_everything(names)


def _has_everything(names: list[str]) -> None:
    """All modules and the files that they read, but not the weights that training can go on from."""
    wanted = {".py", ".onnx", ".js", ".css", ".html", ".svg", ".flac", ".typed"}
    folders = [ROOT / "unmingle", *(ROOT / "unmingle" / part for part in ("model", "service", "training"))]
    here = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in wanted and path.parent != ROOT / "unmingle" / "training" / "weights"
    }
    assert len(here) > 100
    assert not here - set(names)
    assert not [name for name in names if PurePosixPath(name).suffix in (".pyc", ".partial")]


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, unmingle; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "unmingle" in loaded
    assert not {"numpy", "onnxruntime", "soundfile", "fastapi", "pydantic", "torch"} & set(loaded)


def test_the_public_names_are_there() -> None:
    assert {name for name in unmingle.__all__ if getattr(unmingle, name).__name__ != name} == set()
    assert set(unmingle.__all__) <= set(dir(unmingle))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = unmingle.Nothing


@pytest.mark.parametrize("name", ["model", "service", "training"])
def test_away_from_the_checkout_there_is_no_other_name(name: str, tmp_path: Path) -> None:
    for module, status in ((name, 1), (f"unmingle.{name}", 0)):
        done = subprocess.run(
            [sys.executable, "-I", "-c", f"import {module}"], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == status, done.stderr.decode()


@pytest.mark.parametrize("line", ["import model", "from service.app import create_app", "from training import losses"])
def test_ruff_refuses_the_other_names(line: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", "tests/x.py", "-"]
    done = subprocess.run(command, cwd=ROOT, input=line + "\n", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "TID251" in done.stdout
