"""The model that comes with the package."""

from __future__ import annotations

from pathlib import Path

from unmingle.model.embedding.device import Device

WEIGHTS = Path(__file__).parent


def bundled_model(device: Device = "cpu") -> Path:
    """The bundled model in the precision that suits `device`: 8 bits for CPUs, float16 for GPUs."""
    from unmingle.model.embedding.runtime_check import cuda_trouble  # loads ONNX Runtime: not needed for the name alone

    on_gpu = device != "cpu" and cuda_trouble() is None
    return WEIGHTS / ("unmingle-float16.onnx" if on_gpu else "unmingle.onnx")
