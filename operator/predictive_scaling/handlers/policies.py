"""ScalingPolicies: kept in an index, and a change wakes the tick."""

from collections.abc import Mapping
from typing import Any

import kopf

from predictive_scaling.decision.review import Problem, review_policy
from predictive_scaling.handlers.inventory import PolicyRecord
from predictive_scaling.handlers.metadata import created_at, verdict_on
from predictive_scaling.handlers.process import REGISTRY, Process
from predictive_scaling.resources.metadata import GROUP, VERSION, PolicyKey

SCALING_POLICIES = (GROUP, VERSION, "scalingpolicies")


@kopf.index(*SCALING_POLICIES, registry=REGISTRY)
async def policies(body: kopf.Body, **_: Any) -> dict[PolicyKey, PolicyRecord]:
    """Keep what the tick needs, not the body: a policy that cannot work stays, with its verdict."""
    record = reviewed(body)
    return {record.key: record}


@kopf.on.event(*SCALING_POLICIES, registry=REGISTRY)
async def policy_changed(body: kopf.Body, type: str | None, memo: Process, **_: Any) -> None:  # noqa: A002
    """Wake the tick when people changed something; a burst of changes is one wake."""
    if memo.inventory.is_news(body, gone=type == "DELETED", listed=type is None):
        memo.wake()


def reviewed(body: Mapping[str, Any]) -> PolicyRecord:
    """The record of a policy, with what is wrong with it where it cannot be read. Never raises."""
    metadata = body["metadata"]
    verdict = verdict_on("ScalingPolicy", body, review_policy)
    return PolicyRecord(
        key=PolicyKey(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        generation=metadata.get("generation") or 0,
        resource_version=int(metadata["resourceVersion"]),
        created_at=created_at(metadata),
        deleted="deletionTimestamp" in metadata,
        finalizers=tuple(metadata.get("finalizers") or ()),
        annotations=dict(metadata.get("annotations") or {}),
        status=dict(body.get("status") or {}),
        policy=None if isinstance(verdict, Problem) else verdict,
        problem=verdict if isinstance(verdict, Problem) else None,
    )
