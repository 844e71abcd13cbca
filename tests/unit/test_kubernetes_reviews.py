"""TokenReview and SubjectAccessReview: what is sent, which responses name a caller, and caching. No API server."""

import asyncio
from typing import Any, cast

import pytest

from predictive_scaling.access import expiring_cache
from predictive_scaling.access.kubernetes_reviews import (
    ACCESS_REVIEWS,
    NEGATIVE_SECONDS,
    POSITIVE_SECONDS,
    TOKEN_REVIEWS,
    SubjectAccessReviews,
    TokenReviews,
)
from predictive_scaling.access.permission import Caller, Permission
from predictive_scaling.cluster.client import Cluster, Json, ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.errors import AccessUnavailableError, ClusterUnavailableError, RequestFailedError
from tests.support.manual_seconds import ManualSeconds

USER: Json = {
    "username": "system:serviceaccount:shop:dashboard",
    "uid": "u-1",
    "groups": ["system:serviceaccounts", "system:authenticated"],
    "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]},
}
CALLER = Caller(
    "system:serviceaccount:shop:dashboard",
    "u-1",
    ("system:serviceaccounts", "system:authenticated"),
    (("authentication.kubernetes.io/credential-id", ("JTI=1",)),),
)
AUTHENTICATED: Json = {"authenticated": True, "user": USER, "audiences": ["predictive-scaling"]}


class Reviewer:
    """A cluster that gives each review the same status, or raises."""

    def __init__(self, status: Any) -> None:
        self.status = status
        self.sent: list[tuple[str, Json]] = []

    async def create(self, path: str, body: Json) -> Json:
        self.sent.append((path, body))
        await asyncio.sleep(0)
        if isinstance(self.status, Exception):
            raise self.status
        return body | ({} if self.status is None else {"status": self.status})


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> ManualSeconds:
    return ManualSeconds(monkeypatch, expiring_cache)


def token_reviews(reviewer: Reviewer) -> TokenReviews:
    return TokenReviews(cast("Cluster", reviewer), "predictive-scaling")


def access_reviews(reviewer: Reviewer) -> SubjectAccessReviews:
    return SubjectAccessReviews(cast("Cluster", reviewer))


async def test_a_token_is_reviewed_for_our_audience() -> None:
    reviewer = Reviewer(AUTHENTICATED)
    assert await token_reviews(reviewer).authenticate("abc") == CALLER
    assert reviewer.sent == [
        (
            TOKEN_REVIEWS,
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "spec": {"token": "abc", "audiences": ["predictive-scaling"]},
            },
        )
    ]


@pytest.mark.parametrize(
    "status",
    [
        None,
        {},
        {"authenticated": False, "error": "expired"},
        AUTHENTICATED | {"authenticated": "true"},
        AUTHENTICATED | {"audiences": ["https://kubernetes.default.svc"]},
        AUTHENTICATED | {"audiences": []},
        {"authenticated": True, "user": USER},
        AUTHENTICATED | {"user": {}},
        AUTHENTICATED | {"user": None},
    ],
)
async def test_any_other_response_names_no_caller(status: Json | None) -> None:
    assert await token_reviews(Reviewer(status)).authenticate("abc") is None


@pytest.mark.parametrize(
    ("permission", "attributes"),
    [
        (
            Permission("get", "scalingpolicies", "shop", "checkout"),
            {
                "resourceAttributes": {
                    "group": "predictive-scaling.io",
                    "resource": "scalingpolicies",
                    "verb": "get",
                    "namespace": "shop",
                    "name": "checkout",
                }
            },
        ),
        (
            Permission("update", "scalingpolicies"),
            {
                "resourceAttributes": {
                    "group": "predictive-scaling.io",
                    "resource": "scalingpolicies",
                    "verb": "update",
                }
            },
        ),
        (Permission("post", path="/reload"), {"nonResourceAttributes": {"verb": "post", "path": "/reload"}}),
    ],
)
async def test_a_permission_is_reviewed_for_the_whole_caller(permission: Permission, attributes: Json) -> None:
    reviewer = Reviewer({"allowed": True})
    assert await access_reviews(reviewer).allows(CALLER, permission)
    ((path, body),) = reviewer.sent
    assert path == ACCESS_REVIEWS
    user = {"user": CALLER.name, "uid": "u-1", "groups": USER["groups"], "extra": USER["extra"]}
    assert body["spec"] == user | attributes


