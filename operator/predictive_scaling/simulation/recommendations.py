"""The replicas that forecasts recommend at every step, for many quantiles at once."""

from datetime import timedelta
from typing import Protocol

import numpy as np

from forecasting.forecast import PEAK_QUANTILES, QUANTILES
from forecasting.panel import IntArray
from forecasting.quantile_interpolation import quantile_weights
from forecasting.scaling.simulation_grid import Counts
from forecasting.series import FloatArray, Series
from predictive_scaling.decision.peak_demand import PEAK_START_BINS
from predictive_scaling.decision.spans import INSTANT
from predictive_scaling.simulation.workload import METRIC_DELAY, STEP, Workload

_SLACK = 1e-9


class ForecastBatch(Protocol):
    """Forecasts from each origin from `first` on, from a walk-forward run or from a record.

    An origin is the number of bins before it. values: shape (origins, bins ahead, len(QUANTILES)), calibrated. peaks:
    shape (origins, windows, len(PEAK_QUANTILES)), the highest demand within the first bins (forecasting.peaks).
    """

    @property
    def series(self) -> Series:
        """The demand series that defines the bins."""
        ...

    @property
    def first(self) -> int:
        """The first origin."""
        ...

    @property
    def values(self) -> FloatArray:
        """The forecasts of each bin."""
        ...

    @property
    def peaks(self) -> FloatArray:
        """The forecasts of the highest demand from each origin on."""
        ...


def origins_at(forecasts: ForecastBatch, work: Workload) -> IntArray:
    """Return the newest origin that is known at each step, as the number of bins before it: shape (steps,)."""
    step = forecasts.series.step
    offset = (work.begins_at - METRIC_DELAY - forecasts.series.start) / STEP
    return ((offset + np.arange(len(work))) // (step / STEP)).astype(np.int64)


def peaks(forecasts: ForecastBatch, work: Workload, ahead: timedelta, quantiles: tuple[float, ...]) -> FloatArray:
    """Return quantiles of the highest demand within [step, step + ahead], as the decision computes them.

    Shape (steps, quantiles).
    """
    origins = origins_at(forecasts, work)
    width = forecasts.series.step
    offsets = (work.begins_at - forecasts.series.start) / STEP + np.arange(len(work)) - origins * (width / STEP)
    offsets = offsets.round()
    rows = np.clip(origins - forecasts.first, 0, len(forecasts.values) - 1)
    bin_weights, peak_weights = (
        np.stack([quantile_weights(levels, quantile).by_column(len(levels)) for quantile in quantiles], axis=1)
        for levels in (QUANTILES, PEAK_QUANTILES)
    )
    highest = np.empty((len(work), len(quantiles)))
    for offset in np.unique(offsets):
        since, at_offset = offset * STEP, offsets == offset
        first, end = int(since // width), int(-(-(since + ahead + INSTANT) // width))
        if first < PEAK_START_BINS and end <= forecasts.peaks.shape[1]:
            demand = forecasts.peaks[rows[at_offset], end - 1] @ peak_weights
        else:
            end = max(first + 1, min(end, forecasts.values.shape[1]))
            demand = (forecasts.values[rows[at_offset], first:end] @ bin_weights).max(axis=1)
        highest[at_offset] = np.maximum(demand, 0.0)
    return highest


def replicas_for(demand: FloatArray, per_replica: float, utilization: float) -> Counts:
    """Return the replicas that carry each demand, rounded up as the decision rounds them."""
    return np.ceil(demand / (per_replica * utilization) * (1 - _SLACK)).astype(np.int32)
