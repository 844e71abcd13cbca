"""What forecasts ask for at every step, for many quantiles at once."""

from datetime import timedelta

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.panel import IntArray
from forecasting.series import FloatArray
from forecasting.simulation_grid import Counts
from predictive_scaling.backtesting.foreseen import Foreseen
from predictive_scaling.backtesting.workload import LATE, STEP, Workload
from predictive_scaling.decision.peak import weights_of
from predictive_scaling.decision.spans import INSTANT

_SLACK = 1e-9


def origins_at(foresight: Foreseen, work: Workload) -> IntArray:
    """The newest origin that is known at each step, as bins before it: shape (steps,)."""
    step = foresight.series.step
    offset = (work.begins_at - LATE - foresight.series.start) / STEP
    return ((offset + np.arange(len(work))) // (step / STEP)).astype(np.int64)


def peaks(foresight: Foreseen, work: Workload, ahead: timedelta, quantiles: tuple[float, ...]) -> FloatArray:
    """The highest value of each quantile in the bins that meet [step, step + ahead]: shape (steps, quantiles)."""
    origins = origins_at(foresight, work)
    width = foresight.series.step
    into = ((work.begins_at - foresight.series.start) / STEP + np.arange(len(work)) - origins * (width / STEP)).round()
    found = np.empty((len(work), len(quantiles)))
    rows = np.clip(origins - foresight.first, 0, len(foresight.values) - 1)
    for column, quantile in enumerate(quantiles):
        values = np.maximum(foresight.values @ np.array(weights_of(QUANTILES, quantile)), 0.0)
        for offset in np.unique(into):
            since = offset * STEP
            first = int(since // width)
            past_last = int(-(-(since + ahead + INSTANT) // width))
            which = into == offset
            window = values[rows[which], first : max(first + 1, min(past_last, values.shape[1]))]
            found[which, column] = window.max(axis=1)
    return found


def replicas(demand: FloatArray, per_replica: float, utilization: float) -> Counts:
    """Replicas that carry each demand, rounded up as the decision does it."""
    return np.ceil(demand / (per_replica * utilization) * (1 - _SLACK)).astype(np.int32)
