"""The demand that a replica serves at full utilization, by regression of demand on utilization, with an interval.

Demand of a replica over its utilization is a line. Its slope alone underestimates a replica that has some load without
any demand, so a line with an offset is used where the observations cover enough utilizations to determine it.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MIN_OBSERVATIONS: Final = 10
MAX_RELATIVE_ERROR: Final = 0.25
"""An estimate is trustworthy if its interval reaches at most this share of its value to either side."""
_BLOCKS = 5
_STUDENT_95 = 2.776
"""The 0.975 quantile of Student's distribution with one degree of freedom less than blocks."""
_OUTLIER_DEVIATIONS = 4.0
_MIN_INLIERS = 0.7
"""Share of observations that have to agree: with more outliers, it is not known which of them are."""
_NORMAL_MAD = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""
_MIN_SPREAD = 0.05
"""Standard deviation of utilization below which a line's offset is not determined."""
_MAX_OFFSET = 0.3
"""Highest plausible utilization without demand."""
_MIN_IMPROVEMENT = 0.3
"""Share of the squared error by which an offset has to improve the fit."""


class CapacityEstimate(NamedTuple):
    """Demand per replica at 100 % utilization, with its 95 % interval, in the unit of the demand."""

    value: float
    low: float
    high: float
    samples: int
    """Observations that it is based on, without outliers."""

    @property
    def is_trustworthy(self) -> bool:
        """Whether its interval is narrow."""
        return max(self.high - self.value, self.value - self.low) <= MAX_RELATIVE_ERROR * self.value


def estimate_capacity(utilization: Array, demand_per_replica: Array) -> CapacityEstimate | None:
    """Return the estimate from observations in order of time; None if fewer than MIN_OBSERVATIONS of them agree.

    utilization: fraction of a replica, above 0. demand_per_replica: demand over ready replicas, above 0; same shape.
    Observations follow each other closely, so their errors are not independent: the interval comes from the estimates
    of consecutive blocks, not from the number of observations.
    """
    kept = _inliers(demand_per_replica / utilization)
    used, demand = utilization[kept], demand_per_replica[kept]
    if len(used) < max(MIN_OBSERVATIONS, _MIN_INLIERS * len(utilization)):
        return None
    with_offset = _has_offset(used, demand)
    value = _at_full_load(used, demand, with_offset=with_offset)
    blocks = np.array(
        [
            # Each block is left out in turn: a block alone may not determine a line.
            _at_full_load(np.delete(used, block), np.delete(demand, block), with_offset=with_offset)
            for block in np.array_split(np.arange(len(used)), _BLOCKS)
        ]
    )
    # The jackknife: estimates that leave out one block each differ less than independent ones, by blocks - 1.
    error = _STUDENT_95 * float(np.sqrt((_BLOCKS - 1) / _BLOCKS * np.sum((blocks - blocks.mean()) ** 2)))
    return CapacityEstimate(value, max(0.0, value - error), value + error, len(used))


def _inliers(ratios: Array) -> npt.NDArray[np.bool_]:
    """Observations whose ratio is close to the median, in units of the median absolute deviation."""
    center = float(np.median(ratios))
    deviations = np.abs(ratios - center)
    scale = max(_NORMAL_MAD * float(np.median(deviations)), 1e-9 * center)
    return deviations <= _OUTLIER_DEVIATIONS * scale


def _has_offset(utilization: Array, demand: Array) -> bool:
    """Whether the observations determine a line with an offset, and it fits clearly better than one without."""
    if float(np.std(utilization)) < _MIN_SPREAD:
        return False
    slope, intercept = _line(utilization, demand)
    if slope <= 0 or not -_MAX_OFFSET * slope <= intercept <= 0:
        return False
    residuals = demand - (slope * utilization + intercept)
    through_origin = demand - _slope(utilization, demand) * utilization
    before, after = float(through_origin @ through_origin), float(residuals @ residuals)
    return after <= (1 - _MIN_IMPROVEMENT) * before


def _at_full_load(utilization: Array, demand: Array, *, with_offset: bool) -> float:
    if with_offset:
        slope, intercept = _line(utilization, demand)
        return max(0.0, slope + intercept)
    return _slope(utilization, demand)


def _line(utilization: Array, demand: Array) -> tuple[float, float]:
    """The slope and offset of the line with the smallest squared error; through the origin for equal utilizations."""
    centered = utilization - utilization.mean()
    squares = float(centered @ centered)
    if squares <= 0.0:
        return _slope(utilization, demand), 0.0
    slope = float(centered @ demand) / squares
    return slope, float(demand.mean()) - slope * float(utilization.mean())


def _slope(utilization: Array, demand: Array) -> float:
    """The slope of the line through the origin with the smallest squared error."""
    return float((utilization @ demand) / (utilization @ utilization))
