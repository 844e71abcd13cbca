"""Series of demand with known events in them."""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from forecasting.context import Context, KnownEvent
from forecasting.series import Series
from tests.support.demand_series import QUARTER, a_series

TWO_HOURS = timedelta(hours=2)
_HOURS = (9, 14, 19, 11, 16)
_EVERY = timedelta(hours=36)


def some_events(series: Series, type_: str = "flash-sale", magnitude: float | None = None) -> tuple[KnownEvent, ...]:
    """One every day and a half from the third day on, at changing hours, two hours long."""
    days = range(int((series.end - series.start) / _EVERY))
    starts = [series.start + day * _EVERY + timedelta(hours=_HOURS[day % len(_HOURS)]) for day in days[2:]]
    return tuple(
        KnownEvent(type_, start, start + TWO_HOURS, magnitude) for start in starts if start + TWO_HOURS < series.end
    )


def with_events(
    days: float = 16, *, factor: float = 2.0, step: timedelta = QUARTER, noise: float = 0.05, seed: int = 1
) -> Series:
    """A service whose events multiply demand by `factor` while they last; its context knows them."""
    plain = a_series(days, step, seed=seed, noise=noise)
    events = some_events(plain)
    begins = plain.start.timestamp() + np.arange(len(plain.values)) * step.total_seconds()
    on = np.zeros(len(begins), dtype=bool)
    for event in events:
        on |= (begins >= event.start.timestamp()) & (begins < event.end.timestamp())
    return replace(plain, values=plain.values * np.where(on, factor, 1.0), context=Context(events=events))
