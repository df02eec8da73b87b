"""What a refiner must know about itself: it travels inside the ONNX file and inside every checkpoint."""

from __future__ import annotations

import dataclasses
import json

from unmingle.model.config import read_fields
from unmingle.model.errors import ModelError

FORMAT_VERSION = 1
"""Raised when a field changes its meaning, so that an old server refuses a new file instead of misreading it."""


@dataclasses.dataclass(frozen=True)
class RefinerConfig:
    """Shape of one refiner, beside that of the network inside it that listens once more.

    Attributes:
        bands: of the masks.
        frames_per_step: frames come in multiples of this.
        embedding_dim: of the centroids that it is told.
        layers: after the listener.
        hears_background: whether it was trained on recordings with a background; otherwise it leaves those alone.
        name: of the refiner.
    """

    bands: int
    frames_per_step: int
    embedding_dim: int
    layers: int = 1
    hears_background: bool = True
    name: str = "unnamed"

    def __post_init__(self) -> None:
        counts = ("bands", "frames_per_step", "embedding_dim", "layers")
        small = [name for name in counts if getattr(self, name) < 1]
        if small:
            raise ModelError(f"This refiner configuration is not usable: {', '.join(small)} must be at least 1.")

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps({"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RefinerConfig:
        """Read what `to_json` wrote.

        Raises:
            ModelError: not JSON, another format version, or fields that this version does not know.
        """
        fields = read_fields(text, "refiner", FORMAT_VERSION)
        try:
            return cls(**fields)
        except TypeError as error:
            raise ModelError(f"The refiner's configuration has fields this version does not know: {error}.") from error
