"""Serves external.metrics.k8s.io to the API server's aggregation layer, and to no other client."""

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import structlog
from aiohttp import web
from prometheus_client import Counter

from predictive_scaling.clock import Clock
from predictive_scaling.errors import SettingsError
from predictive_scaling.external_metrics.documents import (
    API_GROUP,
    API_RESOURCES,
    GROUP,
    GROUP_VERSION,
    failure,
    labels_of,
    value_list,
)
from predictive_scaling.external_metrics.selector import SelectorError, parse_selector
from predictive_scaling.external_metrics.trust import AggregatorTrust, ServingFiles, server_context
from predictive_scaling.external_metrics.values import Metric, MetricSource, MetricValue, Reading
from predictive_scaling.listener import open_listener
from predictive_scaling.periodic_task import PeriodicTask, run_periodically

log = structlog.get_logger(__name__)

REQUESTS = Counter(
    "predictive_scaling_external_metrics_requests_total",
    "Responses to the aggregation layer by HTTP status; 503: stale or missing data.",
    ["status"],
)
CERTIFICATE_RELOADS = Counter(
    "predictive_scaling_external_metrics_certificate_reloads_total",
    "Changes of the serving certificate by result: loaded, or refused because certificate and key do not match.",
    ["result"],
)
for _status in ("200", "404", "503"):
    REQUESTS.labels(_status)
for _result in ("loaded", "refused"):
    CERTIFICATE_RELOADS.labels(_result)


