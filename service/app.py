"""create_app(settings): the pieces of the service, wired together."""

from __future__ import annotations

import fcntl
import logging
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from unmingle.model.abilities import Abilities
from unmingle.model.errors import UnmingleError
from unmingle.service.decoding.decoder import DecodeLimits, Decoder
from unmingle.service.http import documentation, failures
from unmingle.service.http.auth import ApiKeys
from unmingle.service.http.metrics import Metrics
from unmingle.service.http.routes import health, job_views, kept_views, separate
from unmingle.service.http.routes import jobs as jobs_routes
from unmingle.service.http.routes import recordings as recordings_routes
from unmingle.service.http.site import Site
from unmingle.service.http.state import ServiceState
from unmingle.service.http.telemetry import InFlight, RequestFrame
from unmingle.service.jobs.database import JobStoreError
from unmingle.service.jobs.jobs import Jobs
from unmingle.service.jobs.limits import JobLimits
from unmingle.service.jobs.opening import Shared, open_jobs
from unmingle.service.page import routes as page
from unmingle.service.pipeline import Pipeline
from unmingle.service.problems import Problem
from unmingle.service.recordings.recordings import KeepLimits, Recordings
from unmingle.service.scheduling.answer_rate import AnswerRate
from unmingle.service.scheduling.capacity import Capacity, Ledger
from unmingle.service.scheduling.engine import Engine
from unmingle.service.scheduling.limits import LIMITS
from unmingle.service.schemas import ModelEntry
from unmingle.service.settings import Settings
from unmingle.service.store.objects import StoreError
from unmingle.service.version import version
from unmingle.service.workers.staff import Staff, lanes, staff_of

log = logging.getLogger(__name__)

ROUTERS = (
    separate.router,
    recordings_routes.router,
    kept_views.router,
    jobs_routes.router,
    job_views.router,
    health.router,
    page.router,
)


class DataDirError(UnmingleError):
    """The data directory cannot be used."""


def create_app(settings: Settings | None = None, staff: Staff | None = None) -> FastAPI:
    """Build the service; its workers load the model, and run it once while the server starts.

    Args:
        settings: by default, those of the environment.
        staff: the workers, where they have been hired for these settings already.

    Raises:
        ModelError: the model cannot be used.
        DataDirError: the data directory cannot be written, or another server uses it.
    """
    settings = settings or Settings()
    staff = staff or staff_of(settings)
    facts = staff.facts()
    if facts.fallback:
        log.info("the network runs on the CPU: %s", facts.fallback)
    spool = settings.data_dir / "spool"
    lock = _claim(settings)
    metrics = Metrics()
    model = ModelEntry(name=facts.config.name, hash=facts.hash)
    abilities = Abilities(facts.config, facts.refines)
    decoder = Decoder(settings.decoders)
    engine = Engine(staff.workers, staff.hire, lanes(settings), metrics.begun, staff.scaling)
    ledger = Ledger(_capacity(settings), AnswerRate(settings.request_timeout_s / 2))
    ledger.seconds_per_audio_second = lambda: engine.real_time_factor
    try:
        jobs = _open_jobs(
            settings,
            Pipeline(
                decoder.beside(settings.job_workers),
                engine,
                "jobs",
                model,
                abilities,
                metrics.separated,
                overview=True,
                spreads=True,
            ),
            ledger,
        )
    except DataDirError:
        lock.close()
        raise
    pipeline = Pipeline(decoder, engine, "requests", model, abilities, metrics.separated)
    state = ServiceState(
        settings=settings,
        pipeline=pipeline,
        jobs=jobs,
        recordings=_recordings(settings, pipeline, ledger),
        ledger=ledger,
        facts=facts,
        metrics=metrics,
        spool=spool,
        started=time.monotonic(),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        shutil.rmtree(spool, ignore_errors=True)  # left behind by a server that was killed
        spool.mkdir(parents=True)
        decoder.start()
        engine.start()
        jobs.start()
        state.recordings.start()
        yield
        await jobs.stop()
        await state.recordings.stop()
        await engine.stop()
        await decoder.stop()
        shutil.rmtree(spool, ignore_errors=True)
        lock.close()

    app = FastAPI(
        title="Unmingle",
        summary="Separates a recording in which several sounds overlap into each sound on its own.",
        version=version(),
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would reflect the client's Host header
    )
    app.state.service = state
    app.state.keys = ApiKeys(settings.api_keys, settings.key_requests_per_minute)
    for router in ROUTERS:
        app.include_router(router)
    documentation.complete(app, ROUTERS)
    for kind in (Problem, UnmingleError, RequestValidationError, HTTPException, OSError):
        app.add_exception_handler(kind, _answer_problem)
    site = Site(settings.host, settings.allowed_hosts, settings.cors_origins)
    in_flight = app.state.in_flight = InFlight()
    app.add_middleware(RequestFrame, metrics=metrics, site=site, limits=state.upload_limits, in_flight=in_flight)
    _add_cors(app, settings)
    info = {"name": model.name, "hash": model.hash, "provider": facts.provider, "version": version()}
    metrics.watch_room(ledger, settings.data_dir)
    metrics.watch(engine, jobs.store.counts, jobs.store.members.alive, info, lambda: ledger.closed)
    metrics.watch_network(staff.batch_sizes, fallback=facts.fallback is not None)
    return app


def _add_cors(app: FastAPI, settings: Settings) -> None:
    """Added last, around everything else, so that allowed pages can read errors, too."""
    if not settings.cors_origins:
        return
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[origin.strip() for origin in settings.cors_origins.split(",")],
        allow_methods=["GET", "HEAD", "POST", "DELETE"],
        allow_headers=["Authorization", "Idempotency-Key", "If-None-Match", "Prefer", "Range", "X-Request-ID"],
        expose_headers=[
            "Accept-Ranges",
            "Content-Disposition",
            "Content-Range",
            "ETag",
            "Location",
            "Preference-Applied",
            "Retry-After",
            "Server-Timing",
            "X-Request-ID",
        ],
    )


