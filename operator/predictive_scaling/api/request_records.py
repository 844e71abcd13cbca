"""The middleware around access and limits: a request id, security headers, and an audit line for each write."""

import re
import uuid
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from predictive_scaling.access.permission import Permission

log = structlog.get_logger(__name__)

REQUEST_ID = "X-Request-Id"
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy of the HTML reports: their style is inline, and they have no script."""

_NO_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_TRANSPORT_SECURITY = b"max-age=31536000"
_REQUEST_ID_HEADER = REQUEST_ID.lower().encode()
_SCOPE_KEY = "predictive_scaling.record"
_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(slots=True)
class RequestRecord:
    """What the audit line of a request needs. caller: None without a valid token. permission: None for no route."""

    request_id: str
    caller: str | None = None
    permission: Permission | None = None

    @classmethod
    def of(cls, scope: Scope) -> "RequestRecord":
        """Return the record of a request."""
        record: RequestRecord = scope[_SCOPE_KEY]
        return record


class RequestRecords:
    """Adds a RequestRecord to the scope, and headers to the response; logs `write_audited` at the end of a write.

    A valid X-Request-Id of the client is kept, so that its log and ours can be joined.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        record = RequestRecord(_request_id(scope))
        scope[_SCOPE_KEY] = record
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message["headers"], record.request_id, is_encrypted=scope["scheme"] == "https")
            await send(message)

        try:
            # Every line of the request has its id, also those of storage and of libraries.
            with structlog.contextvars.bound_contextvars(request_id=record.request_id):
                await self._application(scope, receive, send_with_headers)
        finally:
            _audit(scope, record, status)


def _request_id(scope: Scope) -> str:
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == _REQUEST_ID_HEADER), "")
    return given if _CLIENT_ID.fullmatch(given) else uuid.uuid4().hex


def _add_headers(headers: list[tuple[bytes, bytes]], request_id: str, *, is_encrypted: bool) -> None:
    """Add the headers of every response; a response that has its own Content-Security-Policy keeps it."""
    content_type = b""
    has_policy = False
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        has_policy = has_policy or name == b"content-security-policy"
    headers.append((_REQUEST_ID_HEADER, request_id.encode()))
    if not has_policy:
        policy = PAGE_POLICY if content_type.startswith(b"text/html") else _NO_CONTENT_POLICY
        headers.append((b"content-security-policy", policy.encode()))
    headers.extend(_HEADERS)
    if is_encrypted:
        headers.append((b"strict-transport-security", _TRANSPORT_SECURITY))


def _audit(scope: Scope, record: RequestRecord, status: int) -> None:
    # A limited client cannot fill the log with writes that were never tried.
    if scope["method"] in _READS or record.permission is None or status == HTTPStatus.TOO_MANY_REQUESTS:
        return
    permission = record.permission
    log.info(
        "write_audited",
        user=record.caller,
        client=(scope.get("client") or ("unknown", 0))[0],
        verb=permission.verb,
        object=str(permission),
        status=int(status) or None,
        result=HTTPStatus(status).phrase if status else "no response: the client disconnected",
        request_id=record.request_id,
    )
