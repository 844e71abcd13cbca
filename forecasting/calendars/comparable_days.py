"""The earlier bin that is "the same time n days ago": at the same local time, on a comparable day."""

from collections.abc import Callable, Iterable

import numpy as np

from forecasting.calendars.wall_time import SUNDAY, WEEK_DAYS, Flags, WallTime, holiday_flags, weekdays
from forecasting.calendars.zones import utc_offsets_by_row
from forecasting.panel import DAY, IntArray

_DAY_SECONDS = 86_400
_SUNDAY = 2
Distance = IntArray | int
"""Distance into the past in bins or days: for each bin, or the same for all."""


def bins_back(wall: WallTime) -> tuple[Distance, ...]:
    """Return the distance in bins from each bin of `wall` to the same local time 1, 2, … 7 days ago: seven, each >= 1.

    Clock changes in between add or remove an hour. On a public holiday "a week ago" is the last Sunday or holiday. On
    other days a holiday is replaced by the nearest ordinary day before it or, if there is none, after it.
    """
    day = wall.panel.bins_in(DAY)
    chosen = _days_back(wall)
    if wall.ahead_of_utc is None:
        return tuple(days * day for days in chosen)
    return tuple(np.maximum(1, days * day - _clock_change_bins(wall, wall.ahead_of_utc, days)) for days in chosen)


def _clock_change_bins(wall: WallTime, ahead: IntArray, days: Distance) -> IntArray:
    """Return the number of bins by which clocks moved forward since `days` ago."""
    then = utc_offsets_by_row(wall.panel.contexts, wall.rows, wall.seconds - ahead - days * _DAY_SECONDS)
    return np.round((ahead - then) / wall.panel.step).astype(np.int64) if then is not None else np.zeros_like(ahead)


def _days_back(wall: WallTime) -> tuple[Distance, ...]:
    if wall.holiday is None:
        return tuple(range(1, WEEK_DAYS + 1))
    near = [wall.holiday, *(_holiday(wall, back) for back in range(1, WEEK_DAYS + 1))]
    if not any(flags.any() for flags in near):
        return tuple(range(1, WEEK_DAYS + 1))
    kinds = [np.where(flags, _SUNDAY, _kind(wall.days - back)) for back, flags in enumerate(near)]
    return tuple(_comparable(wall, wall.holiday, kinds, days) for days in range(1, WEEK_DAYS + 1))


def _comparable(wall: WallTime, holiday: Flags, kinds: list[IntArray], days: int) -> IntArray:
    """Return the comparable day for `days` days ago, in days back."""
    chosen = np.full(wall.seconds.shape, days, dtype=np.int64)
    usual = _kind(wall.days - days)
    odd = ~holiday & (kinds[days] != usual)
    others = [*range(days + 1, WEEK_DAYS + 1), *range(days - 1, 0, -1)]
    _replace_days(chosen, odd, others, lambda back: kinds[back] == usual)
    if days == WEEK_DAYS:
        _replace_days(chosen, holiday, range(1, WEEK_DAYS), lambda back: kinds[back] == _SUNDAY)
    return chosen


def _replace_days(chosen: IntArray, where: Flags, order: Iterable[int], fits: Callable[[int], Flags]) -> None:
    """Replace chosen days, where requested, with the first day of `order` that fits."""
    pending = where.copy()
    for back in order:
        fitting = pending & fits(back)
        chosen[fitting] = back
        pending &= ~fitting


def _holiday(wall: WallTime, back: int) -> Flags:
    flags = holiday_flags(wall.panel, wall.rows, wall.days - back)
    return np.zeros(wall.seconds.shape, dtype=np.bool_) if flags is None else flags


def _kind(days: IntArray) -> IntArray:
    """Return 0 for a working day, 1 for a Saturday, 2 for a Sunday."""
    return np.maximum(weekdays(days) - (SUNDAY - _SUNDAY), 0)
