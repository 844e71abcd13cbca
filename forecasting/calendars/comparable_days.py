"""Which earlier bin is "the same time so many days ago": by the clock on the wall, and from a day that is alike."""

from collections.abc import Callable, Iterable

import numpy as np

from forecasting.calendars.wall_time import SUNDAY, WEEK_DAYS, Flags, WallTime, holiday_flags, weekdays
from forecasting.calendars.zones import utc_offsets_by_row
from forecasting.panel import DAY, IntArray

_DAY_SECONDS = 86_400
_SUNDAY = 2
Back = IntArray | int


def bins_back(wall: WallTime) -> tuple[Back, ...]:
    """How many bins before each of `wall` it was the same time 1, 2, … 7 days ago: seven, each at least 1.

    An hour more or less where clocks were changed in between. On a public holiday "a week ago" is the last Sunday or
    holiday. For any other day a holiday is no example: the next ordinary day before it, or after it, stands for it.
    """
    day = wall.panel.bins_in(DAY)
    chosen = _days_back(wall)
    if wall.ahead_of_utc is None:
        return tuple(days * day for days in chosen)
    return tuple(np.maximum(1, days * day - _changed(wall, wall.ahead_of_utc, days)) for days in chosen)


def _changed(wall: WallTime, ahead: IntArray, days: Back) -> IntArray:
    """Bins by which clocks were put forward since then."""
    then = utc_offsets_by_row(wall.panel.contexts, wall.rows, wall.seconds - ahead - days * _DAY_SECONDS)
    return np.round((ahead - then) / wall.panel.step).astype(np.int64) if then is not None else np.zeros_like(ahead)


def _days_back(wall: WallTime) -> tuple[Back, ...]:
    if wall.holiday is None:
        return tuple(range(1, WEEK_DAYS + 1))
    near = [wall.holiday, *(_holiday(wall, back) for back in range(1, WEEK_DAYS + 1))]
    if not any(flags.any() for flags in near):
        return tuple(range(1, WEEK_DAYS + 1))
    kinds = [np.where(flags, _SUNDAY, _kind(wall.days - back)) for back, flags in enumerate(near)]
    return tuple(_comparable(wall, wall.holiday, kinds, days) for days in range(1, WEEK_DAYS + 1))


def _comparable(wall: WallTime, holiday: Flags, kinds: list[IntArray], days: int) -> IntArray:
    """For one of the seven, which day is looked at in its place."""
    chosen = np.full(wall.seconds.shape, days, dtype=np.int64)
    usual = _kind(wall.days - days)
    odd = ~holiday & (kinds[days] != usual)
    others = [*range(days + 1, WEEK_DAYS + 1), *range(days - 1, 0, -1)]
    _replace(chosen, odd, others, lambda back: kinds[back] == usual)
    if days == WEEK_DAYS:
        _replace(chosen, holiday, range(1, WEEK_DAYS), lambda back: kinds[back] == _SUNDAY)
    return chosen


def _replace(chosen: IntArray, where: Flags, order: Iterable[int], fits: Callable[[int], Flags]) -> None:
    """The first of `order` that fits, where one is sought."""
    sought = where.copy()
    for back in order:
        found = sought & fits(back)
        chosen[found] = back
        sought &= ~found


def _holiday(wall: WallTime, back: int) -> Flags:
    found = holiday_flags(wall.panel, wall.rows, wall.days - back)
    return np.zeros(wall.seconds.shape, dtype=np.bool_) if found is None else found


def _kind(days: IntArray) -> IntArray:
    """0 for a working day, 1 for a Saturday, 2 for a Sunday."""
    return np.maximum(weekdays(days) - (SUNDAY - _SUNDAY), 0)
