"""A queueing model of Unmingle on many machines: fronts, their decoders, the network and workers.

A request passes five stations, each a queue with several servers, first come, first served: a front takes it, a decoder
reads it, its samples go over the network, a worker separates it, and its stems go back. Service times are measured,
times a random factor; requests come at random (Poisson). What is not in it: failures, autoscaling, and priorities.
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Cost:
    """Processor seconds on one core: of a request, and of each second of its audio."""

    request_s: float
    audio_s: float


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a recording takes.

    Attributes:
        front: of the process that speaks HTTP; it computes on one core.
        decoder: of the process that decodes the upload.
        worker: of a worker with one thread.
        in_bytes_per_s, out_bytes_per_s: bytes of samples and of stems, per second of audio.
        spread: standard deviation of the logarithm of what a recording takes, over what it should take.
    """

    front: Cost
    decoder: Cost
    worker: Cost
    in_bytes_per_s: float
    out_bytes_per_s: float
    spread: float


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What there is.

    Attributes:
        workers: with a core each.
        fronts: server processes.
        decoders: with a core each, of all fronts together.
        network_bytes_per_s: of all fronts together.
        straggler_share: part of the workers that are slow.
        straggler_factor: how much slower they are.
    """

    workers: int
    fronts: int
    decoders: int
    network_bytes_per_s: float
    straggler_share: float = 0.0
    straggler_factor: float = 1.0

    @property
    def speeds(self) -> list[float]:
        """Of the workers."""
        slow = round(self.straggler_share * self.workers)
        return [1.0 / self.straggler_factor] * slow + [1.0] * (self.workers - slow)


@dataclasses.dataclass(frozen=True)
class Load:
    """What is asked for.

    Attributes:
        audio_per_s: seconds of audio that come in a second, on average.
        median_s: of a recording.
        length_spread: standard deviation of the logarithm of its length.
        requests: how many.
    """

    audio_per_s: float
    median_s: float
    length_spread: float
    requests: int

    @property
    def mean_s(self) -> float:
        """Of a recording."""
        return self.median_s * math.exp(self.length_spread**2 / 2)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        audio_per_s: seconds of audio done in a second, while requests came.
        p50_s, p99_s: from a request to its answer.
        p99_over_alone: the same, over what it would have taken alone on an ordinary worker.
    """

    audio_per_s: float
    p50_s: float
    p99_s: float
    p99_over_alone: float


def most_audio_per_s(costs: Costs, cluster: Cluster, load: Load) -> dict[str, float]:
    """By station, the seconds of audio in a second at which it is busy all the time."""

    def per_core(cost: Cost) -> float:
        return 1.0 / (cost.audio_s + cost.request_s / load.mean_s)

    return {
        "front": cluster.fronts * per_core(costs.front),
        "decoders": cluster.decoders * per_core(costs.decoder),
        "network": cluster.network_bytes_per_s / max(costs.in_bytes_per_s, costs.out_bytes_per_s),
        "workers": sum(cluster.speeds) * per_core(costs.worker),
    }


def simulate(costs: Costs, cluster: Cluster, load: Load, rng: np.random.Generator) -> Outcome:
    """Send a load to a cluster.

    All requests pass the stations in the same order, so each station is simulated for all of them at once: the
    departures from one are the arrivals at the next.
    """
    lengths = load.median_s * np.exp(load.length_spread * rng.standard_normal(load.requests))
    arrivals = np.cumsum(rng.exponential(load.mean_s / load.audio_per_s, load.requests))
    # The mean of the random factor is 1, so that it does not move what a station can do.
    factor = np.exp(costs.spread * rng.standard_normal(load.requests) - costs.spread**2 / 2)

    def service_s(cost: Cost) -> Floats:
        return np.asarray((cost.request_s + cost.audio_s * lengths) * factor)

    stations = [
        (service_s(costs.front), [1.0] * cluster.fronts),
        (service_s(costs.decoder), [1.0] * cluster.decoders),
        (lengths * costs.in_bytes_per_s / cluster.network_bytes_per_s, [1.0]),
        (service_s(costs.worker), cluster.speeds),
        (lengths * costs.out_bytes_per_s / cluster.network_bytes_per_s, [1.0]),
    ]
    there = arrivals
    for takes_s, speeds in stations:
        there = pass_station(there, takes_s, speeds)
    took = there - arrivals
    alone = sum(takes_s for takes_s, _ in stations)
    return Outcome(
        audio_per_s=float(lengths[there <= arrivals[-1]].sum() / (arrivals[-1] - arrivals[0])),
        p50_s=float(np.percentile(took, 50)),
        p99_s=float(np.percentile(took, 99)),
        p99_over_alone=float(np.percentile(took / alone, 99)),
    )


def pass_station(arrivals: Floats, service_s: Floats, speeds: Sequence[float]) -> Floats:
    """When each request leaves a station with one queue, first come, first served.

    Args:
        arrivals: (requests,) times, in any order.
        service_s: (requests,) what each takes on a server of speed 1.
        speeds: of the servers; of those that are free, the one is taken that has been free for longest.

    Returns:
        (requests,) times, in the order of `arrivals`.
    """
    free = collections.deque(range(len(speeds)))
    busy: list[tuple[float, int]] = []
    leaves = np.empty_like(arrivals)
    for request in np.argsort(arrivals, kind="stable"):
        now = float(arrivals[request])
        while busy and (busy[0][0] <= now or not free):
            until, server = heapq.heappop(busy)
            now = max(now, until)
            free.append(server)
        server = free.popleft()
        leaves[request] = now + service_s[request] / speeds[server]
        heapq.heappush(busy, (float(leaves[request]), server))
    return leaves
