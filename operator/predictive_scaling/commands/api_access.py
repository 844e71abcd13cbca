"""The access control of `predictive-scaling api`, as the settings describe it."""

import ipaddress
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog

from predictive_scaling.access.kubernetes_reviews import MAX_CONCURRENT_REVIEWS, SubjectAccessReviews, TokenReviews
from predictive_scaling.access.static_tokens import StaticTokens
from predictive_scaling.access.token_buckets import TokenBuckets
from predictive_scaling.api.access_control import AccessPolicy, Authority
from predictive_scaling.cluster.client import connected
from predictive_scaling.errors import SettingsError
from predictive_scaling.resources.namespace_patterns import NamespacePatterns
from predictive_scaling.settings import Settings

log = structlog.get_logger(__name__)


@asynccontextmanager
async def access_policy(settings: Settings, host: str) -> AsyncGenerator[AccessPolicy]:
    """Return the access policy; a connection to the API server is open while the block runs.

    Raises SettingsError if the cluster or the file of the tokens is missing or unusable.
    """
    limits = TokenBuckets(settings.api_requests_per_second)
    public, services = settings.api_public_telemetry, NamespacePatterns(settings.namespace_services)
    if settings.api_authentication == "kubernetes":
        async with connected(connections=2 * MAX_CONCURRENT_REVIEWS) as cluster:
            reviews = Authority(TokenReviews(cluster, settings.api_audience), SubjectAccessReviews(cluster))
            yield AccessPolicy(reviews, public, limits, services)
        return
    if settings.api_authentication == "tokens":
        if settings.api_tokens_file is None:
            raise SettingsError(
                "PREDICTIVE_SCALING_API_AUTHENTICATION is tokens: set PREDICTIVE_SCALING_API_TOKENS_FILE as well"
            )
        tokens = StaticTokens(settings.api_tokens_file)
        yield AccessPolicy(Authority(tokens, tokens), public, limits, services)
        return
    if not is_loopback(host):
        log.warning(
            "api_access_unrestricted",
            host=host,
            advice="everybody who reaches this address may read and write; set PREDICTIVE_SCALING_API_AUTHENTICATION",
        )
    yield AccessPolicy(None, public, limits)


def is_loopback(host: str) -> bool:
    """Whether a listen address is reachable from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
