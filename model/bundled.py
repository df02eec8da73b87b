"""The models that come with the package, and which file is meant by what a user asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

Device = Literal["auto", "cpu", "cuda"]
Size = Literal["fast", "best"]

SIZES: tuple[Size, ...] = get_args(Size)
DEFAULT_SIZE: Size = "best"
"""Chosen for what people hear; `fast` is there for those who have to hurry (docs/performance.md has both)."""

WEIGHTS = Path(__file__).parent / "weights"


def bundled_model(size: Size = DEFAULT_SIZE, device: Device = "cpu") -> Path:
    """The bundled model of a size, in the precision that suits `device` where it comes in that; `fast` is for CPUs."""
    from model.runtime_check import cuda_trouble  # loads ONNX Runtime, which who only asks for a name can do without

    half = WEIGHTS / f"{size}-float16.onnx"
    on_gpu = device != "cpu" and half.is_file() and cuda_trouble() is None
    return half if on_gpu else WEIGHTS / f"{size}.onnx"


def model_file(asked: str | Path | None, device: Device) -> Path:
    """The file that is meant by a size, or by a path; by None, the default size."""
    name = DEFAULT_SIZE if asked is None else str(asked)
    size = next((size for size in SIZES if size == name), None)
    return bundled_model(size, device) if size else Path(name)
