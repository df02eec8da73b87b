"""The model that comes with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "cuda"]

WEIGHTS = Path(__file__).parent / "weights"


def bundled_model(device: Device = "cpu") -> Path:
    """The bundled model in the precision that suits `device`: 8 bits for CPUs, float16 for GPUs."""
    from model.runtime_check import cuda_trouble  # loads ONNX Runtime, which who only asks for a name can do without

    on_gpu = device != "cpu" and cuda_trouble() is None
    return WEIGHTS / ("unmingle-float16.onnx" if on_gpu else "unmingle.onnx")
