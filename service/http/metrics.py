"""What the server counts, for Prometheus. docs/operations.md says what each means."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from unmingle.service.scheduling.engine import Engine
from unmingle.service.scheduling.request_slots import RequestSlots
from unmingle.service.schemas import Manifest

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


class Metrics:
    """One registry per server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "unmingle_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._request_seconds = Histogram(
            "unmingle_request_seconds",
            "From the first byte in to the last byte out.",
            ("route",),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._rejections = Counter("unmingle_rejections", "Problems by code.", ("code",), registry=self.registry)
        self._stage_seconds = Histogram(
            "unmingle_stage_seconds",
            "Wall time of a stage of one separation.",
            ("stage",),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._queue_seconds = Histogram(
            "unmingle_queue_seconds",
            "From the decoded upload to a free worker.",
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._audio_seconds = Counter("unmingle_audio_seconds", "Audio separated.", registry=self.registry)

    def watch(
        self,
        engines: dict[str, Engine],
        jobs: Callable[[], dict[str, int]],
        info: dict[str, str],
        closed: Callable[[], bool],
    ) -> None:
        """Report the state of the queues and jobs whenever asked; nothing is ready once the server is `closed`."""
        self.registry.register(_Queues(engines, jobs, info, closed))

    def watch_room(self, request_slots: RequestSlots, data_dir: Path) -> None:
        """Report what is in hand, and the disk."""
        self.registry.register(_Room(request_slots, data_dir))

    def watch_network(self, batch_sizes: Counts[int], fallback: bool) -> None:
        """Report how many segments ran together, and whether a GPU was wanted and not to be had."""
        self.registry.register(_Network(batch_sizes, fallback))

    def begun(self, queued_s: float) -> None:
        """Count a recording that has got its worker after so many seconds."""
        self._queue_seconds.observe(queued_s)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def rejected(self, code: str) -> None:
        """Count a problem."""
        self._rejections.labels(code).inc()

    def separated(self, manifest: Manifest) -> None:
        """Count a separation."""
        self._audio_seconds.inc(manifest.seconds)
        for stage, seconds in manifest.stage_seconds.items():
            self._stage_seconds.labels(stage).observe(seconds)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


class _Room(Collector):
    def __init__(self, request_slots: RequestSlots, data_dir: Path) -> None:
        self._request_slots, self._data_dir = request_slots, data_dir

    def collect(self) -> Iterator[Metric]:
        """Read the slots and the file system."""
        yield GaugeMetricFamily(
            "unmingle_requests_in_hand", "Uploads and recordings that hold a slot.", self._request_slots.taken
        )
        yield GaugeMetricFamily(
            "unmingle_disk_free_bytes", "Disk space left to the data directory.", shutil.disk_usage(self._data_dir).free
        )


class _Queues(Collector):
    def __init__(
        self,
        engines: dict[str, Engine],
        jobs: Callable[[], dict[str, int]],
        info: dict[str, str],
        closed: Callable[[], bool],
    ) -> None:
        self._engines, self._jobs, self._info, self._closed = engines, jobs, info, closed

    def collect(self) -> Iterator[Metric]:
        """Read the engines."""
        recordings = GaugeMetricFamily("unmingle_recordings", "Recordings in an engine.", labels=("engine", "state"))
        seconds = GaugeMetricFamily("unmingle_queued_audio_seconds", "Audio that waits or runs.", labels=("engine",))
        held = GaugeMetricFamily("unmingle_queued_audio_bytes", "Decoded audio that waits or runs.", labels=("engine",))
        factor = GaugeMetricFamily(
            "unmingle_real_time_factor", "Processing seconds per second of audio, of late.", labels=("engine",)
        )
        ready = GaugeMetricFamily("unmingle_ready", "1 while work is taken.", labels=("engine",))
        for name, engine in self._engines.items():
            recordings.add_metric((name, "waiting"), engine.waiting)
            recordings.add_metric((name, "running"), engine.running)
            seconds.add_metric((name,), engine.audio_seconds)
            held.add_metric((name,), engine.audio_bytes)
            factor.add_metric((name,), engine.real_time_factor)
            ready.add_metric((name,), float(engine.state == "ok" and not self._closed()))
        jobs = GaugeMetricFamily("unmingle_jobs", "Jobs that are kept, by state.", labels=("state",))
        with contextlib.suppress(sqlite3.Error):  # whatever ails the store, the rest is to be seen
            for state, count in self._jobs().items():
                jobs.add_metric((state,), count)
        info = InfoMetricFamily("unmingle_model", "Model, provider and version.", value=self._info)
        yield from (recordings, seconds, held, factor, ready, jobs, info)


class _Network(Collector):
    def __init__(self, batch_sizes: Counts[int], fallback: bool) -> None:
        self._batch_sizes, self._fallback = batch_sizes, fallback

    def collect(self) -> Iterator[Metric]:
        """Read the batcher."""
        batches = CounterMetricFamily("unmingle_batches", "Calls of the network by segments in them.", labels=("size",))
        for size, count in sorted(self._batch_sizes.copy().items()):
            batches.add_metric((str(size),), count)
        fallback = GaugeMetricFamily("unmingle_device_fallback", "1 where device=auto found no GPU that it could use.")
        fallback.add_metric((), float(self._fallback))
        yield from (batches, fallback)
