"""Local time, weekdays and public holidays of bins, by the time zone and country of each series."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.calendars.public_holidays import holiday_distances, is_holiday
from forecasting.calendars.zones import utc_offsets_by_row
from forecasting.panel import IntArray, Panel

DAY_SECONDS = 86_400
WEEK_DAYS = 7
SUNDAY = 6

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WallTime:
    """Local time at the start of bins of a panel; columns may lie in its future.

    rows: the series of each bin; broadcasts to the shape of seconds. seconds: local time in seconds, as if it were UTC.
    ahead_of_utc: the UTC offset in seconds, None if all series use UTC. holiday: whether the local day is a public
    holiday, None if no series has a country.
    """

    panel: Panel
    rows: IntArray
    seconds: IntArray
    ahead_of_utc: IntArray | None
    holiday: Flags | None

    @classmethod
    def of(cls, panel: Panel, rows: IntArray, cols: IntArray) -> "WallTime":
        """Return the local time of bins. rows: series, cols: bins; they broadcast."""
        utc = panel.ends[rows] - (panel.bins - cols) * panel.step
        ahead = utc_offsets_by_row(panel.contexts, rows, utc)
        local = utc if ahead is None else utc + ahead
        return cls(panel, rows, local, ahead, holiday_flags(panel, rows, local // DAY_SECONDS))

    @property
    def days(self) -> IntArray:
        """The local days since the epoch."""
        return self.seconds // DAY_SECONDS

    @property
    def weekdays(self) -> IntArray:
        """The weekdays, Monday is 0; a holiday counts as a Sunday."""
        plain = weekdays(self.days)
        return plain if self.holiday is None else np.where(self.holiday, SUNDAY, plain)

    def holiday_distances(self) -> tuple[IntArray, IntArray] | None:
        """Return days since the last holiday and until the next, at most 7, 0 on a holiday; None without countries."""
        if self.holiday is None:
            return None
        since, until = np.full(self.days.shape, WEEK_DAYS), np.full(self.days.shape, WEEK_DAYS)
        for country, in_country in _by_country(self.panel, self.rows, self.days.shape):
            since[in_country], until[in_country] = holiday_distances(country, self.days[in_country])
        return since, until


def weekdays(days: IntArray) -> IntArray:
    """Return the weekdays of days since the epoch; Monday is 0."""
    return (days + 3) % WEEK_DAYS


def holiday_flags(panel: Panel, rows: IntArray, days: IntArray) -> Flags | None:
    """Return which local days are holidays in the country of each series; None if no series has a country."""
    parts = _by_country(panel, rows, days.shape)
    if not parts:
        return None
    flags = np.zeros(days.shape, dtype=np.bool_)
    for country, in_country in parts:
        flags[in_country] = is_holiday(country, days[in_country])
    return flags


def _by_country(panel: Panel, rows: IntArray, shape: tuple[int, ...]) -> list[tuple[str, Flags]]:
    """Return each country of the panel with the flags of its bins."""
    countries = np.array([context.country for context in panel.contexts])
    of_rows = np.broadcast_to(rows, shape)
    return [(str(country), (countries == country)[of_rows]) for country in np.unique(countries[countries != ""])]
