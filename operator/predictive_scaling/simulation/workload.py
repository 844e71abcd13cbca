"""Demand as a simulation sees it: every 15 seconds, and how late everyone learns of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.series import FloatArray, Series

STEP = timedelta(seconds=15)
LATE = timedelta(minutes=1)
"""The metric that an autoscaler acts on is a minute old; so is what a forecast is made from."""
LATE_STEPS = LATE // STEP
_QUANTILE_OF_FULL, _REPLICAS_OF_FULL = 0.999, 20
"""With nothing to learn from: the 99.9th percentile of the series needs 20 replicas at the reactive target."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A stretch of demand.

    begins_at: the first step. demand, metric: shape (steps,), finite; metric is what an HPA sees. observed: shape
    (steps,), False where the trace has a gap: nobody is judged there. age_steps: shape (steps,), how long before
    each step the newest sample was taken.
    """

    begins_at: datetime
    demand: FloatArray
    metric: FloatArray
    observed: npt.NDArray[np.bool_]
    age_steps: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.demand)

    def at(self, step: int) -> datetime:
        """When a step is."""
        return self.begins_at + step * STEP

    @property
    def hours(self) -> float:
        """How long it takes."""
        return len(self) * (STEP / timedelta(hours=1))


def workload(truth: Series, begins_at: datetime, ends_at: datetime) -> Workload:
    """The demand of [begins_at, ends_at): a straight line between the middles of the bins of `truth`.

    In a gap it goes on as it was. begins_at must not lie before the first observed bin.
    """
    steps = (ends_at - begins_at) // STEP
    wide = truth.step / STEP
    offset = (begins_at - truth.start) / STEP
    seen = np.flatnonzero(np.isfinite(truth.values))
    # From a while before, as the metric is late.
    at = offset + np.arange(-LATE_STEPS, steps) + 0.5
    cells = np.clip((at / wide).astype(np.int64), 0, len(truth.values) - 1)
    observed = np.isfinite(truth.values)[cells]
    line = np.interp(at, (seen + 0.5) * wide, truth.values[seen])
    demand = _held(line, observed)
    last = np.maximum.accumulate(np.where(observed, np.arange(len(at)), -1))
    age = np.arange(LATE_STEPS, len(at)) - last[:-LATE_STEPS]
    return Workload(begins_at, demand[LATE_STEPS:], demand[:-LATE_STEPS], observed[LATE_STEPS:], age)


def learned_capacity(past: Series, target: float) -> float:
    """Demand that one replica serves at 100 %, where the policy does not state it. target: the HPA's, a fraction.

    past: what was known when the replay begins; at least one bin above zero.
    """
    full = float(np.nanquantile(past.values, _QUANTILE_OF_FULL)) or float(np.nanmax(past.values))
    return full / (_REPLICAS_OF_FULL * target)


def _held(values: FloatArray, observed: npt.NDArray[np.bool_]) -> FloatArray:
    """Each gap filled with what came before it."""
    last = np.maximum.accumulate(np.where(observed, np.arange(len(values)), 0))
    return values[last]
