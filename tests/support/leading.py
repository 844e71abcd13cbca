"""Demand that follows another series, for tests of leading indicators."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from forecasting.calibration import NAIVE_ORIGINS, calibrated
from forecasting.leading import PastForecasts
from forecasting.models.last_value import LastValue
from forecasting.peaks import peaks_from_bins
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import replay

STEP = timedelta(minutes=5)
START = datetime(2026, 6, 1, tzinfo=UTC)
DAY = 288
STEPS = 12


@dataclass(frozen=True, slots=True)
class Followed:
    """Demand in bins, the series that it follows, and one that has the same season only."""

    demand: FloatArray
    upstream: FloatArray
    unrelated: FloatArray


def followed(days: int = 8, lag: int = 3, seed: int = 1) -> Followed:
    """Demand that follows `upstream` by `lag` bins."""
    rng, bins = np.random.default_rng(seed), days * DAY
    season = np.exp(0.6 * np.sin(2 * np.pi * np.arange(bins) / DAY))
    visits, other = (_drifting(rng, bins + lag) for _ in range(2))
    own = [np.exp(0.03 * rng.normal(size=bins)) for _ in range(3)]
    return Followed(
        demand=100 * season * np.exp(visits[:bins]) * own[0],
        upstream=300 * season * np.exp(visits[lag:]) * own[1],
        unrelated=300 * season * np.exp(other[:bins]) * own[2],
    )


def past_forecasts(demand: FloatArray, days: int = 5, stride: int = 3) -> PastForecasts:
    """What the last value would have forecast over the last days."""
    series = Series("orders", START, STEP, demand)
    first = len(demand) - days * DAY
    walk = calibrated(replay(series, LastValue(), first - 2 * DAY, np.arange(1, STEPS + 1)), NAIVE_ORIGINS).since(first)
    peaks = peaks_from_bins(series, first, walk.quantiles)
    return PastForecasts.of(series, walk.origins[::stride], walk.quantiles[::stride], peaks[::stride])


def _drifting(rng: np.random.Generator, bins: int) -> FloatArray:
    """A slow drift with bursts, in logarithms."""
    steps, values = 0.08 * rng.normal(size=bins), np.zeros(bins)
    for at in range(1, bins):
        values[at] = 0.9 * values[at - 1] + steps[at]
    for start in np.flatnonzero(rng.random(bins) < 5 / DAY):
        values[start : start + 8] += rng.uniform(0.4, 1.0)
    return values
