"""What the machine offers to training: device, threads, reduced precision."""

from __future__ import annotations

from pathlib import Path

import torch

from unmingle.model.threads import usable_cores
from unmingle.training.errors import TrainingError
from unmingle.training.train_config import Device, Precision


def choose_device(wanted: Device, local_rank: int = 0) -> torch.device:
    """The device to train on; of several GPUs, the one whose number is that of the process on this machine.

    Raises:
        TrainingError: cuda is asked for and torch has none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "--device cuda was asked for, but torch sees no GPU: check that nvidia-smi works here and that torch is a "
            f"CUDA build (this one is {torch.__version__}), or use --device cpu."
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise TrainingError(
            f"There are more processes on this machine than GPUs ({torch.cuda.device_count()}): start one for each GPU."
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def set_threads(wanted: int, processes: int = 1) -> None:
    """Let torch use `wanted` CPU threads; 0 is this process's part of all cores that it may use."""
    torch.set_num_threads(wanted or max(1, usable_cores() // processes))


def choose_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """The type that the network's products are computed in: unless asked for, the one that is fastest.

    On a GPU that is float16, and nothing else would help: in autocast, torch gives LSTMs to cuDNN in float16 whatever
    type is asked for. Gradients then have to be scaled (`loss_scaler`).

    Raises:
        TrainingError: float16 is asked for on a CPU.
    """
    if wanted == "float16" and device.type == "cpu":
        raise TrainingError("--precision float16 is for GPUs; on a CPU take bfloat16 or float32.")
    if wanted != "auto":
        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[wanted]
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if _cpu_multiplies_bfloat16() else torch.float32


def loss_scaler(precision: torch.dtype, device: torch.device) -> torch.amp.GradScaler:
    """What keeps gradients within float16's range on a GPU (see `choose_precision`); elsewhere it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=device.type == "cuda" and precision != torch.float32)


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for it (Linux tells); emulated, it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)
