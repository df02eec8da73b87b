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
    assert not {"torch", "tensorboard", "matplotlib", "onnx"} & set(loaded.stdout.split())
