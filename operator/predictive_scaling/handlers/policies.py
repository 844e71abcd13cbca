"""ScalingPolicies: kept in an index, and a change wakes the tick."""

from typing import Any

import kopf

from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.cluster.reviewed_objects import policy_record
from predictive_scaling.handlers.context import REGISTRY, HandlerContext
from predictive_scaling.resources.metadata import GROUP, VERSION, PolicyKey

SCALING_POLICIES = (GROUP, VERSION, "scalingpolicies")


@kopf.index(*SCALING_POLICIES, registry=REGISTRY)
async def policies(body: kopf.Body, **_: Any) -> dict[PolicyKey, PolicyRecord]:
    """Keep what the tick needs, not the body: a policy that cannot work stays, with its verdict."""
    record = policy_record(body)
    return {record.key: record}


@kopf.on.event(*SCALING_POLICIES, registry=REGISTRY)
async def policy_changed(body: kopf.Body, type: str | None, memo: HandlerContext, **_: Any) -> None:  # noqa: A002
    """Wake the tick when people changed something; a burst of changes is one wake."""
    if memo.cache.is_user_change(body, gone=type == "DELETED", listed=type is None):
        memo.wake()