class ExternalMetricsServer:
    """A listener in the operator's event loop. `async with` starts and stops it.

    The handshake requires a client certificate of the trusted CA; a certificate with another name gets 403. The API
    server authorizes users by RBAC on external.metrics.k8s.io before it forwards their requests. Certificate and key
    are read again when they change; open connections keep the old ones.
    """

    def __init__(
        self,
        source: MetricSource,
        clock: Clock,
        files: ServingFiles,
        trust: AggregatorTrust,
        *,
        host: str = "0.0.0.0",  # noqa: S104 (the API server connects from outside; TLS requires its certificate)
        port: int = 8443,
        reload_interval: timedelta = timedelta(seconds=5),
    ) -> None:
        self._source = source
        self._clock = clock
        self._files = files
        self._trust = trust
        self._host = host
        self._port = port
        self._reload_interval = reload_interval
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._listener: socket.socket | None = None
        self._accepting: socket.socket | None = None
        """The copy of the listener that `_site` owns."""
        self._replacing = asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None
        self._served = b""

    @property
    def port(self) -> int:
        """The port that the server listens on; the assigned port if 0 was configured."""
        return self._port if self._listener is None else int(self._listener.getsockname()[1])

    async def start(self) -> None:
        """Start serving. Raises SettingsError for unusable files or a port in use."""
        server_context(self._files, self._trust)
        application = web.Application(middlewares=[self._require_aggregator])
        application.router.add_get(f"/apis/{GROUP}", _document(API_GROUP))
        application.router.add_get(f"/apis/{GROUP_VERSION}", _document(API_RESOURCES))
        application.router.add_get(f"/apis/{GROUP_VERSION}/namespaces/{{namespace}}/{{metric}}", self._values)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            self._listener = open_listener(self._host, self._port, "external metrics")
        except SettingsError:
            await self.stop()
            raise
        await self._serve()
        reload = PeriodicTask(
            "external_metrics_certificate",
            self.reload_if_changed,
            self._reload_interval.total_seconds(),
            on_standby=True,
        )
        self._watcher = asyncio.create_task(run_periodically(reload, lambda: True), name=reload.name)
        log.info("external_metrics_listening", port=self.port)

    async def stop(self) -> None:
        """Close the listener and all connections; safe to call twice."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        runner, self._runner, self._site, self._accepting = self._runner, None, None, None
        if runner is not None:
            await runner.cleanup()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    async def trust(self, trust: AggregatorTrust) -> None:
        """Replace the trusted authority, such as after its rotation; no effect if it is unchanged."""
        if trust != self._trust:
            server_context(self._files, trust)
            self._trust = trust
            await self._serve()

    async def reload_if_changed(self) -> bool:
        """Reload certificate and key if they changed and match; return whether they were reloaded."""
        try:
            if self._fingerprint() == self._served:
                return False
            server_context(self._files, self._trust)
        except (OSError, SettingsError) as error:
            # During a rotation the key may already belong to the next certificate; the old pair stays in use.
            log.warning("external_metrics_certificate_refused", error=str(error))
            CERTIFICATE_RELOADS.labels("refused").inc()
            return False
        await self._serve()
        CERTIFICATE_RELOADS.labels("loaded").inc()
        log.info("external_metrics_certificate_reloaded", file=str(self._files.certificate))
        return True

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _serve(self) -> None:
        """(Re)start TLS. The listener stays open, so that clients that connect meanwhile wait and are not refused."""
        async with self._replacing:
            await self._replace_site()

    async def _replace_site(self) -> None:
        if self._runner is None or self._listener is None:
            return
        fingerprint, context = self._fingerprint(), server_context(self._files, self._trust)
        listener = self._listener.dup()
        try:
            site = web.SockSite(self._runner, listener, ssl_context=context)
        except BaseException:
            listener.close()
            raise
        before, self._site = self._site, site
        former_socket, self._accepting = self._accepting, listener
        if before is not None and former_socket is not None:
            # asyncio drops a connection whose server closes between its acceptance and the start of TLS: accept no
            # more first, and let those that were accepted start.
            asyncio.get_running_loop().remove_reader(former_socket)
            await asyncio.sleep(0)
            await before.stop()
        await site.start()
        self._served = fingerprint

    def _fingerprint(self) -> bytes:
        return hashlib.sha256(self._files.certificate.read_bytes() + self._files.key.read_bytes()).digest()

    @web.middleware
    async def _require_aggregator(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        certificate: dict[str, Any] | None = request.get_extra_info("peercert")
        if not self._trust.admits(certificate):
            log.warning("external_metrics_refused", path=request.path)
            response = _failed(403, "Forbidden", "only the API server's aggregation layer may read external metrics")
        else:
            response = await _as_status(request, handler)
        REQUESTS.labels(str(response.status)).inc()
        return response

    async def _values(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["metric"]
        if name not in list(Metric):
            served = ", ".join(Metric)
            return _failed(404, "NotFound", f"there is no metric {name!r}; served metrics: {served}")
        metric = Metric(name)
        selector = parse_selector(request.query.get("labelSelector", ""))
        chosen = [value for value in self._source.values(namespace, metric) if selector.matches(labels_of(value))]
        if not self._source.is_complete:
            return _failed(
                503, "ServiceUnavailable", "this replica has not listed all ScalingPolicies yet; retry later"
            )
        if not chosen:
            return _failed(404, "NotFound", f"no ScalingPolicy in namespace {namespace} is selected")
        return self._respond(namespace, metric, chosen)

    def _respond(self, namespace: str, metric: Metric, chosen: Sequence[MetricValue]) -> web.Response:
        """All values or an error: an HPA sums the items, so leaving out a stale value would read as less demand."""
        now = self._clock.now()
        current: list[tuple[MetricValue, Reading]] = []
        for value in chosen:
            if value.reading is None or not value.reading.serves_at(now):
                return _failed(503, "ServiceUnavailable", _missing(namespace, metric, value, now))
            current.append((value, value.reading))
        return web.json_response(value_list(metric, current))


async def _as_status(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except SelectorError as error:
        return _failed(400, "BadRequest", str(error))
    except web.HTTPException as error:
        reason = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status, "BadRequest")
        return _failed(error.status, reason, f"{request.method} {request.path}: {error.reason}")


def _missing(namespace: str, metric: Metric, value: MetricValue, now: datetime) -> str:
    subject = f"{metric} of ScalingPolicy {namespace}/{value.policy}"
    if value.reading is None:
        return f"{subject} is not known yet"
    if now >= value.reading.valid_until:
        return f"{subject} is stale: the last value is from {value.reading.at.isoformat()}"
    return f"{subject} is {value.reading.value}, which cannot be served"


def _failed(code: int, reason: str, message: str) -> web.Response:
    return web.json_response(failure(code, reason, message), status=code)


def _document(content: dict[str, Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def respond(_: web.Request) -> web.Response:
        return web.json_response(content)

    return respond
