"""The HTTP receiver of Prometheus remote write, on its own port.

A request is answered with 204 after its samples were committed. 400 and 413 tell the sender not to repeat it; 503 with
Retry-After to repeat it later: Prometheus drops samples after 429 unless it is configured otherwise.
"""

import asyncio
import hmac
from collections import Counter as Counts
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web
from prometheus_client import Counter

from predictive_scaling.access.bearer_token import TOKEN, InvalidCredentialError, bearer_token
from predictive_scaling.access.serving_certificate import Server, ServingCertificate
from predictive_scaling.clock import Clock
from predictive_scaling.errors import DatabaseUnavailableError, DataRefusedError, SettingsError
from predictive_scaling.ingest.batch import accept_all
from predictive_scaling.ingest.consumer import Limits
from predictive_scaling.ingest.formats.reading import SeriesRules
from predictive_scaling.ingest.measurement import Window
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage
from predictive_scaling.ingest.remote_write.message import decode
from predictive_scaling.ingest.sample_writer import SampleWriter
from predictive_scaling.listener import open_listener

log = structlog.get_logger(__name__)

PATH = "/api/v1/write"
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_REQUESTS = 8
"""Requests that are read or written at a time; further ones are refused with RETRY_SECONDS."""
BODY_SECONDS = 30.0
RETRY_SECONDS = 5
MAX_SHOWN_REASONS = 5
_TOKEN_SETTING = "PREDICTIVE_SCALING_REMOTE_WRITE_TOKEN_FILE"  # noqa: S105 (a name)

REQUESTS = Counter(
    "predictive_scaling_ingest_remote_write_requests_total", "Remote-write requests by HTTP status.", ["status"]
)
REJECTED = Counter(
    "predictive_scaling_ingest_remote_write_rejected_total",
    "Samples of remote-write requests that were rejected, by reason.",
    ["reason"],
)
RECEIVER = Server(
    "remote_write",
    "remote write",
    "PREDICTIVE_SCALING_REMOTE_WRITE",
    Counter(
        "predictive_scaling_ingest_remote_write_certificate_reloads_total",
        "Changes of the serving certificate by result: loaded, or refused because certificate and key do not match.",
        ["result"],
    ),
)
for _status in ("204", "400", "401", "408", "413", "415", "503"):
    REQUESTS.labels(_status)


class TokenFile:
    """The bearer token of the senders, read for each request, so that a changed file is used at once."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises SettingsError if it has no token."""
        self._path = path
        self.read()

    def read(self) -> str:
        """Return the token. Raises SettingsError if the file cannot be read, or holds no token."""
        try:
            token = self._path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{_TOKEN_SETTING}: cannot read {self._path}: {error}") from None
        if not TOKEN.fullmatch(token):
            raise SettingsError(f"{_TOKEN_SETTING}: {self._path} holds no bearer token")
        return token


