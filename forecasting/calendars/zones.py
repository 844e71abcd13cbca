"""What clocks on a wall say at many moments at once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

import numpy as np

from forecasting.context import Context
from forecasting.panel import IntArray

_DAY = 86_400
_YEAR = 366 * _DAY


def utc_offsets(zone: tzinfo, seconds: IntArray) -> IntArray:
    """How far a zone is ahead of UTC at each epoch second, in seconds; the same shape.

    >>> from zoneinfo import ZoneInfo
    >>> utc_offsets(ZoneInfo("Europe/Paris"), np.array([0, 1_774_745_999, 1_774_746_000]))
    array([3600, 3600, 7200])
    """
    if zone is UTC or not seconds.size:
        return np.zeros(seconds.shape, dtype=np.int64)
    since, until = int(seconds.min()) // _YEAR, int(seconds.max()) // _YEAR
    parts = [_changes(zone, year) for year in range(since, until + 1)]
    moments, found = (np.concatenate(part) for part in zip(*parts, strict=True))
    return found[np.searchsorted(moments, seconds, side="right") - 1]


def utc_offsets_by_row(contexts: Sequence[Context], rows: IntArray, seconds: IntArray) -> IntArray | None:
    """offsets, with the zone of each row's series; None where all of them live by UTC. rows broadcasts to seconds."""
    zones = {context.zone for context in contexts}
    if zones == {UTC}:
        return None
    found = np.zeros(seconds.shape, dtype=np.int64)
    of_rows = np.broadcast_to(rows, seconds.shape)
    for zone in zones - {UTC}:
        ours = np.array([context.zone == zone for context in contexts])[of_rows]
        found[ours] = utc_offsets(zone, seconds[ours])
    return found


@lru_cache(maxsize=1024)
def _changes(zone: tzinfo, year: int) -> tuple[IntArray, IntArray]:
    """Moments from which an offset holds, and the offsets: the beginning of the span of 366 days, then each change."""
    begin = year * _YEAR
    moments, found = [begin], [_offset(zone, begin)]
    for day in range(begin, begin + _YEAR, _DAY):
        after = _offset(zone, day + _DAY)
        if after != found[-1]:
            moments.append(_change(zone, day, day + _DAY))
            found.append(after)
    return np.array(moments, dtype=np.int64), np.array(found, dtype=np.int64)


def _change(zone: tzinfo, low: int, high: int) -> int:
    """The second at which the offset becomes that of `high`; it changes once at most between the two."""
    wanted = _offset(zone, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(zone, middle) == wanted else (middle, high)
    return high


def _offset(zone: tzinfo, second: int) -> int:
    # Counted from the epoch, as the platform's clock functions stop at its own limits.
    ahead = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).astimezone(zone).utcoffset()
    return round(ahead.total_seconds()) if ahead is not None else 0
