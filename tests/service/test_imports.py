"""Serving and separating never load torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.service.harness import ROOT


@pytest.mark.parametrize("module", ["app", "server", "cli.batch", "cli"])
def test_serving_never_imports_torch(module: str) -> None:
    code = f"import sys, unmingle.service.{module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    loaded = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert {"unmingle"} <= set(loaded.stdout.split())
    assert not {"torch", "tensorboard", "matplotlib", "onnx", "ray"} & set(loaded.stdout.split())


@pytest.mark.slow
def test_the_tests_of_the_service_need_no_torch_either() -> None:
    code = (
        "import sys, pytest\n"
        "class NotInstalled:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'onnx', 'tensorboard'): raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, NotInstalled())\n"
        "sys.exit(pytest.main(['-q', '--collect-only', '-p', 'no:cacheprovider', 'tests/service']))"
    )
    collected = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert collected.returncode == 0, collected.stdout
    assert "test_micro_batch.py" in collected.stdout
