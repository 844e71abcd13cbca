"""BusinessEvents: kept in an index, and a change wakes the tick."""

from typing import Any

import kopf

from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.cluster.reviewed_objects import event_record
from predictive_scaling.handlers.context import REGISTRY, HandlerContext
from predictive_scaling.resources.metadata import GROUP, VERSION

BUSINESS_EVENTS = (GROUP, VERSION, "businessevents")


@kopf.index(*BUSINESS_EVENTS, registry=REGISTRY)
async def business_events(body: kopf.Body, **_: Any) -> dict[tuple[str, str], EventRecord]:
    """Keep what decisions need; an event that cannot be read stays, with what is wrong with it."""
    record = event_record(body)
    return {(record.namespace, record.name): record}


@kopf.on.event(*BUSINESS_EVENTS, registry=REGISTRY)
async def business_event_changed(body: kopf.Body, type: str | None, memo: HandlerContext, **_: Any) -> None:  # noqa: A002
    """Wake the tick when people changed something."""
    if memo.cache.is_user_change(body, gone=type == "DELETED", listed=type is None):
        memo.wake()
