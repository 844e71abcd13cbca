"""Serves external.metrics.k8s.io through the aggregation layer, to the aggregation layer alone."""

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
from predictive_scaling.external_metrics.metrics import CERTIFICATE_RELOADS, REQUESTS
from predictive_scaling.external_metrics.selector import SelectorError, parse_selector
from predictive_scaling.external_metrics.trust import AggregatorTrust, ServingFiles, server_context
from predictive_scaling.external_metrics.values import Metric, MetricSource, MetricValue, Reading
from predictive_scaling.listener import open_listener
from predictive_scaling.periodic_task import PeriodicTask, run_periodically

log = structlog.get_logger(__name__)


class ExternalMetricsServer:
    """One listener, in the operator's event loop. `async with` starts and stops it; `port` is the real one.

    The handshake needs a client certificate of the trusted authority; another name than the aggregator's gets 403.
    The API server has authorised the user by RBAC on external.metrics.k8s.io before it asks here.
    Certificate and key are read again when they change; connections that exist go on with the old ones.
    """

    def __init__(
        self,
        source: MetricSource,
        clock: Clock,
        files: ServingFiles,
        trust: AggregatorTrust,
        *,
        host: str = "0.0.0.0",  # noqa: S104 (the API server is elsewhere; TLS asks for its certificate)
        port: int = 8443,
        reload_every: timedelta = timedelta(seconds=5),
    ) -> None:
        self._source = source
        self._clock = clock
        self._files = files
        self._trust = trust
        self._host = host
        self._port = port
        self._reload_every = reload_every
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._listener: socket.socket | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._served = b""

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port if self._listener is None else int(self._listener.getsockname()[1])

    async def start(self) -> None:
        """Raises SettingsError for files that do not serve, and for a port that is taken."""
        server_context(self._files, self._trust)
        application = web.Application(middlewares=[self._only_the_aggregator])
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
            self._reload_every.total_seconds(),
            on_standby=True,
        )
        self._watcher = asyncio.create_task(run_periodically(reload, lambda: True), name=reload.name)
        log.info("external_metrics_listening", port=self.port)

    async def stop(self) -> None:
        """Close the listener and what is open; safe to call twice."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        runner, self._runner, self._site = self._runner, None, None
        if runner is not None:
            await runner.cleanup()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    async def trust(self, trust: AggregatorTrust) -> None:
        """Believe another authority from now on, as when the cluster rotated it. The same one changes nothing."""
        if trust != self._trust:
            server_context(self._files, trust)
            self._trust = trust
            await self._serve()

    async def reload_if_changed(self) -> bool:
        """Serve with what the files hold now, where that is something new and fits together; says whether it did."""
        try:
            if self._fingerprint() == self._served:
                return False
            server_context(self._files, self._trust)
        except (OSError, SettingsError) as error:
            # In the middle of a rotation the key may be the next one's already: the old pair goes on serving.
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
        """(Re)start TLS on the listener, which stays open meanwhile: who comes now waits and is not refused."""
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
        if before is not None:
            await before.stop()
        await site.start()
        self._served = fingerprint

    def _fingerprint(self) -> bytes:
        return hashlib.sha256(self._files.certificate.read_bytes() + self._files.key.read_bytes()).digest()

    @web.middleware
    async def _only_the_aggregator(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        certificate: dict[str, Any] | None = request.get_extra_info("peercert")
        if not self._trust.admits(certificate):
            log.warning("external_metrics_refused", path=request.path)
            response = _failed(403, "Forbidden", "only the API server's aggregation layer may ask here")
        else:
            response = await _as_status(request, handler)
        REQUESTS.labels(str(response.status)).inc()
        return response

    async def _values(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["metric"]
        if name not in list(Metric):
            known = ", ".join(Metric)
            return _failed(404, "NotFound", f"there is no metric {name!r}; there are {known}")
        metric = Metric(name)
        selector = parse_selector(request.query.get("labelSelector", ""))
        chosen = [value for value in self._source.values(namespace, metric) if selector.matches(labels_of(value))]
        if not self._source.is_complete:
            return _failed(503, "ServiceUnavailable", "this replica does not know all ScalingPolicies yet; ask again")
        if not chosen:
            return _failed(404, "NotFound", f"no ScalingPolicy in namespace {namespace} is selected")
        return self._answer(namespace, metric, chosen)

    def _answer(self, namespace: str, metric: Metric, chosen: Sequence[MetricValue]) -> web.Response:
        """All of them or an error: an HPA adds the items up, so leaving a stale one out would read as less demand."""
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
    what = f"{metric} of ScalingPolicy {namespace}/{value.policy}"
    if value.reading is None:
        return f"{what} is not known yet"
    if now >= value.reading.valid_until:
        return f"{what} is stale: the last one is of {value.reading.at.isoformat()}"
    return f"{what} is no number that can be served: {value.reading.value}"


def _failed(code: int, reason: str, message: str) -> web.Response:
    return web.json_response(failure(code, reason, message), status=code)


def _document(content: dict[str, Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def show(_: web.Request) -> web.Response:
        return web.json_response(content)

    return show
