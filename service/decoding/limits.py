"""What decoding an upload may cost."""

from __future__ import annotations

import dataclasses
import math
import struct

TERMS = struct.Struct("=5d")
"""How the limits are sent to the process that decodes."""


@dataclasses.dataclass(frozen=True)
class DecodeLimits:
    """What one upload may cost once it is decoded."""

    max_seconds: float
    max_bytes: int
    memory_bytes: int
    timeout_s: float
    advice: str = "Cut it into parts."
    """Added to the refusal of a recording that is too long."""

    track: int | None = None
    """Which audio track of a file with several to decode, from 1; None is the first."""

    def terms(self) -> bytes:
        """Most seconds and bytes of samples, most bytes of memory, most seconds of CPU time, and the track."""
        costs = self.max_seconds, self.max_bytes, self.memory_bytes, math.ceil(self.timeout_s)
        return TERMS.pack(*costs, self.track or 0)
