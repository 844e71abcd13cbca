"""Seeded series of demand with daily seasonality."""

from datetime import UTC, datetime, timedelta

import numpy as np

from forecasting.series import FloatArray, Series

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


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
