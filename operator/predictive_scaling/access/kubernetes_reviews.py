"""Authentication and authorization by the Kubernetes API server: TokenReview and SubjectAccessReview, cached."""

import asyncio
from hashlib import sha256
from typing import Any, Final

import structlog

from predictive_scaling.access.expiring_cache import ExpiringCache
from predictive_scaling.access.permission import Caller, Permission
from predictive_scaling.cluster.client import Cluster, Json, ObjectRefusedError
from predictive_scaling.errors import AccessUnavailableError, PredictiveScalingError
from predictive_scaling.resources.metadata import GROUP

log = structlog.get_logger(__name__)

TOKEN_REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 (a path)
ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

POSITIVE_SECONDS: Final = 45.0
"""The API server caches tokens of ServiceAccounts for 10 s: together, a revoked token is refused within 60 s."""
NEGATIVE_SECONDS: Final = 10.0
MAX_TOKENS: Final = 10_000
MAX_PERMISSIONS: Final = 50_000
MAX_CONCURRENT_REVIEWS: Final = 32


class TokenReviews:
    """The Authenticator of a cluster. Valid tokens are cached by their hash, POSITIVE_SECONDS; others shorter."""

    def __init__(self, cluster: Cluster, audience: str) -> None:
        self._cluster = cluster
        self._audience = audience
        self._callers: ExpiringCache[bytes, Caller | None] = ExpiringCache(_lifetime, MAX_TOKENS)

    def known(self, token: str) -> Caller | None:
        return self._callers.get(_digest(token))

    async def authenticate(self, token: str) -> Caller | None:
        return await self._callers.get_or_compute(_digest(token), lambda: self._review(token))

    async def _review(self, token: str) -> Caller | None:
        spec = {"token": token, "audiences": [self._audience]}
        status = await _review(self._cluster, TOKEN_REVIEWS, "TokenReview", spec)
        return _caller(status, self._audience)


class SubjectAccessReviews:
    """The Authorizer of a cluster. Permissions are cached POSITIVE_SECONDS, refusals NEGATIVE_SECONDS."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._decisions: ExpiringCache[tuple[Caller, Permission], bool] = ExpiringCache(_lifetime, MAX_PERMISSIONS)
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_REVIEWS)

    async def allows(self, caller: Caller, permission: Permission) -> bool:
        return await self._decisions.get_or_compute((caller, permission), lambda: self._review(caller, permission))

    async def _review(self, caller: Caller, permission: Permission) -> bool:
        spec: Json = {"user": caller.name, "groups": list(caller.groups), "uid": caller.uid}
        spec["extra"] = {name: list(values) for name, values in caller.extra}
        async with self._slots:
            status = await _review(self._cluster, ACCESS_REVIEWS, "SubjectAccessReview", spec | _attributes(permission))
        return status.get("allowed") is True


def _attributes(permission: Permission) -> Json:
    if permission.path is not None:
        return {"nonResourceAttributes": {"verb": permission.verb, "path": permission.path}}
    resource = {"group": GROUP, "resource": permission.resource, "verb": permission.verb}
    if permission.namespace is not None:
        resource["namespace"] = permission.namespace
    if permission.name is not None:
        resource["name"] = permission.name
    return {"resourceAttributes": resource}


def _caller(status: Json, audience: str) -> Caller | None:
    """Return the caller of a TokenReview's status; None if it is not authenticated for our audience."""
    user: Json = status.get("user") or {}
    # An authenticator that knows no audiences returns none; its token may be meant for another server.
    if status.get("authenticated") is not True or audience not in (status.get("audiences") or ()):
        return None
    if not user.get("username"):
        return None
    extra: Json = user.get("extra") or {}
    return Caller(
        name=user["username"],
        uid=user.get("uid") or "",
        groups=tuple(user.get("groups") or ()),
        extra=tuple(sorted((name, tuple(values)) for name, values in extra.items())),
    )


async def _review(cluster: Cluster, path: str, kind: str, spec: Json) -> Json:
    group = path.split("/")[2]
    try:
        review = await cluster.create(path, {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec})
    except ObjectRefusedError as error:
        log.warning("access_review_refused", kind=kind, error=str(error))
        raise AccessUnavailableError(
            f"access cannot be checked: Kubernetes refused the {kind}; the account of the HTTP API needs "
            "config/api-roles.yaml, and its log has the cause"
        ) from error
    except PredictiveScalingError as error:
        log.warning("access_review_failed", kind=kind, error=str(error))
        raise AccessUnavailableError(
            f"access cannot be checked: Kubernetes did not answer the {kind}; retry later"
        ) from error
    status: Json = review.get("status") or {}
    return status


def _lifetime(result: Any) -> float:
    return POSITIVE_SECONDS if result else NEGATIVE_SECONDS


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
