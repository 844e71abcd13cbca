"""Series of demand with known events."""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from forecasting.context import Context, KnownEvent
from forecasting.series import Series
from tests.support.demand_series import QUARTER, a_series

TWO_HOURS = timedelta(hours=2)
_HOURS = (9, 14, 19, 11, 16)
_INTERVAL = timedelta(hours=36)


def some_events(series: Series, type_: str = "flash-sale", magnitude: float | None = None) -> tuple[KnownEvent, ...]:
    """Return an event of two hours each day and a half from the third day on, at varying hours."""
    days = range(int((series.end - series.start) / _INTERVAL))
    starts = [series.start + day * _INTERVAL + timedelta(hours=_HOURS[day % len(_HOURS)]) for day in days[2:]]
    return tuple(
        KnownEvent(type_, start, start + TWO_HOURS, magnitude) for start in starts if start + TWO_HOURS < series.end
    )


def with_events(
    days: float = 16, *, factor: float = 2.0, step: timedelta = QUARTER, noise: float = 0.05, seed: int = 1
) -> Series:
    """Return the demand of a service whose events multiply it by `factor`; the context contains the events."""
    base = a_series(days, step, seed=seed, noise=noise)
    events = some_events(base)
    bin_starts = base.start.timestamp() + np.arange(len(base.values)) * step.total_seconds()
    is_event = np.zeros(len(bin_starts), dtype=bool)
    for event in events:
        is_event |= (bin_starts >= event.start.timestamp()) & (bin_starts < event.end.timestamp())
    return replace(base, values=base.values * np.where(is_event, factor, 1.0), context=Context(events=events))
