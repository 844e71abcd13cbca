"""The demand of a simulation, every 15 seconds, and the delay with which autoscalers observe it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.series import FloatArray, Series

STEP = timedelta(seconds=15)
METRIC_DELAY = timedelta(minutes=1)
"""Age of the metric that the HPA reads and of the newest data of a forecast."""
METRIC_DELAY_STEPS = METRIC_DELAY // STEP
_QUANTILE_OF_FULL, _REPLICAS_OF_FULL = 0.999, 20
"""Assumed capacity if the policy states none: the 99.9th percentile of demand needs 20 replicas at the HPA target."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Demand over a span of time.

    begins_at: time of the first step. demand, metric: shape (steps,), finite; metric is the delayed demand that the HPA
    reads. observed: shape (steps,), False in gaps of the trace, which are not judged. age_steps: shape (steps,), age of
    the newest sample at each step.
    """

    begins_at: datetime
    demand: FloatArray
    metric: FloatArray
    observed: npt.NDArray[np.bool_]
    age_steps: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.demand)

    def at(self, step: int) -> datetime:
        """Return the time of a step."""
        return self.begins_at + step * STEP

    @property
    def hours(self) -> float:
        """Duration in hours."""
        return len(self) * (STEP / timedelta(hours=1))


def workload(truth: Series, begins_at: datetime, ends_at: datetime) -> Workload:
    """Return the demand of [begins_at, ends_at), interpolated linearly between the middles of the bins of `truth`.

    In a gap, demand keeps its last value. begins_at must not be before the first observed bin.
    """
    steps = (ends_at - begins_at) // STEP
    bin_steps = truth.step / STEP
    offset = (begins_at - truth.start) / STEP
    observed_bins = np.flatnonzero(np.isfinite(truth.values))
    # Begin METRIC_DELAY earlier, because the metric of the first step is that old.
    at = offset + np.arange(-METRIC_DELAY_STEPS, steps) + 0.5
    bins = np.clip((at / bin_steps).astype(np.int64), 0, len(truth.values) - 1)
    observed = np.isfinite(truth.values)[bins]
    interpolated = np.interp(at, (observed_bins + 0.5) * bin_steps, truth.values[observed_bins])
    demand = _forward_filled(interpolated, observed)
    last_observed = np.maximum.accumulate(np.where(observed, np.arange(len(at)), -1))
    age = np.arange(METRIC_DELAY_STEPS, len(at)) - last_observed[:-METRIC_DELAY_STEPS]
    return Workload(
        begins_at, demand[METRIC_DELAY_STEPS:], demand[:-METRIC_DELAY_STEPS], observed[METRIC_DELAY_STEPS:], age
    )


def learned_capacity(past: Series, target: float) -> float:
    """Return the demand that one replica serves at 100 % utilization, for a policy that does not state it.

    past: the demand before the replay, with at least one bin above zero. target: of the HPA, a fraction.
    """
    full = float(np.nanquantile(past.values, _QUANTILE_OF_FULL)) or float(np.nanmax(past.values))
    return full / (_REPLICAS_OF_FULL * target)


def _forward_filled(values: FloatArray, observed: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the values with each gap filled with the last observed value."""
    last_observed = np.maximum.accumulate(np.where(observed, np.arange(len(values)), 0))
    return values[last_observed]
