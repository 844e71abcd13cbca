"""BusinessEvents: kept in an index, and a change wakes the tick."""

from typing import Any

import kopf

from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.handlers.inventory import EventRecord
from predictive_scaling.handlers.metadata import created_at, reduced
from predictive_scaling.handlers.process import REGISTRY, Process
from predictive_scaling.resources.business_event import parse_event
from predictive_scaling.resources.metadata import GROUP, VERSION

BUSINESS_EVENTS = (GROUP, VERSION, "businessevents")


@kopf.index(*BUSINESS_EVENTS, registry=REGISTRY)
async def business_events(body: kopf.Body, **_: Any) -> dict[tuple[str, str], EventRecord]:
    """Keep what decisions need; an event that cannot be read stays, with what is wrong with it."""
    record = reviewed(body)
    return {(record.namespace, record.name): record}


@kopf.on.event(*BUSINESS_EVENTS, registry=REGISTRY)
async def business_event_changed(memo: Process, **_: Any) -> None:
    """Wake the tick."""
    memo.wake()


def reviewed(body: kopf.Body) -> EventRecord:
    """The record of an event, with what is wrong with it where it cannot be read."""
    metadata = body["metadata"]
    event, problem = None, None
    try:
        event = parse_event(reduced(body))
    except InvalidManifestError as error:
        problem = str(error)
    return EventRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        generation=metadata.get("generation", 0),
        resource_version=int(metadata["resourceVersion"]),
        created_at=created_at(metadata),
        status=dict(body.get("status") or {}),
        event=event,
        problem=problem,
    )