@pytest.mark.parametrize("status", [None, {}, {"allowed": False}, {"allowed": "true"}, {"evaluationError": "broken"}])
async def test_only_an_explicit_allowance_allows(status: Json | None) -> None:
    assert not await access_reviews(Reviewer(status)).allows(CALLER, Permission("get", "scalingpolicies", "shop"))


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ClusterUnavailableError("connection refused"), "Kubernetes did not answer the TokenReview; retry later"),
        (RequestFailedError("429"), "Kubernetes did not answer the TokenReview; retry later"),
        (ObjectNotFoundError("404"), "Kubernetes did not answer the TokenReview; retry later"),
        (ObjectRefusedError("forbidden: user x"), "the account of the HTTP API needs config/api-roles.yaml"),
    ],
)
async def test_an_error_is_never_a_decision(error: Exception, detail: str) -> None:
    reviewer = Reviewer(error)
    reviews = token_reviews(reviewer)
    with pytest.raises(AccessUnavailableError, match=detail) as raised:
        await reviews.authenticate("abc")
    assert str(error) not in str(raised.value)
    with pytest.raises(AccessUnavailableError):
        await access_reviews(reviewer).allows(CALLER, Permission("get", "scalingpolicies", "shop"))
    reviewer.status = AUTHENTICATED
    assert await reviews.authenticate("abc") == CALLER


async def test_callers_are_cached_shorter_than_a_minute_and_refusals_ten_seconds(seconds: ManualSeconds) -> None:
    assert POSITIVE_SECONDS <= 60
    assert NEGATIVE_SECONDS <= 10
    reviewer = Reviewer(AUTHENTICATED)
    reviews = token_reviews(reviewer)
    await reviews.authenticate("abc")
    reviewer.status = {"authenticated": False}
    seconds.now += POSITIVE_SECONDS - 1
    assert reviews.known("abc") == await reviews.authenticate("abc") == CALLER
    seconds.now += 1
    assert reviews.known("abc") is None
    assert await reviews.authenticate("abc") is None
    reviewer.status = AUTHENTICATED
    seconds.now += NEGATIVE_SECONDS - 1
    assert await reviews.authenticate("abc") is None
    seconds.now += 1
    assert await reviews.authenticate("abc") == CALLER
    assert len(reviewer.sent) == 3


async def test_permissions_are_cached_by_caller_and_object(seconds: ManualSeconds) -> None:
    reviewer = Reviewer({"allowed": True})
    reviews = access_reviews(reviewer)
    permission = Permission("get", "scalingpolicies", "shop", "checkout")
    await asyncio.gather(*(reviews.allows(CALLER, permission) for _ in range(5)))
    assert len(reviewer.sent) == 1
    reviewer.status = {"allowed": False}
    assert await reviews.allows(CALLER, permission)
    assert not await reviews.allows(CALLER, Permission("get", "scalingpolicies", "bank", "checkout"))
    assert not await reviews.allows(Caller(CALLER.name, CALLER.uid, ()), permission)
    seconds.now += POSITIVE_SECONDS
    assert not await reviews.allows(CALLER, permission)


async def test_tokens_are_kept_as_hashes_only() -> None:
    reviews = token_reviews(Reviewer(AUTHENTICATED))
    await reviews.authenticate("a-secret-token")
    assert "a-secret-token" not in repr(vars(reviews._callers))  # pyright: ignore[reportPrivateUsage]
