"""How far ahead, and what the clock says then."""

import numpy as np

from forecasting.features.column import AHEAD, CALENDAR, CLOCK, Feature
from forecasting.panel import IntArray, Origins, Panel
from forecasting.series import FloatArray

COLUMNS = (
    Feature("horizon", AHEAD),
    Feature("minute_of_day", CLOCK),
    Feature("minute_of_hour", CLOCK),
    Feature("weekday", CALENDAR),
)


def clock(panel: Panel, origins: Origins, ahead: IntArray) -> list[FloatArray]:
    """The columns of COLUMNS, each of shape (origins, horizons). ahead: bins, the same shape; horizon is in minutes."""
    seconds = panel.seconds_at(origins)[:, None] + (ahead - 1) * panel.step
    return [
        (ahead * (panel.step / 60)).astype(np.float64),
        seconds % 86_400 / 60,
        seconds % 3600 / 60,
        ((seconds // 86_400 + 3) % 7).astype(np.float64),
    ]
