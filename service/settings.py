"""Everything a deployment can choose, and the only place that reads the environment: `UNMINGLE_*`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from unmingle.model.errors import UnmingleError

PREFIX = "UNMINGLE_"

_PASSWORD = re.compile(r"(?<=://)([^:/@]*:)[^@]*(?=@)")
"""In a URL."""

MIB = 2**20


def default_data_dir() -> Path:
    """The user's data directory (XDG)."""
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "unmingle"


def _part_or_whole(gpus: float) -> float:
    if gpus > 1 and gpus % 1:
        raise ValueError("expected a part of one GPU, or whole ones")
    return gpus


class Settings(BaseSettings):
    """One deployment. The defaults suit a laptop; `unmingle settings` lists them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", protected_namespaces=())

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for every network interface.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    model: Path | None = Field(default=None, description="ONNX file of the model to serve; by default the bundled one.")
    refiner: Path | None = Field(
        default=None,
        description="ONNX file of the model's refiner, which quality=high needs; by default none.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where the network runs.")
    threads: PositiveInt | None = Field(
        default=None, description="CPU threads of the network; by default all cores this process may use."
    )
    gpu_memory_bytes: PositiveInt = Field(
        default=4096 * MIB, description="What the network may take of a GPU's memory."
    )
    data_dir: Annotated[Path, AfterValidator(Path.absolute)] = Field(
        default_factory=default_data_dir,
        description="The only directory the server writes to: uploads in flight and jobs. One server per directory.",
    )

    database_url: str = Field(
        default="",
        repr=False,
        description="Database of the jobs, which several servers may share: postgresql://user:password@host/database. "
        "By default a file in the data directory.",
    )
    store_url: str = Field(
        default="",
        repr=False,
        description="Where uploads and results of jobs are kept, for several servers that share a database, and what "
        "workers on Ray with another disk need: s3://bucket/prefix, file:///directory, or another place that fsspec "
        "knows. By default the data directory.",
    )
    store_cache_bytes: PositiveInt = Field(
        default=8192 * MIB, description="Disk space of copies of results that are in such a store."
    )
    job_lease_s: float = Field(
        default=20.0,
        ge=3.0,
        description="Where servers share jobs: after so many seconds without a sign of life from the server that runs "
        "one, another server takes it over.",
    )

    max_upload_bytes: PositiveInt = Field(default=256 * MIB, description="Largest request body of an upload.")
    max_seconds: PositiveFloat = Field(default=600.0, description="Longest recording that /separate takes.")
    max_decoded_bytes: PositiveInt = Field(
        default=1024 * MIB, description="Largest recording once decoded: samples x channels x 4 bytes."
    )
    decoders: PositiveInt = Field(default=2, description="Uploads that are decoded at the same time.")
    decode_timeout_s: PositiveFloat = Field(default=30.0, description="Longest time that decoding one upload may take.")
    decode_memory_bytes: PositiveInt = Field(default=1024 * MIB, description="Address space of one decoding process.")

    workers: PositiveInt = Field(
        default=4, description="Recordings that are separated at the same time, half of them longer than 30 s."
    )
    worker_processes: PositiveInt = Field(
        default=1,
        description="Processes that separate, each with the model and a part of the recordings. One uses all cores; "
        "several keep a GPU busier, and take the memory of as many models.",
    )
    worker_silence_s: float = Field(
        default=30.0,
        ge=1.0,
        description="A worker process that gives no sign of life for so long is ended and replaced.",
    )
    ray_address: str = Field(
        default="",
        description="Ray cluster whose machines separate, instead of processes here: auto, host:port or "
        "ray://host:port. Its machines need UNMINGLE_DATA_DIR under the same path, or UNMINGLE_STORE_URL.",
    )
    ray_workers: PositiveInt = Field(default=1, description="Workers on Ray, each with the model; at least so many.")
    ray_max_workers: PositiveInt | None = Field(
        default=None,
        description="Workers on Ray while there is much to do; by default no more than UNMINGLE_RAY_WORKERS.",
    )
    ray_seconds_per_worker: PositiveFloat = Field(
        default=60.0, description="There is a worker on Ray for every so many seconds of audio that wait or run."
    )
    ray_idle_s: NonNegativeFloat = Field(
        default=120.0, description="A worker on Ray that has not been needed for so long ends."
    )
    ray_cpus: PositiveInt = Field(
        default=1, description="CPUs of one worker on Ray, and by default the threads of its network."
    )
    ray_gpus: Annotated[float, AfterValidator(_part_or_whole)] = Field(
        default=0.0, ge=0, description="GPUs of one worker on Ray; 0.25 has four workers share one."
    )
    ray_fronts: PositiveInt = Field(
        default=1,
        description="Processes of `unmingle serve --ray` that answer requests; several need a database and a store.",
    )
    ray_start_s: PositiveFloat = Field(
        default=60.0, description="Longest wait for the Ray cluster and for its first workers when the server starts."
    )
    max_queued_seconds: PositiveFloat = Field(
        default=1800.0, description="Seconds of audio that may wait or run; more gets 503."
    )
    max_queued_bytes: PositiveInt = Field(
        default=2048 * MIB, description="Decoded audio that may wait or run, in bytes; more gets 503."
    )
    max_requests: PositiveInt = Field(
        default=64,
        description="Recordings of /separate in work at the same time; more get 503. There are fewer where so many "
        "could not be answered in half of the deadline.",
    )
    max_uploads: PositiveInt = Field(
        default=128,
        description="Uploads to /separate at the same time; then the slowest gives way, or new ones get 503.",
    )
    max_job_uploads: PositiveInt = Field(
        default=16, description="Uploads to /jobs at the same time; then the slowest gives way, or new ones get 503."
    )
    max_downloads: PositiveInt = Field(
        default=128,
        description="Answers of /separate that are sent at the same time, and as many results of jobs; then the "
        "slowest gives way, or new requests get 503.",
    )
    max_streams: PositiveInt = Field(default=256, description="Event streams that are open; more get 503.")
    max_spool_bytes: PositiveInt = Field(
        default=16384 * MIB,
        description="Disk space of all requests in hand: uploads, decoded audio, stems and answers; more get 507.",
    )
    max_recordings: PositiveInt = Field(
        default=64, description="Recordings that are kept to be separated again (/recordings); more get 503."
    )
    max_recording_bytes: PositiveInt = Field(
        default=16384 * MIB, description="Disk space of all recordings that are kept; more get 507."
    )
    recording_keep_s: PositiveFloat = Field(
        default=3600.0, description="Seconds after which a kept recording that nobody uses is deleted."
    )
    recording_heard_s: PositiveFloat = Field(
        default=600.0,
        description="Seconds after which the embeddings of such a recording are; they are made again when wanted.",
    )
    max_json_bytes: PositiveInt = Field(default=32 * MIB, description="Largest stems that are sent as JSON.")
    request_timeout_s: PositiveFloat = Field(
        default=120.0, description="Deadline of a synchronous request, from its whole upload to its answer."
    )
    client_timeout_s: PositiveFloat = Field(
        default=60.0, description="Longest time that a client may neither send nor take anything in the middle."
    )
    client_min_bytes_per_s: PositiveFloat = Field(
        default=8192.0, description="Slowest upload or download, on average after 20 s; slower ones are given up."
    )
    job_workers: PositiveInt = Field(default=1, description="Jobs that run at the same time, beside requests.")
    job_max_seconds: PositiveFloat = Field(default=6 * 3600.0, description="Longest recording that /jobs takes.")
    job_max_upload_bytes: PositiveInt = Field(default=4096 * MIB, description="Largest request body of a job.")
    job_max_decoded_bytes: PositiveInt = Field(
        default=16384 * MIB, description="Largest recording of a job once decoded: samples x channels x 4 bytes."
    )
    job_decode_timeout_s: PositiveFloat = Field(
        default=1200.0, description="Longest time that decoding a job's upload may take."
    )
    max_jobs: PositiveInt = Field(default=100, description="Jobs that may wait or run; more get 503.")
    max_disk_bytes: PositiveInt = Field(
        default=51200 * MIB, description="Disk space of all jobs that are kept; when it is used up, new ones get 507."
    )
    job_keep_s: PositiveFloat = Field(
        default=24 * 3600.0, description="Seconds that a finished job is kept, counted while the server runs."
    )
    api_keys: str = Field(
        default="",
        repr=False,
        description="Who may call: name=<SHA-256 of the key>, several separated by commas; empty for everybody.",
    )
    key_recordings: PositiveInt = Field(
        default=8,
        description="What one API key may have of each: recordings from upload to answer, jobs that wait or run, "
        "downloads, event streams; more get 429.",
    )
    key_requests_per_minute: PositiveFloat = Field(
        default=120.0, description="Requests that one API key may send; more get 429."
    )
    allowed_hosts: str = Field(
        default="",
        description="Names that the server goes by in the Host header, separated by commas, * for all. By default "
        "localhost where it listens on a loopback address, else all. IP addresses always are.",
    )
    cors_origins: str = Field(
        default="", description="Origins of web pages that may call, separated by commas; empty for none."
    )
    log_format: Literal["console", "json"] = Field(default="console", description="How log lines look.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    traces_url: str = Field(
        default="",
        pattern="^(https?://.+)?$",
        description="Where traces go by OTLP over HTTP, such as http://collector:4318/v1/traces; empty for none. "
        "Needs the extra 'tracing'.",
    )
    grace_s: NonNegativeInt = Field(
        default=30, description="Seconds that requests in flight get to finish after SIGTERM."
    )


class SettingsError(UnmingleError):
    """A setting is not valid."""


def read_settings(given: Mapping[str, Any] | None = None) -> Settings:
    """The settings of this process.

    Args:
        given: by name of the field; they come before those of the environment.

    Raises:
        SettingsError: a setting is not valid; the message names it and says what is expected.
    """
    try:
        return Settings(**(given or {}))
    except ValidationError as error:
        faults = [
            f"{PREFIX}{'_'.join(str(part) for part in item['loc']).upper()}={item['input']}: {item['msg']}"
            for item in error.errors()
        ]
        raise SettingsError("Settings are not valid.\n  " + "\n  ".join(faults)) from error


def loader_environment() -> dict[str, str]:
    """The part of the environment without which another Python process cannot start."""
    names = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in names if name in os.environ}


def worker_environment() -> dict[str, str]:
    """The environment of a worker process: all but settings and credentials; it is told what it needs."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith((PREFIX, "AWS_"))}


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Names of `UNMINGLE_*` variables that are not settings, most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)


def unknown_in_environment() -> list[str]:
    """`unknown_variables` of this process's environment."""
    return unknown_variables(os.environ)


def listing(settings: Settings) -> Iterable[tuple[str, str, str]]:
    """(variable, value, description) of every setting, in the order of their definition."""
    for name, field in Settings.model_fields.items():
        yield PREFIX + name.upper(), _PASSWORD.sub(r"\1***", str(getattr(settings, name))), field.description or ""
