"""Which ONNX Runtime is installed, and what its CUDA provider lacks."""

from __future__ import annotations

import contextlib
import ctypes
import io
from importlib import metadata
from pathlib import Path

import onnxruntime

from unmingle.model.errors import ProviderError

CUDA = "CUDAExecutionProvider"


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
    if _fault("libcuda.so.1"):
        return "libcuda.so.1, NVIDIA's driver, cannot be loaded; check that nvidia-smi works here, in a container too"
    with contextlib.redirect_stdout(io.StringIO()):  # what it has to say comes below, in order
        onnxruntime.preload_dlls()
    for library in _cuda_libraries():
        if fault := _fault(library):
            return f"{library}, which comes with unmingle[gpu], cannot be loaded ({fault}); install that again"
    folder = Path(onnxruntime.__file__).parent / "capi"
    for library in ("libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"):
        if fault := _fault(str(folder / library)):
            return (
                f"ONNX Runtime's CUDA provider cannot be loaded ({fault}); expected a driver for CUDA "
                f"{onnxruntime.cuda_version} and unmingle[gpu] as it was installed"
            )
    return None


def _cuda_libraries() -> tuple[str, ...]:
    """What the provider needs, each after those that it needs itself; some of it is looked for only when it is used."""
    major = onnxruntime.cuda_version.split(".")[0]
    of_toolkit = (f"lib{name}.so.{major}" for name in ("cudart", "cublasLt", "cublas", "nvrtc"))
    return (*of_toolkit, "libcurand.so.10", "libcudnn.so.9")


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _fault(library: str) -> str | None:
    """Why the loader cannot load it."""
    try:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return None
