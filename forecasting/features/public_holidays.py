"""How near the public holidays are; nothing where a series has no country."""

import numpy as np

from forecasting.calendars.wall_time import WallTime
from forecasting.features.column import HOLIDAY, Feature
from forecasting.series import FloatArray

COLUMNS = (Feature("days_since_holiday", HOLIDAY), Feature("days_until_holiday", HOLIDAY))


def public_holidays(wall: WallTime) -> list[FloatArray]:
    """The columns of COLUMNS, each of shape (origins, horizons), NaN for a series without a country.

    0 on a holiday, 1 on the day after (or before) one, 7 for a week and more.
    """
    found = wall.holiday_distances()
    if found is None:
        return [np.full(wall.seconds.shape, np.nan)] * len(COLUMNS)
    has_country = np.array([bool(context.country) for context in wall.panel.contexts])[wall.rows]
    return [np.where(has_country, column, np.nan) for column in found]
