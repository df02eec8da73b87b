"""The models that come with the package, and which file is meant by what a user asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from model.runtime_check import cuda_trouble

Device = Literal["auto", "cpu", "cuda"]
Size = Literal["fast", "best"]

SIZES: tuple[Size, ...] = get_args(Size)
DEFAULT_SIZE: Size = "best"
"""Chosen for what people hear; `fast` is there for those who have to hurry (docs/performance.md has both)."""

WEIGHTS = Path(__file__).parent / "weights"


def bundled_model(size: Size = DEFAULT_SIZE, device: Device = "cpu") -> Path:
    """The bundled model of a size, in the precision that suits `device` where it comes in that; `fast` is for CPUs."""
    half = WEIGHTS / f"{size}-float16.onnx"
    on_gpu = device != "cpu" and half.is_file() and cuda_trouble() is None
    return half if on_gpu else WEIGHTS / f"{size}.onnx"


def model_file(asked: str | Path | None, device: Device) -> Path:
    """The file that is meant by a size, or by a path; by None, the default size."""
    if asked is None:
        return bundled_model(DEFAULT_SIZE, device)
    sizes = {size: size for size in SIZES}
    size = sizes.get(str(asked))  # type: ignore[call-overload]  # any string may be looked for
    return bundled_model(size, device) if size else Path(asked)
