"""The access control of all routes: who calls, how often, and whether they may. Unknown requests are refused."""

import asyncio
import ipaddress
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qs

from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from predictive_scaling.access.bearer_token import InvalidCredentialError, bearer_token
from predictive_scaling.access.expiring_cache import ExpiringCache
from predictive_scaling.access.permission import Authenticator, Authorizer, Caller
from predictive_scaling.access.token_buckets import TokenBuckets
from predictive_scaling.api.access_rules import RuleKind, RuleMatch, match_rule, methods_of
from predictive_scaling.api.fields import MAX_NAME_LENGTH
from predictive_scaling.api.problems import problem, product_problem
from predictive_scaling.api.request_records import RequestRecord
from predictive_scaling.api.visible_namespaces import SCOPE_KEY, Visible
from predictive_scaling.errors import PredictiveScalingError
from predictive_scaling.resources.namespace_patterns import UNRESTRICTED, NamespacePatterns

DEFAULT_RATE = 1000.0
"""Requests per second of a client in the long run, where no setting is read."""

MAX_CHECKED_NAMESPACES = 500
"""A caller who may not see all of more namespaces names one: each is a request to the API server."""

_NAMESPACES_SECONDS = 5.0
_CHALLENGE = 'Bearer realm="predictive-scaling"'


@dataclass(frozen=True, slots=True)
class Authority:
    """Who names callers, and who decides what they may do."""

    authenticator: Authenticator
    authorizer: Authorizer


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """authority: None: no caller needs a token. public_telemetry: whether /health and /metrics need none either way."""

    authority: Authority | None = None
    public_telemetry: bool = True
    limits: TokenBuckets = field(default_factory=lambda: TokenBuckets(DEFAULT_RATE))
    services: NamespacePatterns = UNRESTRICTED
    """The services whose demand each namespace may read; callers who see all namespaces see all services."""


