"""Which ONNX Runtime is installed, and what its CUDA provider lacks."""

from __future__ import annotations

import contextlib
import ctypes
import io
from importlib import metadata
from pathlib import Path

import onnxruntime

from model.errors import ProviderError

CUDA = "CUDAExecutionProvider"

_DRIVER = "libcuda.so.1"


def check_installation() -> None:
    """See that there is one ONNX Runtime only.

    Raises:
        ProviderError: the CPU and the GPU build are both installed. They write into the same folder, so that which
            files are left, and whether they fit each other, depends on the order of installation.
    """
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(found) > 1:
        raise ProviderError(
            "Both onnxruntime and onnxruntime-gpu are installed, and each has overwritten files of the other; expected "
            "one of them. Run `pip uninstall -y onnxruntime onnxruntime-gpu`, then install unmingle[cpu] or "
            "unmingle[gpu]."
        )


def cuda_trouble() -> str | None:
    """Why networks cannot run on a GPU here, with the name of the library that is missing; None if they should.

    Loads the CUDA libraries, those that came as wheels included, so that a session finds them.
    """
    if CUDA not in (providers := onnxruntime.get_available_providers()):
        return f"this ONNX Runtime only has {', '.join(providers)}; install unmingle[gpu] instead of unmingle[cpu]"
    if fault := _load(_DRIVER):
        return f"{fault}: this library is NVIDIA's driver; check that nvidia-smi works here, in a container too"
    with contextlib.redirect_stdout(io.StringIO()):  # what it has to say comes below, with the library's name
        onnxruntime.preload_dlls()
    folder = Path(onnxruntime.__file__).parent / "capi"
    for library in ("libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"):
        if fault := _load(str(folder / library)):
            return f"{fault}: it comes with unmingle[gpu]; install that again"
    return None


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _load(library: str) -> str | None:
    """What the loader says when it cannot; it begins with the name of the library that it did not find."""
    try:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return None
