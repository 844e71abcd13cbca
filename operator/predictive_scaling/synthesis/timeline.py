"""Moments in a row, and what the clocks on the wall show at them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DAY = timedelta(days=1)
_HOUR_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Timeline:
    """Bins of equal width from `start` on, which is aware and begins a bin of the epoch's grid; a day is whole bins."""

    start: datetime
    step: timedelta
    bins: int

    @property
    def end(self) -> datetime:
        """The end of the last bin."""
        return self.start + self.bins * self.step

    @property
    def first(self) -> int:
        """The first bin's number, counted from the epoch."""
        return (self.start - _EPOCH) // self.step

    @property
    def bins_in_a_day(self) -> int:
        """As many for every day: days are UTC's."""
        return DAY // self.step

    @property
    def seconds(self) -> IntArray:
        """When each bin begins, as epoch seconds: shape (bins,)."""
        return (self.first + np.arange(self.bins)) * round(self.step.total_seconds())

    def bins_of(self, duration: timedelta) -> int:
        """How many bins make up a duration; at least one."""
        return max(1, round(duration / self.step))

    def hours(self, zone: str) -> FloatArray:
        """The hour that the clocks of a zone show at each bin, 0 <= hour < 24, with its fraction: shape (bins,)."""
        return self._local(zone) % 86_400 / _HOUR_SECONDS

    def weekdays(self, zone: str) -> IntArray:
        """The weekday there, Monday is 0: shape (bins,)."""
        # The epoch was a Thursday.
        return (self._local(zone) // 86_400 + 3) % 7

    def mondays(self, zone: str) -> list[datetime]:
        """When each week that touches the timeline began in a zone, and the one before it, whose traces may last."""
        there = ZoneInfo(zone)
        day = self.start.astimezone(there).date()
        monday = day - timedelta(days=day.weekday()) - timedelta(weeks=1)
        found: list[datetime] = []
        while _midnight(monday, there) < self.end:
            found.append(_midnight(monday, there))
            monday += timedelta(weeks=1)
        return found

    def _local(self, zone: str) -> IntArray:
        """Epoch seconds as if the zone were UTC."""
        seconds, there = self.seconds, ZoneInfo(zone)
        hours, which = np.unique(seconds // _HOUR_SECONDS, return_inverse=True)
        offsets = [datetime.fromtimestamp(int(hour) * _HOUR_SECONDS, there).utcoffset() for hour in hours]
        shifts = np.array([round(offset.total_seconds()) if offset else 0 for offset in offsets], dtype=np.int64)
        return seconds + shifts[which]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)
