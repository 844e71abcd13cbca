"""A collector of OpenTelemetry traces on a loopback port, which decodes what it receives by OTLP over HTTP."""

import gzip
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.eventually import eventually


@dataclass(frozen=True)
class CollectedSpan:
    """A span as the collector received it. parent_id: empty for the first span of a trace."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    kind: int
    failed: bool
    message: str


@dataclass
class TraceCollector:
    """Keeps the spans that it receives. answers: cleared, it receives requests and does not answer them."""

    spans: list[CollectedSpan] = field(default_factory=list[CollectedSpan])
    headers: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])
    bodies: list[bytes] = field(default_factory=list[bytes])
    answers: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def environment(self) -> dict[str, str]:
        """Return the variables of the SDK with which a process sends its spans here, each soon after its end."""
        return {
            "PREDICTIVE_SCALING_TRACES": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            # No test depends on the time-out of an export, nor on a full queue, unless it says so.
            "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
            "OTEL_BSP_MAX_QUEUE_SIZE": "50000",
            "NO_PROXY": "127.0.0.1",
        }

    def named(self, name: str) -> list[CollectedSpan]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]

    async def received(self, name: str, **attributes: str) -> CollectedSpan:
        """Wait for a span of a name with these attributes (with underscores for dots), and return the first."""

        async def span() -> CollectedSpan | None:
            return next((span for span in self.named(name) if attributes.items() <= _plain(span).items()), None)

        result = await eventually(span, lambda span: span is not None, seconds=30)
        assert result is not None
        return result

    def receive(self, body: bytes) -> None:
        """Keep the spans of a request."""
        request = ExportTraceServiceRequest.FromString(body)
        for group in request.resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [
                    CollectedSpan(
                        name=span.name,
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        attributes=_values(span.attributes),
                        resource=resource,
                        kind=span.kind,
                        failed=span.status.code == 2,
                        message=span.status.message,
                    )
                    for span in scope.spans
                ]


@contextmanager
def trace_collector() -> Generator[TraceCollector]:
    """Run a collector while the block runs."""
    collector = TraceCollector()
    collector.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.asked.set()
            collector.answers.wait()
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            collector.bodies.append(body)
            collector.receive(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name of http.server)
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.answers.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _plain(span: CollectedSpan) -> dict[str, Any]:
    return {name.replace(".", "_"): value for name, value in span.attributes.items()}


def _values(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
