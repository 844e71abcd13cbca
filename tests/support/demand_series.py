"""Seeded series of demand with daily seasonality, and with known events."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from forecasting.context import Context, KnownEvent
from forecasting.series import FloatArray, Series

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
TWO_HOURS = timedelta(hours=2)
_EVENT_HOURS = (9, 14, 19, 11, 16)
_EVENT_INTERVAL = timedelta(hours=36)


def a_series(
    days: float = 8, step: timedelta = QUARTER, *, seed: int = 1, noise: float = 0.1, weekend: float = 1.0
) -> Series:
    """Return a demand with a daily shape around 100 and multiplicative noise. weekend: factor on weekends."""
    bins = round(days * timedelta(days=1) / step)
    is_weekend = (np.arange(bins) * (step / timedelta(days=1))).astype(int) % 7 >= 5
    values = a_shape(bins, step, seed, noise) * np.where(is_weekend, weekend, 1.0)
    return Series("shop/checkout", MONDAY, step, values)


def a_shape(bins: int, step: timedelta, seed: int = 1, noise: float = 0.1) -> FloatArray:
    phase = np.arange(bins) * (step / timedelta(days=1)) * 2 * np.pi
    shape = 100 * (1 + 0.6 * np.sin(phase) + 0.2 * np.sin(2 * phase + 1))
    return shape * np.random.default_rng(seed).lognormal(sigma=noise, size=bins)


def of_values(*values: float, step: timedelta = QUARTER) -> Series:
    """Return a series of these values."""
    return Series("shop/checkout", MONDAY, step, np.array(values, dtype=float))


def some_events(series: Series, type_: str = "flash-sale", magnitude: float | None = None) -> tuple[KnownEvent, ...]:
    """Return an event of two hours each day and a half from the third day on, at varying hours."""
    days = range(int((series.end - series.start) / _EVENT_INTERVAL))
    starts = [
        series.start + day * _EVENT_INTERVAL + timedelta(hours=_EVENT_HOURS[day % len(_EVENT_HOURS)])
        for day in days[2:]
    ]
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
