"""Spans of ticks and of API requests, sent by OTLP over HTTP. Off by default; the SDK
and its exporter are imported only where it is on.

The SDK's own variables configure the rest, such as OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_SAMPLER. Spans wait in a
bounded queue, from which a thread sends them: a collector that does not respond costs spans, but no time.
"""

import threading
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import structlog

from predictive_scaling import __version__
from predictive_scaling.errors import SettingsError
from predictive_scaling.telemetry.logs import masked

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as RecordingSpan
    from opentelemetry.trace import Tracer

Attributes = Mapping[str, str | int | float | bool]

LAST_EXPORT_SECONDS = 2.0
"""How long the end of a process waits until the spans in the queue are sent."""

_MAX_MESSAGE_LENGTH = 300
_UNNAMED = "unknown_service"
"""Prefix of the SDK's service name where the environment sets none."""
_tracer: "Tracer | None" = None


class Span:
    """A unit of work. This class records nothing; it is used while traces are off."""

    def annotate(self, attributes: Attributes) -> None:
        """Add attributes; later values replace earlier ones."""

    def rename(self, name: str) -> None:
        """Replace the name, where the right one is known only at the end."""

    def fail(self, kind: str, message: str = "") -> None:
        """Mark the work as failed. kind: a class of failures, such as the name of an exception."""


class _Recorded(Span):
    def __init__(self, span: "RecordingSpan") -> None:
        self._span = span

    def annotate(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, kind: str, message: str = "") -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR, masked(message)[:_MAX_MESSAGE_LENGTH])


_OFF = nullcontext(Span())


def is_recording() -> bool:
    """Whether spans are recorded, for work that is not worth its preparation otherwise."""
    return _tracer is not None


def span(
    name: str, attributes: Attributes | None = None, *, caller: Mapping[str, str] | None = None
) -> AbstractContextManager[Span]:
    """Return a block whose work is a span below the current one; its log lines have `trace_id` and `span_id`.

    caller: the headers of a request, whose `traceparent` is the span above. An exception marks the span as failed, with
    passwords masked and without its traceback.
    """
    return _OFF if _tracer is None else _recorded(_tracer, name, attributes or {}, caller)


@contextmanager
def _recorded(tracer: "Tracer", name: str, attributes: Attributes, caller: Mapping[str, str] | None) -> Generator[Span]:
    from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    above = None if caller is None else TraceContextTextMapPropagator().extract(dict(caller))
    kind = SpanKind.INTERNAL if caller is None else SpanKind.SERVER
    # The SDK would record the traceback and the message of an exception, which may contain a password.
    with tracer.start_as_current_span(
        name, above, kind, attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        identity = current.get_span_context()
        recorded = _Recorded(current)
        with structlog.contextvars.bound_contextvars(
            trace_id=format_trace_id(identity.trace_id), span_id=format_span_id(identity.span_id)
        ):
            try:
                yield recorded
            except BaseException as error:
                recorded.fail(type(error).__name__, str(error))
                raise


@contextmanager
def sent_traces(process: str, *, enabled: bool, last_export_seconds: float = LAST_EXPORT_SECONDS) -> Generator[None]:
    """Record and send spans while the block runs.

    process: names the service `predictive-scaling-PROCESS`, unless OTEL_SERVICE_NAME names it. Raises SettingsError if
    the packages of OpenTelemetry are missing.
    """
    global _tracer
    if not enabled:
        yield
        return
    provider = _provider(process)
    _tracer = provider.get_tracer("predictive_scaling", __version__)
    try:
        yield
    finally:
        _tracer = None
        # In a thread, because the SDK waits up to half a minute for a collector that does not respond.
        end = threading.Thread(target=provider.shutdown, name="last-export", daemon=True)
        end.start()
        end.join(last_export_seconds)


def _provider(process: str) -> "TracerProvider":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            f"PREDICTIVE_SCALING_TRACES: {error}; run: pip install 'predictive-scaling[tracing]', or set it to false"
        ) from None
    described = Resource.create()
    if str(described.attributes[SERVICE_NAME]).startswith(_UNNAMED):
        described = described.merge(Resource({SERVICE_NAME: f"predictive-scaling-{process}"}))
    resource = Resource({SERVICE_VERSION: __version__}).merge(described)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
