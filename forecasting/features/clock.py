"""How far ahead, and what the clock on the wall says then."""

import numpy as np

from forecasting.calendars.wall_time import DAY_SECONDS, WallTime
from forecasting.features.column import AHEAD, CALENDAR, CLOCK, Feature
from forecasting.panel import IntArray
from forecasting.series import FloatArray

COLUMNS = (
    Feature("horizon", AHEAD),
    Feature("minute_of_day", CLOCK),
    Feature("minute_of_hour", CLOCK),
    Feature("weekday", CALENDAR),
)


def clock(wall: WallTime, ahead: IntArray) -> list[FloatArray]:
    """The columns of COLUMNS, each of shape (origins, horizons). ahead: bins, the same shape; horizon is in minutes."""
    return [
        (ahead * (wall.panel.step / 60)).astype(np.float64),
        wall.seconds % DAY_SECONDS / 60,
        wall.seconds % 3600 / 60,
        wall.weekdays.astype(np.float64),
    ]
