"""What forecasts ask for at every step, for many quantiles at once."""

from datetime import timedelta

import numpy as np

from forecasting.forecast import PEAK_QUANTILES, QUANTILES
from forecasting.panel import IntArray
from forecasting.quantile_interpolation import quantile_weights
from forecasting.scaling.simulation_grid import Counts
from forecasting.series import FloatArray
from predictive_scaling.decision.peak_demand import PEAK_START_BINS
from predictive_scaling.decision.spans import INSTANT
from predictive_scaling.simulation.forecast_batch import ForecastBatch
from predictive_scaling.simulation.workload import LATE, STEP, Workload

_SLACK = 1e-9


def origins_at(forecasts: ForecastBatch, work: Workload) -> IntArray:
    """The newest origin that is known at each step, as bins before it: shape (steps,)."""
    step = forecasts.series.step
    offset = (work.begins_at - LATE - forecasts.series.start) / STEP
    return ((offset + np.arange(len(work))) // (step / STEP)).astype(np.int64)


def peaks(forecasts: ForecastBatch, work: Workload, ahead: timedelta, quantiles: tuple[float, ...]) -> FloatArray:
    """Each quantile of the highest demand within [step, step + ahead], as the decision sees it: (steps, quantiles)."""
    origins = origins_at(forecasts, work)
    width = forecasts.series.step
    into = ((work.begins_at - forecasts.series.start) / STEP + np.arange(len(work)) - origins * (width / STEP)).round()
    rows = np.clip(origins - forecasts.first, 0, len(forecasts.values) - 1)
    by_bin, together = (
        np.stack([quantile_weights(known, quantile).by_column(len(known)) for quantile in quantiles], axis=1)
        for known in (QUANTILES, PEAK_QUANTILES)
    )
    found = np.empty((len(work), len(quantiles)))
    for offset in np.unique(into):
        since, which = offset * STEP, into == offset
        first, past_last = int(since // width), int(-(-(since + ahead + INSTANT) // width))
        if first < PEAK_START_BINS and past_last <= forecasts.peaks.shape[1]:
            known = forecasts.peaks[rows[which], past_last - 1] @ together
        else:
            past_last = max(first + 1, min(past_last, forecasts.values.shape[1]))
            known = (forecasts.values[rows[which], first:past_last] @ by_bin).max(axis=1)
        found[which] = np.maximum(known, 0.0)
    return found


def replicas(demand: FloatArray, per_replica: float, utilization: float) -> Counts:
    """Replicas that carry each demand, rounded up as the decision does it."""
    return np.ceil(demand / (per_replica * utilization) * (1 - _SLACK)).astype(np.int32)
