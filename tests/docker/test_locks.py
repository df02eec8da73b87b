"""The lock files fit pyproject.toml, and nothing in them is without a hash. Needs no engine."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docker.stack import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = {
    "cpu": ("cpu", "formats"),
    "gpu": ("gpu", "formats"),
    "cluster": ("cpu", "formats", "shared", "cluster", "tracing"),
}


def _locked(flavour: str) -> list[tuple[Requirement, int]]:
    """Every requirement and the number of its hashes."""
    text = (ROOT / f"docker/requirements-{flavour}.txt").read_text()
    entries = re.findall(r"^(\w.*?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^\w", text, re.MULTILINE))
    return [(Requirement(entry), hashes.count("--hash")) for entry, hashes in entries]


@pytest.mark.parametrize("flavour", ["cpu", "gpu", "cluster", "build"])
def test_every_requirement_is_met_by_what_is_locked(flavour: str) -> None:
    wanted = list(PROJECT["project"]["dependencies"])
    for extra in EXTRAS.get(flavour, ()):
        wanted += PROJECT["project"]["optional-dependencies"][extra]
    if flavour == "build":
        wanted = PROJECT["build-system"]["requires"]
    locked = _locked(flavour)
    for requirement in map(Requirement, wanted):
        found = [lock for lock, _ in locked if canonicalize_name(lock.name) == canonicalize_name(requirement.name)]
        assert found, f"docker/lock writes {requirement.name}"
        for lock in found:
            assert requirement.specifier.contains(str(lock.specifier).removeprefix("=="))


@pytest.mark.parametrize("flavour", ["cpu", "gpu", "cluster"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.14"])
def test_one_version_of_each_for_every_python_and_neither_torch_nor_a_second_runtime(flavour: str, python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    environment["implementation_name"] = "cpython"
    chosen = [
        canonicalize_name(lock.name)
        for lock, _ in _locked(flavour)
        if lock.marker is None or Marker(str(lock.marker)).evaluate(environment)
    ]
    assert len(chosen) == len(set(chosen))
    assert "torch" not in chosen
    assert ("onnxruntime" in chosen, "onnxruntime-gpu" in chosen) == (flavour != "gpu", flavour == "gpu")


def test_cuda_and_cudnn_come_in_the_majors_that_onnx_runtime_is_built_for() -> None:
    majors = {lock.name: str(lock.specifier).removeprefix("==").split(".")[0] for lock, _ in _locked("gpu")}
    assert majors["nvidia-cuda-runtime"] == majors["nvidia-cublas"] == "13"
    assert majors["nvidia-cudnn-cu13"] == "9"
