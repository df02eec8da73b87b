"""Separate overlapping sounds by deep clustering: `Separator.load().separate(mixture, sample_rate)`.

The names below are the public interface. Each is imported when it is first used, so that `import unmingle` loads
nothing heavy. In a checkout, `model`, `service` and `training` in here are links to the folders beside this one.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unmingle.model.analysis import Analysis
    from unmingle.model.config import ModelConfig
    from unmingle.model.embedding.embedder import Embedder, OnnxEmbedder
    from unmingle.model.errors import (
        AudioError,
        FileError,
        InputError,
        LimitError,
        ModelError,
        ParameterError,
        ProviderError,
        UnmingleError,
    )
    from unmingle.model.options import SeparationOptions
    from unmingle.model.results import Separation
    from unmingle.model.separator import Separator
    from unmingle.service.client import AsyncClient, Client, RemoteError

# What people separate, and that they do, is nobody else's business. ONNX Runtime reads this when it is imported: its
# disable_telemetry_events() comes too late for the first event and for the identifier that it leaves in ~/.cache.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_HOME = {
    "Analysis": "unmingle.model.analysis",
    "AsyncClient": "unmingle.service.client",
    "AudioError": "unmingle.model.errors",
    "Client": "unmingle.service.client",
    "Embedder": "unmingle.model.embedding.embedder",
    "FileError": "unmingle.model.errors",
    "InputError": "unmingle.model.errors",
    "LimitError": "unmingle.model.errors",
    "ModelConfig": "unmingle.model.config",
    "ModelError": "unmingle.model.errors",
    "OnnxEmbedder": "unmingle.model.embedding.embedder",
    "ParameterError": "unmingle.model.errors",
    "ProviderError": "unmingle.model.errors",
    "RemoteError": "unmingle.service.client",
    "Separation": "unmingle.model.results",
    "SeparationOptions": "unmingle.model.options",
    "Separator": "unmingle.model.separator",
    "UnmingleError": "unmingle.model.errors",
}

__all__ = [
    "Analysis",
    "AsyncClient",
    "AudioError",
    "Client",
    "Embedder",
    "FileError",
    "InputError",
    "LimitError",
    "ModelConfig",
    "ModelError",
    "OnnxEmbedder",
    "ParameterError",
    "ProviderError",
    "RemoteError",
    "Separation",
    "SeparationOptions",
    "Separator",
    "UnmingleError",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
