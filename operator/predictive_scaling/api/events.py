"""Past and upcoming occurrences of business events."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, model_validator

from predictive_scaling.api.fields import NextCursor, Number, PageQuery, ResponseModel, Time, TimeParameter
from predictive_scaling.api.responses import encode, json_response
from predictive_scaling.api.services import Use
from predictive_scaling.api.visible_namespaces import VisibleNamespaces
from predictive_scaling.resources.vocabulary import MultiplierVerdict
from predictive_scaling.storage.business_events import BusinessEventRow

router = APIRouter(prefix="/events", tags=["events"])

_DEFAULT_PAST = timedelta(days=1)
_DEFAULT_FUTURE = timedelta(days=30)
_MAX_SPAN = timedelta(days=800)


class EventFilter(PageQuery):
    """Filter of occurrences; default: from a day ago to 30 days ahead."""

    start: Annotated[
        TimeParameter | None, Field(alias="from", description="Only occurrences that end after this time, RFC 3339.")
    ] = None
    end: Annotated[
        TimeParameter | None, Field(alias="to", description="Only occurrences that start before this time, RFC 3339.")
    ] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start and self.end and not timedelta(0) < self.end - self.start <= _MAX_SPAN:
            raise ValueError(f"to must be after from, by {_MAX_SPAN.days} days at most")
        return self


class Event(ResponseModel):
    """An occurrence of a BusinessEvent; the end is exclusive."""

    namespace: str
    name: str
    type: str | None
    start_time: Time
    end_time: Time
    multiplier: Number = Field(description="Declared factor on demand; null when there is none or it is learned.")
    min_replicas: int | None
    priority: int
    policies: list[str] = Field(description="Names of the matched policies.")
    observed_multiplier: Number = Field(
        description="Highest demand over ten minutes of the occurrence over its baseline, of the policy with the most; "
        "null without a declared multiplier, and until measured."
    )
    multiplier_verdict: MultiplierVerdict | None = Field(
        description="How the declared multiplier compares with it; null until known."
    )
    learned_multiplier: Number = Field(
        description="Demand during the occurrence over the expected demand without it; null until measured."
    )


class Events(ResponseModel):
    """A page of occurrences by start."""

    events: list[Event]
    next_cursor: NextCursor


@router.get("", response_model=Events)
async def list_events(
    query: Annotated[EventFilter, Query()], request: Request, services: Use, visible: VisibleNamespaces
) -> Response:
    """Return a page of the occurrences that overlap a time range."""
    start, end = _span(query, services.clock.now())
    namespaces = visible.within(query.namespace).namespaces
    page = await services.events.page(start, end, query.limit, namespaces=namespaces, cursor=query.cursor)
    return json_response(
        request, encode({"events": [_event(row) for row in page.events], "next_cursor": page.next_cursor})
    )


def _span(query: EventFilter, now: datetime) -> tuple[datetime, datetime]:
    start = query.start or min(now - _DEFAULT_PAST, query.end or now)
    return start, query.end or max(now, start) + _DEFAULT_FUTURE


def _event(row: BusinessEventRow) -> dict[str, Any]:
    """Return the fields of Event."""
    return {name: getattr(row, name) for name in Event.model_fields}