class _Refused(Exception):  # noqa: N818 (an answer to the sender, not a program error)
    """An answer other than 204. text: one sentence, which Prometheus logs."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class RemoteWriteReceiver:
    """A listener in the event loop of ingest. `async with` starts and stops it; `port` is the actual port."""

    def __init__(
        self,
        writer: SampleWriter,
        token: TokenFile,
        rules: SeriesRules,
        limits: Limits,
        clock: Clock,
        *,
        host: str,
        port: int,
        certificate: ServingCertificate | None = None,
    ) -> None:
        """certificate: None for HTTP without encryption; its files are read again when they change."""
        self._writer = writer
        self._token = token
        self._rules = rules
        self._limits = limits
        self._clock = clock
        self._host = host
        self._requested_port = port
        self._certificate = certificate
        self._requests = 0
        self._stack = AsyncExitStack()
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The listen port."""
        if self._runner is None or not self._runner.addresses:
            return self._requested_port
        return int(self._runner.addresses[0][1])

    async def __aenter__(self) -> Self:
        """Start listening. Raises SettingsError when the port is in use."""
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_post(PATH, self._receive)
        context = None if self._certificate is None else self._certificate.context
        async with AsyncExitStack() as stack:
            self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=5.0)
            stack.push_async_callback(self._runner.cleanup)
            await self._runner.setup()
            listener = open_listener(self._host, self._requested_port, "remote write")
            if self._certificate is not None:
                await stack.enter_async_context(self._certificate.reloading())
            await web.SockSite(self._runner, listener, ssl_context=context).start()
            self._stack = stack.pop_all()
        log.info("remote_write_listening", host=self._host, port=self.port, tls=context is not None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _receive(self, request: web.Request) -> web.Response:
        try:
            await self._authenticate(request)
            _check_content(request)
            await self._admit(request)
        except _Refused as refused:
            REQUESTS.labels(str(refused.status)).inc()
            return _response(refused)
        REQUESTS.labels("204").inc()
        return web.Response(status=204)

    async def _admit(self, request: web.Request) -> None:
        if self._requests >= MAX_REQUESTS:
            raise _Refused(503, f"{MAX_REQUESTS} requests are being written; repeat this one later")
        self._requests += 1
        try:
            await self._write(await _body(request))
        finally:
            self._requests -= 1

    async def _write(self, body: bytes) -> None:
        """Write the valid samples. Raises _Refused with 400 for the others, and with 503 during an outage."""
        window = Window.around(self._clock.now(), self._limits.max_age, self._limits.max_ahead)
        try:
            # A thread keeps a large request from delaying the event loop.
            accepted, rejected = await asyncio.to_thread(lambda: accept_all(decode(body, self._rules), window))
            written = await self._writer.write(accepted)
        except RejectedMessage as refused:
            REJECTED.labels(refused.reason).inc()
            raise _Refused(413 if refused.reason is Reason.TOO_LARGE else 400, refused.detail) from None
        except DataRefusedError as error:
            REJECTED.labels(Reason.REFUSED_BY_DATABASE).inc()
            raise _Refused(400, f"no sample is stored: {error}") from None
        except DatabaseUnavailableError as error:
            log.warning("remote_write_deferred", error=str(error), retry_seconds=RETRY_SECONDS)
            raise _Refused(503, "the database is not available; repeat the request later") from None
        rejected += written.rejected
        for refused in rejected:
            REJECTED.labels(refused.reason).inc()
        if rejected:
            raise _Refused(400, _partial(rejected, written.stored))

    async def _authenticate(self, request: web.Request) -> None:
        try:
            token = bearer_token((name.lower(), value) for name, value in request.raw_headers)
            expected = await asyncio.to_thread(self._token.read)
        except InvalidCredentialError as error:
            raise _Refused(401, str(error)) from None
        except SettingsError as error:
            log.warning("remote_write_token_unreadable", error=str(error))
            raise _Refused(503, "the receiver cannot read its token; see its log") from None
        if token is None or not hmac.compare_digest(token, expected):
            raise _Refused(401, "the request needs the bearer token of the receiver")


def _check_content(request: web.Request) -> None:
    content_type = request.headers.get("Content-Type", "").replace(" ", "").lower()
    media_type, _, parameters = content_type.partition(";")
    if media_type != "application/x-protobuf":
        raise _Refused(415, "Content-Type must be application/x-protobuf")
    if parameters.startswith("proto=") and parameters != "proto=prometheus.writerequest":
        raise _Refused(
            415,
            "remote write 2.0 is not supported; set `protobuf_message: prometheus.WriteRequest` (1.0) in remote_write",
        )
    if request.headers.get("Content-Encoding", "").lower() != "snappy":
        raise _Refused(415, "Content-Encoding must be snappy")


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _Refused(413, f"the body exceeds {MAX_BODY_BYTES} bytes; lower max_samples_per_send") from None
    except TimeoutError:
        raise _Refused(408, f"the body did not arrive within {BODY_SECONDS:.0f} s") from None


def _partial(rejected: Sequence[RejectedMessage], stored: int) -> str:
    """Return the sentence for a request of which some samples were rejected: each reason with an example."""
    examples = {refused.reason: refused.detail for refused in reversed(rejected)}
    reasons = "; ".join(
        f"{count} {reason}, such as: {examples[reason][:200]}"
        for reason, count in Counts(refused.reason for refused in rejected).most_common(MAX_SHOWN_REASONS)
    )
    return f"{len(rejected)} samples rejected, {stored} stored: {reasons}"


def _response(refused: _Refused) -> web.Response:
    headers = {503: {"Retry-After": str(RETRY_SECONDS)}, 401: {"WWW-Authenticate": "Bearer"}}.get(refused.status)
    return web.Response(status=refused.status, text=refused.text + "\n", headers=headers)
