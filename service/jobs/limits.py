"""What a deployment allows jobs, apart from what the ledger counts."""

from __future__ import annotations

import dataclasses

from unmingle.service.decoding.decoder import DecodeLimits


@dataclasses.dataclass(frozen=True)
class JobLimits:
    """Attributes:
    workers: jobs that run at the same time.
    keep_s: how long a finished job is kept.
    max_disk_bytes: of all jobs.
    max_json_bytes: largest stems that are sent as JSON.
    decode: of one upload.
    """

    workers: int
    keep_s: float
    max_disk_bytes: int
    max_json_bytes: int
    decode: DecodeLimits
