"""Daily, weekly and yearly shapes of demand."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from predictive_scaling.synthesis.timeline import FloatArray, Timeline

_ORIGIN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
_YEAR_SECONDS = 365.25 * 86_400
_MAX_LOG_GROWTH = 1.5
"""Growth stays between exp(-1.5) and exp(1.5)."""
SATURDAY = 5


def day(timeline: Timeline, zone: str, points: Mapping[float, float]) -> FloatArray:
    """A daily curve through `points` (local hour: share): shape (bins,)."""
    hours = np.array(sorted(points))
    return np.interp(timeline.hours(zone), hours, [points[hour] for hour in sorted(points)], period=24)


def weekend(timeline: Timeline, zone: str, share: float) -> FloatArray:
    """1 on working days, `share` on local Saturdays and Sundays: shape (bins,)."""
    return np.where(timeline.weekdays(zone) >= SATURDAY, share, 1.0)


def growth(timeline: Timeline, by_year: float) -> FloatArray:
    """Exponential growth by a share each year, 1 at the start of 2026, within bounds: shape (bins,)."""
    years = (timeline.seconds - _ORIGIN) / _YEAR_SECONDS
    return np.exp(np.clip(np.log1p(by_year) * years, -_MAX_LOG_GROWTH, _MAX_LOG_GROWTH))
