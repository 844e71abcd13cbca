"""Business events: what is coming, and what was."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, model_validator

from predictive_scaling.api.answers import answer, encoded
from predictive_scaling.api.fields import NextCursor, Number, PageQuery, ResponseModel, Time, TimeGiven
from predictive_scaling.api.services import Use
from predictive_scaling.storage.business_events import BusinessEventRow

router = APIRouter(prefix="/events", tags=["events"])

_BEFORE = timedelta(days=1)
_AFTER = timedelta(days=30)
_MAX_SPAN = timedelta(days=800)


class EventFilter(PageQuery):
    """Which occurrences; without times: from a day ago to 30 days ahead."""

    start: Annotated[TimeGiven | None, Field(alias="from", description="Those that end after this, RFC 3339.")] = None
    end: Annotated[TimeGiven | None, Field(alias="to", description="Those that start before this.")] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start and self.end and not timedelta(0) < self.end - self.start <= _MAX_SPAN:
            raise ValueError(f"to must be after from, by {_MAX_SPAN.days} days at most")
        return self


class Event(ResponseModel):
    """One occurrence of a BusinessEvent, half-open in time."""

    namespace: str
    name: str
    type: str | None
    start_time: Time
    end_time: Time
    multiplier: Number = Field(description="Of demand, as declared; null: none, or learned.")
    min_replicas: int | None
    priority: int
    policies: list[str] = Field(description="Names of the policies that it matches.")
    learned_multiplier: Number = Field(
        description="Demand during it over what was expected without it; null until a training measured it."
    )


class Events(ResponseModel):
    """By start."""

    events: list[Event]
    next_cursor: NextCursor


@router.get("", response_model=Events)
async def list_events(question: Annotated[EventFilter, Query()], request: Request, services: Use) -> Response:
    """Occurrences that touch a span of time, a page at a time."""
    start, end = _span(question, services.clock.now())
    page = await services.events.page(start, end, question.limit, question.cursor)
    return answer(request, encoded({"events": [_event(row) for row in page.events], "next_cursor": page.next_cursor}))


def _span(question: EventFilter, now: datetime) -> tuple[datetime, datetime]:
    start = question.start or min(now - _BEFORE, question.end or now)
    return start, question.end or max(now, start) + _AFTER


def _event(row: BusinessEventRow) -> dict[str, Any]:
    """A row as Event describes it."""
    return {name: getattr(row, name) for name in Event.model_fields}
