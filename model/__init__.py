"""Separate overlapping sounds by deep clustering: `Separator.load().separate(mixture, sample_rate)`.

The names below are the public interface. They are imported when first used, so that importing a part of this
package (the trainer's network, say) does not load the rest.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.config import ModelConfig
    from model.embedder import Embedder, OnnxEmbedder
    from model.errors import AudioError, InputError, LimitError, ModelError, ParameterError, UnmingleError
    from model.separation import Separation
    from model.separator import Separator

# Nothing that a user separates, nor that they separate at all, is anybody else's business. ONNX Runtime reads this when
# it is imported; its disable_telemetry_events() comes too late for a first event and for the identifier that it leaves
# in ~/.cache.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_HOME = {
    "AudioError": "model.errors",
    "Embedder": "model.embedder",
    "InputError": "model.errors",
    "LimitError": "model.errors",
    "ModelConfig": "model.config",
    "ModelError": "model.errors",
    "OnnxEmbedder": "model.embedder",
    "ParameterError": "model.errors",
    "Separation": "model.separation",
    "Separator": "model.separator",
    "UnmingleError": "model.errors",
}

__all__ = [
    "AudioError",
    "Embedder",
    "InputError",
    "LimitError",
    "ModelConfig",
    "ModelError",
    "OnnxEmbedder",
    "ParameterError",
    "Separation",
    "Separator",
    "UnmingleError",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
