"""What decoding an upload may cost."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class DecodeLimits:
    """What one upload may cost once it is decoded."""

    max_seconds: float
    max_bytes: int
    memory_bytes: int
    timeout_s: float
    advice: str = "Cut it into parts."
    """For whoever sends a recording that is too long."""
