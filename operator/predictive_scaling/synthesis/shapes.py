"""Days, weeks and years of a service."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from predictive_scaling.synthesis.timeline import FloatArray, Timeline

_ORIGIN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
_YEAR_SECONDS = 365.25 * 86_400
_MOST = 1.5
SATURDAY = 5


def day(timeline: Timeline, zone: str, points: Mapping[float, float]) -> FloatArray:
    """A curve through `points` (hour on the zone's clocks: share), the same every day: shape (bins,)."""
    hours = np.array(sorted(points))
    return np.interp(timeline.hours(zone), hours, [points[hour] for hour in sorted(points)], period=24)


def weekend(timeline: Timeline, zone: str, share: float) -> FloatArray:
    """1 on working days, `share` on Saturdays and Sundays there: shape (bins,)."""
    return np.where(timeline.weekdays(zone) >= SATURDAY, share, 1.0)


def growth(timeline: Timeline, by_year: float) -> FloatArray:
    """1 at the beginning of 2026, growing by a share a year from and to a bound: shape (bins,)."""
    years = (timeline.seconds - _ORIGIN) / _YEAR_SECONDS
    return np.exp(np.clip(np.log1p(by_year) * years, -_MOST, _MOST))
