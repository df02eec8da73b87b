"""The way to a Ray cluster, and what there is in it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import time
from urllib.parse import urlsplit

from unmingle.model.errors import UnmingleError

# Before Ray is imported: it would tell its makers that it is used.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray

_LOOK_S = 0.5


class ClusterError(UnmingleError):
    """The Ray cluster cannot be used."""


@dataclasses.dataclass(frozen=True)
class Share:
    """What one worker takes of a machine."""

    cpus: int
    gpus: float

    def __str__(self) -> str:
        return f"{self.cpus} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")


def connect(address: str, within_s: float) -> None:
    """Connect this process to a cluster, once it is there.

    Raises:
        ClusterError: it is not.
    """
    if ray.is_initialized():
        return
    give_up = time.monotonic() + within_s
    if address != "auto":
        _wait_for(address, give_up)
    while True:
        try:
            ray.init(address, configure_logging=False, log_to_driver=False)
            return
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            if not isinstance(error, ConnectionError) or time.monotonic() > give_up:
                raise ClusterError(
                    f"There is no Ray cluster at UNMINGLE_RAY_ADDRESS={address} that can be used: {error}"
                ) from error
            time.sleep(_LOOK_S)


def _wait_for(address: str, give_up: float) -> None:
    """Until somebody listens there: Ray itself would try for a minute, whatever happens."""
    try:
        place = urlsplit(address if "://" in address else f"ray-gcs://{address}")
        host, port = place.hostname, place.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ClusterError(f"UNMINGLE_RAY_ADDRESS={address}: expected auto, host:port or ray://host:port.")
    while True:
        try:
            with socket.create_connection((host, port), max(1.0, give_up - time.monotonic())):
                return
        except OSError as error:
            if time.monotonic() > give_up:
                raise ClusterError(
                    f"No Ray cluster answers at UNMINGLE_RAY_ADDRESS={address} ({error}). Start one with `ray start "
                    "--head`, or see to it that the address can be reached from here."
                ) from error
            time.sleep(_LOOK_S)


def room(share: Share) -> int:
    """How many workers the cluster has room for, were there nothing else in it."""
    found = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            fits = int(has.get("CPU", 0) / share.cpus)
            found += min(fits, int(has.get("GPU", 0) / share.gpus + 1e-9)) if share.gpus else fits
    return found


def holdings() -> str:
    """What the cluster has, and how much of it is free, in words."""
    has, free = ray.cluster_resources(), ray.available_resources()
    return " and ".join(f"{has.get(kind, 0):g} {kind}s ({free.get(kind, 0):g} free)" for kind in ("CPU", "GPU"))


def is_alive(node: str) -> bool:
    """Whether Ray thinks so."""
    with contextlib.suppress(Exception):  # whatever it is, Ray does not answer
        return any(found["NodeID"] == node and found["Alive"] for found in ray.nodes())
    return False
