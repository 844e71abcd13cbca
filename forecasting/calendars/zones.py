"""UTC offsets of time zones at many times at once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

import numpy as np

from forecasting.context import Context
from forecasting.panel import IntArray

_DAY = 86_400
_YEAR = 366 * _DAY
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_offsets(zone: tzinfo, seconds: IntArray) -> IntArray:
    """Return the UTC offset of a zone at each epoch second, in seconds; the same shape.

    >>> from zoneinfo import ZoneInfo
    >>> utc_offsets(ZoneInfo("Europe/Paris"), np.array([0, 1_774_745_999, 1_774_746_000]))
    array([3600, 3600, 7200])
    """
    if zone is UTC or not seconds.size:
        return np.zeros(seconds.shape, dtype=np.int64)
    since, until = int(seconds.min()) // _YEAR, int(seconds.max()) // _YEAR
    parts = [_changes(zone, year) for year in range(since, until + 1)]
    times, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return values[np.searchsorted(times, seconds, side="right") - 1]


def utc_offsets_by_row(contexts: Sequence[Context], rows: IntArray, seconds: IntArray) -> IntArray | None:
    """Return the UTC offsets in the zone of each row's series; None if all use UTC. rows broadcasts to seconds."""
    zones = {context.zone for context in contexts}
    if zones == {UTC}:
        return None
    values = np.zeros(seconds.shape, dtype=np.int64)
    of_rows = np.broadcast_to(rows, seconds.shape)
    for zone in zones - {UTC}:
        in_zone = np.array([context.zone == zone for context in contexts])[of_rows]
        values[in_zone] = utc_offsets(zone, seconds[in_zone])
    return values


@lru_cache(maxsize=1024)
def _changes(zone: tzinfo, year: int) -> tuple[IntArray, IntArray]:
    """Return times and the offset from each time on: the start of a span of 366 days, then each clock change."""
    begin = year * _YEAR
    times, values = [begin], [_offset(zone, begin)]
    for day in range(begin, begin + _YEAR, _DAY):
        after = _offset(zone, day + _DAY)
        if after != values[-1]:
            times.append(_change_second(zone, day, day + _DAY))
            values.append(after)
    return np.array(times, dtype=np.int64), np.array(values, dtype=np.int64)


def _change_second(zone: tzinfo, low: int, high: int) -> int:
    """Return the second at which the offset becomes that of `high`; it changes at most once in between."""
    new_offset = _offset(zone, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(zone, middle) == new_offset else (middle, high)
    return high


def _offset(zone: tzinfo, second: int) -> int:
    # Counted from the epoch, because datetime.fromtimestamp fails beyond the limits of the platform.
    ahead = (_EPOCH + timedelta(seconds=second)).astimezone(zone).utcoffset()
    return round(ahead.total_seconds()) if ahead is not None else 0
