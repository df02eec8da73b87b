"""What the server counts, for Prometheus. docs/operations.md says what each means."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from unmingle.service.scheduling.capacity import Ledger
from unmingle.service.scheduling.engine import LANES, Engine
from unmingle.service.scheduling.limits import LIMITS, Resource
from unmingle.service.scheduling.worker import REASONS
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
        engine: Engine,
        jobs: Callable[[], dict[str, int]],
        servers: Callable[[], int],
        info: dict[str, str],
        closed: Callable[[], bool],
    ) -> None:
        """Report queue and jobs at each scrape; `unmingle_ready` is 0 once the server is `closed`."""
        self.registry.register(_Queues(engine, jobs, servers, info, closed))

    def watch_room(self, ledger: Ledger, data_dir: Path) -> None:
        """Report how much of every limit is in use, and the disk."""
        self.registry.register(_Room(ledger, data_dir))

    def watch_network(self, batch_sizes: Counts[int], fallback: bool) -> None:
        """Report the sizes of batches, and whether a GPU was wanted but not available."""
        self.registry.register(_Network(batch_sizes, fallback))

    def begun(self, queued_s: float) -> None:
        """Count a recording that waited so many seconds for its worker."""
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
    def __init__(self, ledger: Ledger, data_dir: Path) -> None:
        self._ledger, self._data_dir = ledger, data_dir

    def collect(self) -> Iterator[Metric]:
        """Read the ledger and the file system."""
        yield GaugeMetricFamily(
            "unmingle_requests_in_hand",
            "Recordings of /separate from upload to answer.",
            self._ledger.held(Resource.RECORDINGS),
        )
        held = GaugeMetricFamily("unmingle_held", "What is held of a limit.", labels=("resource",))
        most = GaugeMetricFamily("unmingle_limit", "How much there is of it.", labels=("resource",))
        for resource in LIMITS:
            held.add_metric((resource.value,), self._ledger.held(resource))
            most.add_metric((resource.value,), self._ledger.limit(resource))
        yield from (held, most)
        yield GaugeMetricFamily(
            "unmingle_disk_free_bytes", "Disk space left to the data directory.", shutil.disk_usage(self._data_dir).free
        )


class _Queues(Collector):
    """What the engine and the jobs are doing."""

    def __init__(
        self,
        engine: Engine,
        jobs: Callable[[], dict[str, int]],
        servers: Callable[[], int],
        info: dict[str, str],
        closed: Callable[[], bool],
    ) -> None:
        self._engine, self._jobs, self._servers, self._info, self._closed = engine, jobs, servers, info, closed

    def collect(self) -> Iterator[Metric]:
        """Read the engine; the label `engine` tells its lanes apart."""
        recordings = GaugeMetricFamily("unmingle_recordings", "Recordings in an engine.", labels=("engine", "state"))
        seconds = GaugeMetricFamily("unmingle_queued_audio_seconds", "Audio that waits or runs.", labels=("engine",))
        factor = GaugeMetricFamily(
            "unmingle_real_time_factor", "Processing seconds per second of audio, of late.", labels=("engine",)
        )
        ready = GaugeMetricFamily("unmingle_ready", "1 while work is taken.", labels=("engine",))
        engine = self._engine
        for lane in LANES:
            recordings.add_metric((lane, "waiting"), engine.waiting(lane))
            recordings.add_metric((lane, "running"), engine.running(lane))
            seconds.add_metric((lane,), engine.audio_seconds(lane))
            factor.add_metric((lane,), engine.real_time_factor)
            ready.add_metric((lane,), float(engine.state == "ok" and not self._closed()))
        jobs = GaugeMetricFamily("unmingle_jobs", "Jobs that are kept, by state.", labels=("state",))
        servers = GaugeMetricFamily("unmingle_servers", "Servers alive that share these jobs.")
        with contextlib.suppress(OSError):  # the other metrics must not fail with the database
            for state, count in self._jobs().items():
                jobs.add_metric((state,), count)
            servers.add_metric((), self._servers())
        info = InfoMetricFamily("unmingle_model", "Model, provider and version.", value=self._info)
        yield from (recordings, seconds, factor, ready, jobs, servers, info)
        are_ready, wanted = engine.workers
        workers = GaugeMetricFamily("unmingle_workers", "Worker processes.", labels=("state",))
        workers.add_metric(("ready",), are_ready)
        workers.add_metric(("starting",), wanted - are_ready)
        lost = CounterMetricFamily("unmingle_workers_lost", "Worker processes that were replaced.", labels=("reason",))
        for reason in REASONS:
            lost.add_metric((reason,), engine.lost[reason])
        memory = GaugeMetricFamily("unmingle_workers_resident_memory_bytes", "Memory of all worker processes.")
        memory.add_metric((), engine.resident_bytes)
        processor = CounterMetricFamily("unmingle_workers_cpu_seconds", "Processor time of all worker processes.")
        processor.add_metric((), engine.processor_s)
        yield from (workers, lost, memory, processor)


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
