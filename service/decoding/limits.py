"""What decoding an upload may cost."""

from __future__ import annotations

import dataclasses
import math
import struct

TERMS = struct.Struct("=4d")
"""Limits on their way to the process that decodes."""


@dataclasses.dataclass(frozen=True)
class DecodeLimits:
    """What one upload may cost once it is decoded."""

    max_seconds: float
    max_bytes: int
    memory_bytes: int
    timeout_s: float
    advice: str = "Cut it into parts."
    """For whoever sends a recording that is too long."""

    def terms(self) -> bytes:
        """Longest recording in seconds, most bytes of samples, most bytes of memory, most seconds of CPU time."""
        return TERMS.pack(self.max_seconds, self.max_bytes, self.memory_bytes, math.ceil(self.timeout_s))
