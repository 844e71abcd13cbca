"""Columns of the forecast horizon, the local time and the public holidays at each target."""

import numpy as np

from forecasting.calendars.wall_time import DAY_SECONDS, WallTime
from forecasting.features.column import AHEAD, CALENDAR, CLOCK, HOLIDAY, Feature
from forecasting.panel import IntArray
from forecasting.series import FloatArray

_HOLIDAY_COLUMNS = (Feature("days_since_holiday", HOLIDAY), Feature("days_until_holiday", HOLIDAY))
COLUMNS = (
    Feature("horizon", AHEAD),
    Feature("minute_of_day", CLOCK),
    Feature("minute_of_hour", CLOCK),
    Feature("weekday", CALENDAR),
    *_HOLIDAY_COLUMNS,
)


def calendar_columns(wall: WallTime, ahead: IntArray) -> list[FloatArray]:
    """Return the columns of COLUMNS, each of shape (origins, horizons).

    ahead: bins ahead, of the same shape; the column `horizon` is in minutes.
    """
    return [
        (ahead * (wall.panel.step / 60)).astype(np.float64),
        wall.seconds % DAY_SECONDS / 60,
        wall.seconds % 3600 / 60,
        wall.weekdays.astype(np.float64),
        *_holiday_columns(wall),
    ]


def _holiday_columns(wall: WallTime) -> list[FloatArray]:
    """Return the days since and until a holiday, NaN for a series without a country.

    0 on a holiday, 1 on the day after (or before) a holiday, 7 for a week and more.
    """
    distances = wall.holiday_distances()
    if distances is None:
        return [np.full(wall.seconds.shape, np.nan)] * len(_HOLIDAY_COLUMNS)
    has_country = np.array([bool(context.country) for context in wall.panel.contexts])[wall.rows]
    return [np.where(has_country, column, np.nan) for column in distances]
