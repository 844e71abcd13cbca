"""Equally spaced bins of time, with their local hours and weekdays."""

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
    """Bins of equal width. start: timezone-aware, a multiple of step since the epoch. step: divides a day."""

    start: datetime
    step: timedelta
    bins: int

    @property
    def end(self) -> datetime:
        """The end of the last bin."""
        return self.start + self.bins * self.step

    @property
    def first(self) -> int:
        """The number of the first bin, counted from the epoch."""
        return (self.start - _EPOCH) // self.step

    @property
    def bins_per_day(self) -> int:
        """The number of bins of a UTC day."""
        return DAY // self.step

    @property
    def seconds(self) -> IntArray:
        """The start of each bin in epoch seconds: shape (bins,)."""
        return (self.first + np.arange(self.bins)) * round(self.step.total_seconds())

    def bins_of(self, duration: timedelta) -> int:
        """The number of bins of a duration; at least 1."""
        return max(1, round(duration / self.step))

    def hours(self, zone: str) -> FloatArray:
        """The local hour of each bin with its fraction, 0 <= hour < 24: shape (bins,)."""
        return self._local(zone) % 86_400 / _HOUR_SECONDS

    def days(self, zone: str) -> IntArray:
        """The local day in a zone at each bin, counted from 1970-01-01: shape (bins,)."""
        return self._local(zone) // 86_400

    def weekdays(self, zone: str) -> IntArray:
        """The local weekday of each bin, Monday is 0: shape (bins,)."""
        # The epoch was a Thursday.
        return (self.days(zone) + 3) % 7

    def mondays(self, zone: str) -> list[datetime]:
        """The local start of each week of the timeline, and of the week before, whose effects may last."""
        time_zone = ZoneInfo(zone)
        day = self.start.astimezone(time_zone).date()
        monday = day - timedelta(days=day.weekday()) - timedelta(weeks=1)
        mondays: list[datetime] = []
        while _midnight(monday, time_zone) < self.end:
            mondays.append(_midnight(monday, time_zone))
            monday += timedelta(weeks=1)
        return mondays

    def _local(self, zone: str) -> IntArray:
        """Local times as epoch seconds, as if the zone were UTC."""
        seconds, time_zone = self.seconds, ZoneInfo(zone)
        hours, hour_of_bin = np.unique(seconds // _HOUR_SECONDS, return_inverse=True)
        offsets = [datetime.fromtimestamp(int(hour) * _HOUR_SECONDS, time_zone).utcoffset() for hour in hours]
        shifts = np.array([round(offset.total_seconds()) if offset else 0 for offset in offsets], dtype=np.int64)
        return seconds + shifts[hour_of_bin]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)
