"""What the machine offers to training: device, threads, reduced precision."""

from __future__ import annotations

from pathlib import Path

import torch

from model.threads import usable_cores
from training.errors import TrainingError
from training.train_config import Device, Precision


def choose_device(wanted: Device) -> torch.device:
    """The device to train on.

    Raises:
        TrainingError: cuda is asked for and torch has none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "--device cuda was asked for, but torch sees no GPU: check that nvidia-smi works here and that torch is a "
            f"CUDA build (this one is {torch.__version__}), or use --device cpu."
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def set_threads(wanted: int) -> None:
    """Let torch use `wanted` CPU threads; 0 is all cores that this process may use."""
    torch.set_num_threads(wanted or usable_cores())


def choose_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """The type that the network's products are computed in: bfloat16 only where it is faster, unless asked for."""
    if wanted == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_multiplies_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for it (Linux tells); emulated, it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)
