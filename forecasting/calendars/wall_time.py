"""What the clocks and calendars say of those whom a series is about."""

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
    """At the beginning of bins of a panel; columns may lie in its future.

    rows: which series; broadcasts to the shape of seconds. seconds: local time, as if it were UTC. ahead_of_utc: what
    was added for it, None where all live by UTC. holiday: whether the local day is one, None where no series has a
    country.
    """

    panel: Panel
    rows: IntArray
    seconds: IntArray
    ahead_of_utc: IntArray | None
    holiday: Flags | None

    @classmethod
    def of(cls, panel: Panel, rows: IntArray, cols: IntArray) -> "WallTime":
        """rows: which series. cols: which bins; the two broadcast."""
        utc = panel.ends[rows] - (panel.bins - cols) * panel.step
        ahead = utc_offsets_by_row(panel.contexts, rows, utc)
        local = utc if ahead is None else utc + ahead
        return cls(panel, rows, local, ahead, holiday_flags(panel, rows, local // DAY_SECONDS))

    @property
    def days(self) -> IntArray:
        """Local days since the epoch."""
        return self.seconds // DAY_SECONDS

    @property
    def weekdays(self) -> IntArray:
        """Monday is 0; a holiday is a Sunday."""
        plain = weekdays(self.days)
        return plain if self.holiday is None else np.where(self.holiday, SUNDAY, plain)

    def holiday_distances(self) -> tuple[IntArray, IntArray] | None:
        """Days since the last holiday and until the next, each at most 7, both 0 on one; None without countries."""
        if self.holiday is None:
            return None
        since, until = np.full(self.days.shape, WEEK_DAYS), np.full(self.days.shape, WEEK_DAYS)
        for country, ours in _by_country(self.panel, self.rows, self.days.shape):
            since[ours], until[ours] = holiday_distances(country, self.days[ours])
        return since, until


def weekdays(days: IntArray) -> IntArray:
    """Of days since the epoch; Monday is 0."""
    return (days + 3) % WEEK_DAYS


def holiday_flags(panel: Panel, rows: IntArray, days: IntArray) -> Flags | None:
    """Which local days are holidays where each series is about; None where no series of the panel has a country."""
    parts = _by_country(panel, rows, days.shape)
    if not parts:
        return None
    found = np.zeros(days.shape, dtype=np.bool_)
    for country, ours in parts:
        found[ours] = is_holiday(country, days[ours])
    return found


def _by_country(panel: Panel, rows: IntArray, shape: tuple[int, ...]) -> list[tuple[str, Flags]]:
    countries = np.array([context.country for context in panel.contexts])
    of_rows = np.broadcast_to(rows, shape)
    return [(str(country), (countries == country)[of_rows]) for country in np.unique(countries[countries != ""])]
