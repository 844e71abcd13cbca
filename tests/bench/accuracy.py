"""Accuracy of walk-forward forecasts, compared with other methods in the same run."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.calibration import calibrated
from forecasting.forecaster import Forecaster, TooShortError
from forecasting.models.holt_winters import HoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.panel import IntArray
from forecasting.series import Series
from forecasting.walk_forward import WalkForward, walk_forward
from predictive_scaling.clock import monotonic
from tests.bench.prophet_peer import Prophet, is_installed
from tests.bench.traces import Say
from tests.bench.verdicts import COVERED, HORIZON_MINUTES

OURS = "LightGBM"
NAIVE = ("LastValue", "SeasonalNaive")
SPLIT = 0.7
_PROPHET_REFITS_EACH = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of one method on one series.

    wape: by HORIZON_MINUTES; NaN if the bins are too wide for a horizon or the series too short for the method.
    coverage, raw_coverage: by COVERED, over all horizons, calibrated and uncalibrated; empty for a method without
    quantiles. seconds: of all fits and forecasts.
    """

    wape: tuple[float, ...]
    coverage: tuple[float, ...]
    raw_coverage: tuple[float, ...]
    refits: int
    seconds: float


def measure_accuracy(series: Series, refits: int, *, quick: bool, say: Say) -> dict[str, Accuracy]:
    """Return the accuracy by method, the product's first."""
    methods: list[tuple[Forecaster, int]] = [
        (LightGBMQuantiles(threads=2), refits),
        (LastValue(), refits),
        (SeasonalNaive(), refits),
        (HoltWinters(), refits),
    ]
    if is_installed():
        methods.append((Prophet(), refits if quick else _prophet_refits(series, refits)))
    accuracy_by_method: dict[str, Accuracy] = {}
    for method, fits in methods:
        say(f"{series.name}: {method.name}, {fits} fits")
        accuracy_by_method[method.name] = _accuracy(series, method, fits)
    return accuracy_by_method


def _accuracy(series: Series, method: Forecaster, refits: int) -> Accuracy:
    started_at = monotonic()
    minutes_of_horizons = [
        minutes for minutes in HORIZON_MINUTES if timedelta(minutes=minutes) % series.step == timedelta()
    ]
    bins: IntArray = np.array([timedelta(minutes=minutes) // series.step for minutes in minutes_of_horizons])
    try:
        walk = walk_forward(series, method, SPLIT, refits, bins)
    except TooShortError:
        return Accuracy((float("nan"),) * len(HORIZON_MINUTES), (), (), refits, monotonic() - started_at)
    errors = dict(zip(minutes_of_horizons, walk.wape().tolist(), strict=True))
    wape = tuple(errors.get(minutes, float("nan")) for minutes in HORIZON_MINUTES)
    seconds = monotonic() - started_at
    if method.name != OURS:
        return Accuracy(wape, (), (), refits, seconds)
    # Calibrated on the errors of the walk so far: the first hours count with uncalibrated bands.
    return Accuracy(wape, coverages(calibrated(walk)), coverages(walk), refits, seconds)


def coverages(walk: WalkForward) -> tuple[float, ...]:
    """Return the coverage by COVERED, over all horizons."""
    return tuple(walk.coverage(quantile) for quantile in COVERED)


def _prophet_refits(series: Series, refits: int) -> int:
    test_span = (1 - SPLIT) * len(series.values) * series.step
    return max(refits, round(test_span / _PROPHET_REFITS_EACH))
