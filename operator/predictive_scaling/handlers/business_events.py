"""BusinessEvents: kept in an index, and a change wakes the tick."""

from collections.abc import Mapping
from typing import Any

import kopf

from predictive_scaling.decision.review import Problem, review_event
from predictive_scaling.handlers.inventory import EventRecord
from predictive_scaling.handlers.metadata import created_at, verdict_on
from predictive_scaling.handlers.process import REGISTRY, Process
from predictive_scaling.resources.metadata import GROUP, VERSION

BUSINESS_EVENTS = (GROUP, VERSION, "businessevents")


@kopf.index(*BUSINESS_EVENTS, registry=REGISTRY)
async def business_events(body: kopf.Body, **_: Any) -> dict[tuple[str, str], EventRecord]:
    """Keep what decisions need; an event that cannot be read stays, with what is wrong with it."""
    record = reviewed(body)
    return {(record.namespace, record.name): record}


@kopf.on.event(*BUSINESS_EVENTS, registry=REGISTRY)
async def business_event_changed(body: kopf.Body, type: str | None, memo: Process, **_: Any) -> None:  # noqa: A002
    """Wake the tick when people changed something."""
    if memo.inventory.is_news(body, gone=type == "DELETED", listed=type is None):
        memo.wake()


def reviewed(body: Mapping[str, Any]) -> EventRecord:
    """The record of an event, with what is wrong with it where it cannot be read. Never raises."""
    metadata = body["metadata"]
    verdict = verdict_on("BusinessEvent", body, review_event)
    return EventRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation") or 0,
        resource_version=int(metadata["resourceVersion"]),
        created_at=created_at(metadata),
        status=dict(body.get("status") or {}),
        event=None if isinstance(verdict, Problem) else verdict,
        problem=verdict if isinstance(verdict, Problem) else None,
    )