def _capacity(settings: Settings) -> Capacity:
    """The limits of this deployment, by the rows of the table of limits."""
    return Capacity(
        {resource: getattr(settings, limit.setting) for resource, limit in LIMITS.items() if limit.setting},
        {resource: getattr(settings, limit.key_setting) for resource, limit in LIMITS.items() if limit.key_setting},
    )


def _recordings(settings: Settings, pipeline: Pipeline, ledger: Ledger) -> Recordings:
    limits = KeepLimits(settings.recording_keep_s, settings.recording_heard_s)
    return Recordings(settings.data_dir / "recordings", pipeline, ledger, limits)


def _open_jobs(settings: Settings, pipeline: Pipeline, ledger: Ledger) -> Jobs:
    try:
        return open_jobs(settings.data_dir, _shared(settings), pipeline, _job_limits(settings), ledger)
    except (JobStoreError, StoreError) as error:
        raise DataDirError(str(error)) from error
    except (OSError, sqlite3.Error) as error:
        raise DataDirError(
            f"The data directory {settings.data_dir} cannot be used ({error}); is its disk full, or its jobs.sqlite "
            "in use?"
        ) from error


def _shared(settings: Settings) -> Shared:
    return Shared(settings.database_url, settings.store_url, settings.job_lease_s, settings.store_cache_bytes)


def _job_limits(settings: Settings) -> JobLimits:
    return JobLimits(
        workers=settings.job_workers,
        keep_s=settings.job_keep_s,
        max_disk_bytes=settings.max_disk_bytes,
        max_json_bytes=settings.max_json_bytes,
        decode=DecodeLimits(
            settings.job_max_seconds,
            settings.job_max_decoded_bytes,
            settings.decode_memory_bytes,
            settings.job_decode_timeout_s,
        ),
    )


async def _answer_problem(request: Request, error: Exception) -> Response:
    problem = failures.problem_of(error)
    if problem.code == "internal":
        request_id = request.state.request_id
        log.error("A request failed", exc_info=error, extra={"request_id": request_id})
    if problem.code == "method_not_allowed":  # Starlette names the methods of one route; a path may have several
        routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
        allowed = {m for r in routes if r.matches(request.scope)[0] is not Match.NONE for m in r.methods or ()}
        allowed |= {"HEAD"} if "GET" in allowed else set()
        problem.headers["Allow"] = ", ".join(sorted(allowed))
    request.state.problem = problem.code
    return failures.response(problem, request.state.request_id)


def _claim(settings: Settings) -> BinaryIO:
    """Make the data directory and lock it for as long as the returned file is open."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (settings.data_dir / "lock").open("wb")
    except OSError as error:
        raise DataDirError(
            f"The data directory {settings.data_dir} cannot be written ({error.strerror}); "
            "set UNMINGLE_DATA_DIR to one that can."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise DataDirError(
            f"Another server uses the data directory {settings.data_dir}; set UNMINGLE_DATA_DIR to another one."
        ) from error
    return lock
