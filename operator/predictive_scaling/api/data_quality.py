"""The quality of the demand that policies read."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field

from predictive_scaling.api.fields import (
    DEFAULT_WINDOW,
    Name,
    NextCursor,
    Number,
    PageQuery,
    ResponseModel,
    Time,
    Window,
)
from predictive_scaling.api.services import Use
from predictive_scaling.api.visible_namespaces import VisibleNamespaces
from predictive_scaling.resources.quantities import format_duration
from predictive_scaling.storage.cursors import decode_cursor, encode_cursor

router = APIRouter(prefix="/metrics", tags=["data quality"])

MAX_WINDOW = timedelta(days=7)


def _at_most_a_week(window: timedelta) -> timedelta:
    if window > MAX_WINDOW:
        raise ValueError("must be at most 7d: every minute of it is read")
    return window


class QualityFilter(PageQuery):
    """Parameters of the list."""

    window: Annotated[
        Window,
        AfterValidator(_at_most_a_week),
        Field(
            default_factory=lambda: DEFAULT_WINDOW,
            description="Length of the window before now, at most 7d.",
            json_schema_extra={"default": format_duration(DEFAULT_WINDOW)},
        ),
    ]
    service: Annotated[Name | None, Field(description="Only this service.")] = None


class QualityOfSeries(ResponseModel):
    """The demand of a metric of a service in the window; null where nothing is known."""

    service_name: str
    metric_name: str
    last: Time | None = Field(description="Time of the newest sample.")
    missing_ratio: Number = Field(
        description="Share of minutes without demand, beyond the usual distance of the series' samples."
    )
    late_ratio: Number = Field(description="Share of samples that were stored more than 5 minutes after their time.")
    min_delay_seconds: Number = Field(
        description="Least time from a sample to its storage; negative: the clock of a sender is ahead by that much."
    )
    resets: int = Field(description="Restarts of counters, which their rates bridge.")
    outliers: int = Field(description="Minutes that are set aside as outliers.")


class QualityResponse(ResponseModel):
    """A page of series by service and metric."""

    series: list[QualityOfSeries]
    next_cursor: NextCursor


@router.get("/quality")
async def show_quality(
    query: Annotated[QualityFilter, Query()], services: Use, visible: VisibleNamespaces
) -> QualityResponse:
    """Return gaps, late samples, restarts, outliers and clock skew of each series that a visible policy names."""
    visible = visible.within(query.namespace)
    after = ("", "")
    if query.cursor is not None:
        service, metric = decode_cursor(query.cursor, str, str)
        after = (str(service), str(metric))
    series = await services.data_quality.of_policies(
        services.clock.now(),
        query.window,
        namespaces=visible.namespaces,
        readable=visible.readable,
        service=query.service,
        after=after,
        limit=query.limit + 1,
    )
    shown = series[: query.limit]
    cursor = None
    if len(series) > query.limit:
        cursor = encode_cursor(shown[-1].service_name, shown[-1].metric_name)
    return QualityResponse(series=[QualityOfSeries.model_validate(entry) for entry in shown], next_cursor=cursor)