class _RejectedError(Exception):
    """The request is answered with this problem, and reaches no route."""

    def __init__(
        self, status: HTTPStatus, detail: str, *, result: str, reason: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.result, self.reason, self.headers = status, detail, result, reason, headers


class AccessControl:
    """namespaces: returns those with records, among which a list is cut to the visible ones."""

    def __init__(
        self, application: ASGIApp, policy: AccessPolicy, namespaces: Callable[[], Awaitable[Sequence[str]]]
    ) -> None:
        self._application = application
        self._policy = policy
        self._namespaces = namespaces
        self._known_namespaces: ExpiringCache[None, Sequence[str]] = ExpiringCache(lambda _: _NAMESPACES_SECONDS, 1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                await self._check(scope)
            except _RejectedError as error:
                CHECKS.labels(error.result).inc()
                response = problem(
                    error.status, error.detail, instance=scope["path"], reason=error.reason, headers=error.headers
                )
                await response(scope, receive, send)
                return
            except PredictiveScalingError as error:
                CHECKS.labels("unavailable").inc()
                await product_problem(scope["path"], error)(scope, receive, send)
                return
        await self._application(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        """Return if the request may reach its route. Raises _RejectedError, and AccessUnavailableError."""
        match = match_rule(scope["method"], scope["path"])
        if match is not None and self._is_open(match):
            return
        record = RequestRecord.of(scope)
        record.permission = None if match is None else match.permission()
        authority = self._policy.authority
        if authority is None:
            self._limit(client_address(scope))
            scope[SCOPE_KEY] = Visible()
            return
        caller = await self._authenticate(scope, authority.authenticator)
        record.caller = caller.name
        if match is None:
            raise _unknown(scope)
        await self._authorize(scope, match, caller, authority.authorizer)
        CHECKS.labels("allowed").inc()

    def _is_open(self, match: RuleMatch) -> bool:
        kind = match.rule.kind
        return kind is RuleKind.OPEN or (kind is RuleKind.TELEMETRY and self._policy.public_telemetry)

    async def _authenticate(self, scope: Scope, authenticator: Authenticator) -> Caller:
        address = client_address(scope)
        try:
            token = bearer_token(scope["headers"])
        except InvalidCredentialError as error:
            self._limit(address)
            raise _unauthenticated(str(error), 'error="invalid_request"') from None
        caller = authenticator.known(token) if token is not None else None
        if caller is None:
            # By address: tokens that are tried, and the requests to the API server that they cause, are limited too.
            self._limit(address)
            if token is None:
                raise _unauthenticated("the request has no token; send Authorization: Bearer TOKEN")
            caller = await authenticator.authenticate(token)
        else:
            self._limit(f"user {caller.name}")
        if caller is None:
            raise _unauthenticated("the token is not valid for this API, or has expired", 'error="invalid_token"')
        return caller

    async def _authorize(self, scope: Scope, match: RuleMatch, caller: Caller, authorizer: Authorizer) -> None:
        if match.rule.kind is RuleKind.LIST:
            scope[SCOPE_KEY] = await self._visible(match, _namespace_of_query(scope), caller, authorizer)
            return
        _refuse_long_names(match.namespace, match.name)
        permission = match.permission()
        if not await authorizer.allows(caller, permission):
            raise _forbidden(caller, str(permission))
        if match.namespace is not None:
            scope[SCOPE_KEY] = Visible((match.namespace,), self._policy.services)

    async def _visible(
        self, match: RuleMatch, namespace: str | None, caller: Caller, authorizer: Authorizer
    ) -> Visible:
        """Return the namespaces of a list that the caller may see. Raises _RejectedError if there are none."""
        _refuse_long_names(namespace)
        if namespace is not None:
            permission = match.permission(namespace)
            if await authorizer.allows(caller, permission):
                return Visible((namespace,), self._policy.services)
            raise _forbidden(caller, str(permission))
        if await authorizer.allows(caller, match.permission()):
            return Visible()
        candidates = await self._known_namespaces.get_or_compute(None, self._namespaces)
        if len(candidates) > MAX_CHECKED_NAMESPACES:
            raise _forbidden(caller, f"{match.permission()}; name one with ?namespace=NAMESPACE")
        names = await _allowed(candidates, match, caller, authorizer)
        if candidates and not names:
            raise _forbidden(caller, f"{match.permission()}, nor in any single namespace that has records")
        return Visible(names, self._policy.services)

    def _limit(self, client: str) -> None:
        wait_seconds = self._policy.limits.take(client)
        if wait_seconds > 0:
            raise _RejectedError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "this client sends too many requests; retry later",
                result="limited",
                reason="TooManyRequests",
                headers={"Retry-After": str(max(1, math.ceil(wait_seconds)))},
            )


async def _allowed(
    candidates: Sequence[str], match: RuleMatch, caller: Caller, authorizer: Authorizer
) -> tuple[str, ...]:
    """Return the namespaces among the candidates in which the caller may list."""
    decisions = await asyncio.gather(
        *(authorizer.allows(caller, match.permission(namespace)) for namespace in candidates)
    )
    return tuple(namespace for namespace, is_allowed in zip(candidates, decisions, strict=True) if is_allowed)


def client_address(scope: Scope) -> str:
    """Return the address of the client; for IPv6 its network, because a host has all addresses of a /64."""
    return _network_of((scope.get("client") or ("unknown", 0))[0])


@lru_cache(maxsize=4096)
def _network_of(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


def _namespace_of_query(scope: Scope) -> str | None:
    # The router uses the last value as well; the route intersects its own parameter with what is visible.
    return parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("namespace", [None])[-1]


def _refuse_long_names(*names: str | None) -> None:
    """Names of any length would fill the cache, and no object of Kubernetes has them."""
    if any(name is not None and len(name) > MAX_NAME_LENGTH for name in names):
        raise _RejectedError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"namespaces and names have at most {MAX_NAME_LENGTH} characters",
            result="invalid",
            reason="InvalidParameter",
        )


def _unauthenticated(detail: str, parameter: str = "") -> _RejectedError:
    return _RejectedError(
        HTTPStatus.UNAUTHORIZED,
        detail,
        result="unauthenticated",
        reason="Unauthorized",
        headers={"WWW-Authenticate": f"{_CHALLENGE}, {parameter}" if parameter else _CHALLENGE},
    )


def _forbidden(caller: Caller, permission: str) -> _RejectedError:
    return _RejectedError(
        HTTPStatus.FORBIDDEN, f"{caller.name} may not {permission}", result="forbidden", reason="Forbidden"
    )


def _unknown(scope: Scope) -> _RejectedError:
    methods = methods_of(scope["path"])
    if methods:
        return _RejectedError(
            HTTPStatus.METHOD_NOT_ALLOWED,
            f"{scope['path']} does not support {scope['method']}",
            result="unknown",
            reason="MethodNotAllowed",
            headers={"Allow": ", ".join(sorted(methods))},
        )
    return _RejectedError(
        HTTPStatus.NOT_FOUND,
        f"{scope['path']} does not exist; /docs lists all paths",
        result="unknown",
        reason="NotFound",
    )


CHECKS = Counter(
    "predictive_scaling_api_access_checks_total",
    "Checked requests by result; those that need no token do not count.",
    ["result"],
)
for _result in ("allowed", "unauthenticated", "forbidden", "limited", "unavailable", "invalid", "unknown"):
    CHECKS.labels(_result)
