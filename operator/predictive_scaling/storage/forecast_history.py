"""A point of a recorded forecast, and which points of which forecasts the history keeps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

HISTORY_INTERVAL = timedelta(minutes=5)
"""The history keeps the first forecast of each interval; with wider bins, the first of each bin."""


FULL_FORECAST_INTERVAL = timedelta(minutes=15)
"""The first forecast of each such interval is kept with all of its points."""


HISTORY_HORIZON = timedelta(minutes=30)
"""Horizon of the other forecasts in the history, unless a floor with a long lead time needs more."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A point of a forecast: quantiles of the demand in the bin that starts at target_time."""

    created_at: datetime
    """The forecast origin: no later data was used."""
    service_name: str
    target_time: datetime
    p10: float
    p50: float
    p80: float
    p90: float
    p95: float
    model_name: str
    model_version: str
    namespace: str
    policy: str
    source: str
    """Position in the fallback chain at its last use: FreshForecast, LastForecast or SameTimeLastWeek."""
    valid_until: datetime | None = None
    """Only recorded for the newest forecast of a policy."""
    peak_p50: float | None = None
    """Quantiles of the highest demand from the first bin of the forecast to the end of this one; None: unknown."""
    peak_p80: float | None = None
    peak_p90: float | None = None
    peak_p95: float | None = None


def group_by_forecast(predictions: Iterable[Prediction]) -> list[list[Prediction]]:
    """Group points by forecast, in their given order."""
    forecasts: dict[tuple[str, str, datetime], dict[datetime, Prediction]] = {}
    for point in predictions:
        forecasts.setdefault((point.namespace, point.policy, point.created_at), {})[point.target_time] = point
    return [list(points.values()) for points in forecasts.values()]


def kept_points(points: Sequence[Prediction]) -> list[Prediction]:
    """Return the points that the history keeps.

    A forecast is valid until one lead time before its end, so the difference is the horizon that its floors used; the
    tuner, whose floors start at full bins, uses up to five bins more.
    """
    first, bin_ = points[0], _bin(points)
    is_full = interval_start(first.created_at, interval_width(points)) == interval_start(
        first.created_at, FULL_FORECAST_INTERVAL
    )
    if is_full or first.valid_until is None:
        return list(points)
    needed = points[-1].target_time + bin_ - first.valid_until + 5 * bin_
    end = first.created_at + max(HISTORY_HORIZON, needed)
    return [point for point in points if point.target_time < end]


def _bin(points: Sequence[Prediction]) -> timedelta:
    return points[1].target_time - points[0].target_time if len(points) > 1 else HISTORY_INTERVAL


def interval_width(points: Sequence[Prediction]) -> timedelta:
    """Return the width of the history interval: at least the bin width of the forecast."""
    return max(HISTORY_INTERVAL, _bin(points))


def interval_start(time: datetime, width: timedelta) -> datetime:
    """Return the start of the interval of this width that contains a time."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (time - epoch) // width * width
