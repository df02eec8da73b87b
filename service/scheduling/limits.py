"""The table of limits: what a client can hold, how much of it there is, and how a refusal reads.

The ledger (capacity.py) enforces it; the section "Limits" of docs/operations.md is made from it.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Literal

Wait = Literal["transfer", "work", "job"]
"""What Retry-After is computed from: the transfer that ends first, the work in the queue, or the first job."""


class Resource(enum.Enum):
    """Something that is limited."""

    UPLOADS = "uploads"
    REQUESTS = "requests"
    RECORDINGS = "recordings"
    AUDIO_SECONDS = "audio_seconds"
    AUDIO_BYTES = "audio_bytes"
    SPOOL_BYTES = "spool_bytes"
    ANSWERS = "answers"
    JOB_UPLOADS = "job_uploads"
    JOBS = "jobs"
    JOB_BYTES = "job_bytes"
    DOWNLOADS = "downloads"
    STREAMS = "streams"
    KEPT = "kept_recordings"
    KEPT_BYTES = "kept_bytes"


@dataclasses.dataclass(frozen=True)
class Limit:
    """One row of the table.

    Attributes:
        what: the resource in words, after a number.
        held: from when to when it is held.
        setting: field of Settings with the limit of the whole server; None for no limit.
        key_setting: field of Settings with the limit of one API key; None for no limit.
        code: problem of a full server. A key that has its share gets `key_busy`.
        wait: what Retry-After is computed from.
        alone: a single holder may exceed the limit; other limits bound what one may hold.
        displaces: when there is none left, a slow transfer has to give way to a new one.
    """

    what: str
    held: str
    setting: str | None = None
    key_setting: str | None = None
    code: str = "server_full"
    wait: Wait = "work"
    alone: bool = False
    displaces: bool = False


LIMITS: Mapping[Resource, Limit] = {
    Resource.UPLOADS: Limit(
        "uploads to /separate",
        "while the body arrives",
        "max_uploads",
        wait="transfer",
        displaces=True,
    ),
    Resource.REQUESTS: Limit(
        "recordings in work",
        "from the first byte of the upload until its stems are there; an upload that takes longer than 5 s lets go "
        "of it until it is complete",
        "max_requests",
    ),
    Resource.RECORDINGS: Limit(
        "recordings of /separate",
        "from the first byte of the upload to the last byte of the answer",
        key_setting="key_recordings",
    ),
    Resource.AUDIO_SECONDS: Limit(
        "s of audio", "from the decoded recording until its stems are there", "max_queued_seconds", alone=True
    ),
    Resource.AUDIO_BYTES: Limit(
        "bytes of decoded audio",
        "from the decoded recording until its stems are there",
        "max_queued_bytes",
        alone=True,
    ),
    Resource.SPOOL_BYTES: Limit(
        "bytes on disk for requests",
        "from the announced upload, more as it arrives, is decoded and separated, to the last byte of the answer",
        "max_spool_bytes",
        code="disk_full",
    ),
    Resource.ANSWERS: Limit(
        "answers of /separate",
        "while they are sent",
        "max_downloads",
        wait="transfer",
        displaces=True,
    ),
    Resource.JOB_UPLOADS: Limit(
        "uploads to /jobs",
        "while the body arrives",
        "max_job_uploads",
        wait="transfer",
        displaces=True,
    ),
    Resource.JOBS: Limit(
        "jobs",
        "from the first byte of the upload until the job is done or has failed",
        "max_jobs",
        "key_recordings",
        wait="job",
    ),
    Resource.JOB_BYTES: Limit(
        "bytes on disk for jobs",
        "from the announced upload, more as it arrives and before its stems are written, until the job is deleted and "
        "nobody downloads it any more",
        "max_disk_bytes",
        code="disk_full",
        wait="job",
    ),
    Resource.DOWNLOADS: Limit(
        "downloads of results",
        "while they are packed and sent",
        "max_downloads",
        "key_recordings",
        wait="transfer",
        displaces=True,
    ),
    Resource.STREAMS: Limit(
        "event streams",
        "while they are open",
        "max_streams",
        "key_recordings",
        wait="job",
    ),
    Resource.KEPT: Limit(
        "recordings that are kept",
        "from the upload to /recordings until it is deleted, or was not used for `UNMINGLE_RECORDING_KEEP_S`",
        "max_recordings",
        "key_recordings",
    ),
    Resource.KEPT_BYTES: Limit(
        "bytes on disk for recordings that are kept",
        "their samples, embeddings and stems: from before they are written until the recording goes",
        "max_recording_bytes",
        code="disk_full",
    ),
}

WAITS: Mapping[Wait, str] = {
    "transfer": "until the first transfer ends, at its present speed",
    "work": "until there is room again, from the audio in the queue and the measured speed",
    "job": "until the first job is done",
}


def table(prefix: str) -> str:
    """The limits as a table in Markdown; `prefix` is that of environment variables."""

    def variable(field: str | None) -> str:
        return f"`{prefix}{field.upper()}`" if field else ""

    rows = [
        f"| {limit.what} | {limit.held} | {variable(limit.setting)} | {variable(limit.key_setting)} | "
        f"{507 if limit.code == 'disk_full' else 503} `{limit.code}` | {WAITS[limit.wait]} |"
        for limit in LIMITS.values()
    ]
    head = ("| what | held | of the server | of one API key | refusal | Retry-After |", "|---|---|---|---|---|---|")
    return "\n".join((*head, *rows))
