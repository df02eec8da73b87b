"""OpenTelemetry traces, where a deployment wants them: which request waited where, and what a worker did for it.

Without `configure` nothing is recorded, and its SDK is not imported. Names and attributes follow its semantic
conventions for HTTP (https://opentelemetry.io/docs/specs/semconv/http/http-spans/).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from unmingle.model.errors import UnmingleError
from unmingle.service.version import version

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind, Tracer

Value = str | int | float | bool
Kind = Literal["server", "consumer", "internal"]

FRONT = "unmingle"
"""What a server's front is called in traces."""

_FLUSH_MS = 3000
_CLIENT_TIMEOUT_S = 5


class TracingError(UnmingleError):
    """Traces cannot be recorded."""


class _Recording:
    """What there is once tracing is configured."""

    def __init__(self, provider: TracerProvider, tracer: Tracer, url: str) -> None:
        self.provider, self.tracer, self.url = provider, tracer, url


_recording: _Recording | None = None


def configure(url: str, service: str) -> None:
    """Send the spans of this process to a collector from now on. More than once does nothing.

    Args:
        url: where it takes OTLP over HTTP, such as http://collector:4318/v1/traces.
        service: what this process is called in traces (service.name).

    Raises:
        TracingError: OpenTelemetry is not installed.
    """
    global _recording  # noqa: PLW0603 - one per process, as for logs
    if _recording:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingError(
            "UNMINGLE_TRACES_URL asks for traces, and OpenTelemetry is not installed; expected the extra 'tracing': "
            "pip install 'unmingle[tracing]'."
        ) from error
    # A collector that is away must not fill the log with tracebacks: requests matter, traces are lost.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider = TracerProvider(resource=Resource.create({"service.name": service, "service.version": version()}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=_CLIENT_TIMEOUT_S)))
    _recording = _Recording(provider, provider.get_tracer("unmingle", version()), url)


def url() -> str | None:
    """Where spans go; None where they are not recorded."""
    return _recording.url if _recording else None


def finish() -> None:
    """Send what has been recorded and not been sent; it waits a few seconds at most."""
    global _recording
    if _recording:
        recording, _recording = _recording, None
        recording.provider.force_flush(_FLUSH_MS)
        recording.provider.shutdown()


def span(
    name: str, attributes: Mapping[str, Value] | None = None, *, kind: Kind = "internal", parent: str | None = None
) -> AbstractContextManager[Traced]:
    """While it is entered, spans of this task or thread are its children. An exception marks it as failed.

    Args:
        name: what is done; of few different values.
        attributes: with whom or what.
        kind: of OpenTelemetry.
        parent: a `traceparent` (W3C Trace Context) from elsewhere; by default the span that is current here.
    """
    return _span(_recording, name, attributes, kind, parent) if _recording else nullcontext(Traced())


def begin(name: str) -> Traced:
    """A child of the current span that is not current itself; whoever ends it may be another task."""
    return Traced(_recording.tracer.start_span(name)) if _recording else Traced()


def traceparent() -> str | None:
    """The current span as a header of W3C Trace Context; None where nothing is recorded."""
    if not _recording:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


class Traced:
    """A span, or nothing."""

    def __init__(self, span: Span | None = None) -> None:
        self._span = span

    def name(self, name: str) -> None:
        """Call it so, now that more is known."""
        if self._span:
            self._span.update_name(name)

    def note(self, attributes: Mapping[str, Value]) -> None:
        """Add attributes."""
        if self._span:
            self._span.set_attributes(attributes)

    def fail(self, why: str) -> None:
        """Mark it as failed."""
        if self._span:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, why))

    def end(self) -> None:
        """It is over. For `begin` only; more than once does nothing."""
        if self._span:
            self._span.end()
            self._span = None


@contextmanager
def _span(
    recording: _Recording, name: str, attributes: Mapping[str, Value] | None, kind: Kind, parent: str | None
) -> Iterator[Traced]:
    context = _context_of(parent) if parent else None
    with recording.tracer.start_as_current_span(name, context, _kind_of(kind), attributes) as current:
        yield Traced(current)


def _context_of(parent: str) -> Context:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, Any] = {"traceparent": parent}
    return TraceContextTextMapPropagator().extract(carrier)


def _kind_of(kind: Kind) -> SpanKind:
    from opentelemetry.trace import SpanKind

    return {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER, "internal": SpanKind.INTERNAL}[kind]
