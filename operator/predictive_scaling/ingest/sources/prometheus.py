"""Reads Prometheus, Thanos, Mimir and other servers with Prometheus' HTTP API."""

import asyncio
import math
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import aiohttp

from predictive_scaling.errors import (
    SettingsError,
    SourceRefusedError,
    SourceTooLargeError,
    SourceUnavailableError,
)
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.sources.configuration import (
    PrometheusQuery,
    PrometheusSource,
    Query,
    Tls,
    read_secret,
)
from predictive_scaling.ingest.sources.readers import PulledPart
from predictive_scaling.ingest.sources.spans import floor
from predictive_scaling.prometheus_ranges import (
    MAX_POINTS,
    PATH,
    RangeResponseError,
    error_text,
    range_form,
    read_range,
)
from predictive_scaling.storage.source_positions import Span

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Larger results are read in shorter parts: their samples take about fifty times as much memory."""
_MAX_ERROR_BYTES = 4096
_MAX_RETRY_AFTER_SECONDS = 600.0
_RETRIED = (408, 425, 429, 500, 502, 503, 504)
# Prometheus: 11,000 points, 50 million samples; Thanos and Mimir: chunks, series, bytes, length.
_TOO_LARGE = (
    "exceeded maximum",
    "exceeds the limit",
    "too many",
    "maximum number",
    "exceeds max",
    "too large",
)


class PrometheusReader:
    """Sends range queries whose times are multiples of the step, so that a repeated read has the same times."""

    def __init__(self, source: PrometheusSource) -> None:
        self._source = source

    @property
    def source(self) -> PrometheusSource:
        return self._source

    @property
    def max_part(self) -> timedelta:
        return (MAX_POINTS - 1) * self._source.step

    def newest_end(self, now: datetime) -> datetime:
        """The time after the newest point, which is evaluated with all samples up to it."""
        return floor(now - self._source.delay, self._source.step) + self._source.step

    async def read(self, query: Query, span: Span) -> PulledPart:
        assert isinstance(query, PrometheusQuery)  # noqa: S101 (a source has queries of its own kind only)
        step = self._source.step
        first, last = _ceil(span[0], step), _ceil(span[1], step) - step
        if last < first:
            return PulledPart([])
        body = await self._post(range_form(query.query, first, last, step))
        # Eight megabytes take longer than the event loop should be blocked.
        return await asyncio.to_thread(_part, self._source.name, query, body)

    async def _post(self, form: Mapping[str, str]) -> bytes:
        source, address = self._source, self._source.url + PATH
        timeout = aiohttp.ClientTimeout(total=source.timeout.total_seconds())
        tls = _tls_context(source.name, source.tls)
        server_name = source.tls.server_name if source.tls else None
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=self._headers()) as session,
                session.post(
                    address, data=form, allow_redirects=False, ssl=tls, server_hostname=server_name
                ) as response,
            ):
                if response.status != 200:
                    raise _failure(address, response, await response.content.read(_MAX_ERROR_BYTES))
                return await _body(address, response)
        except TimeoutError:
            raise SourceUnavailableError(f"{address} did not answer within {timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise SourceUnavailableError(f"{address} does not answer: {reason}") from None

    def _headers(self) -> dict[str, str]:
        headers = dict(self._source.headers)
        if self._source.bearer_token_file is not None:
            token = read_secret(self._source.name, self._source.bearer_token_file)
            headers["Authorization"] = f"Bearer {token}"
        if (basic := self._source.basic_auth) is not None:
            password = read_secret(self._source.name, basic.password_file)
            headers["Authorization"] = aiohttp.BasicAuth(basic.username, password, "utf-8").encode()
        return headers


def _ceil(time: datetime, step: timedelta) -> datetime:
    below = floor(time, step)
    return below if below == time else below + step


async def _body(address: str, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise SourceTooLargeError(
                f"{address} sent more than {MAX_BODY_BYTES} bytes for the shortest span; aggregate the query, such as "
                "by sum by (service) (…)"
            )
    return bytes(body)


def _failure(address: str, response: aiohttp.ClientResponse, body: bytes) -> Exception:
    status, text = response.status, error_text(body)
    message = f"{address} answered {status}: {text}"
    if status in (413, 422, 400, 500) and any(phrase in text.lower() for phrase in _TOO_LARGE):
        return SourceTooLargeError(message)
    if status in _RETRIED:
        return SourceUnavailableError(message, _retry_after(response.headers.get("Retry-After", "")))
    if 300 <= status < 400:
        return SourceRefusedError(f"{address} redirects to another address; write that address as the url")
    if status in (401, 403):
        return SourceRefusedError(f"{message}; check bearerTokenFile, basicAuth and headers of the source")
    return SourceRefusedError(message)


def _retry_after(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, _MAX_RETRY_AFTER_SECONDS) if seconds > 0 else None


def _tls_context(source: str, tls: Tls | None) -> ssl.SSLContext | bool:
    """Return aiohttp's context; the files are read each time, because certificates are renewed."""
    if tls is None:
        return True
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file is not None:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"source {source}: cannot use the certificates of tls: {error}") from None
    return context


def _part(source: str, query: PrometheusQuery, body: bytes) -> PulledPart:
    try:
        result = read_range(body)
    except RangeResponseError as error:
        raise SourceRefusedError(f"the server of source {source} {error}") from None
    measurements: list[Measurement] = []
    gaps = 0
    for series in result.series:
        labels = {name: value for name, value in series.labels.items() if name != "__name__" and value}
        service = query.service
        if service is None and not (service := labels.pop(query.service_label or "", "")):
            raise SourceRefusedError(
                f"a series of the query for {query.metric} has no label {query.service_label}, the service; "
                f"write sum by ({query.service_label}) (…), or set service"
            )
        for at, value in series.points:
            if math.isnan(value):
                gaps += 1
            else:
                time = datetime.fromtimestamp(at, UTC)
                measurements.append(Measurement(service, query.metric, value, time, labels))
    return PulledPart(measurements, gaps, result.warnings)
