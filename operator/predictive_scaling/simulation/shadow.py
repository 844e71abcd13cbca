"""What mode Auto would have done against what happened, from the minutes that mode Recommend records. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.scaling.simulation_grid import Counts, ready_of
from forecasting.series import FloatArray
from predictive_scaling.simulation.outcomes import Outcome, outcome
from predictive_scaling.simulation.workload import STEP, Workload

MINUTE = timedelta(minutes=1)
UNOBSERVED = -1
"""The replicas of a minute that nobody observed."""
_MINUTE_STEPS = MINUTE // STEP


@dataclass(frozen=True, slots=True)
class RecordedMinutes:
    """Consecutive minutes of one target. All shapes (minutes,).

    demand: NaN where unknown. replicas, ready: of the target. auto_replicas: those that it would have had in mode Auto.
    The three are UNOBSERVED together.
    """

    begins_at: datetime
    demand: FloatArray
    replicas: Counts
    ready: Counts
    auto_replicas: Counts


@dataclass(frozen=True, slots=True)
class ShadowComparison:
    """What happened, and what mode Auto would have done, over the same covered minutes.

    covered: shape (minutes,), whether demand and replicas of the minute are known. auto_ready: shape (minutes,), the
    replicas that would have been ready; UNOBSERVED in minutes that are not covered.
    """

    covered: npt.NDArray[np.bool_]
    auto_ready: Counts
    actual: Outcome
    auto: Outcome


def replicas_under_floor(replicas: int, floor: int, *, is_scaled_directly: bool) -> int:
    """Return the replicas that a target would have had if the recommended floor had been written.

    An autoscaler's own recommendation is unknown below its minimum, so a floor below `replicas` changes nothing. A
    target that is scaled directly has as many replicas as the floor.
    """
    return floor if is_scaled_directly else max(replicas, floor)


def compare(
    minutes: RecordedMinutes, per_replica: float, lead_time: timedelta, judged_from: int = 0
) -> ShadowComparison:
    """Compare the minutes from index `judged_from` on; the earlier minutes say which replicas are ready by then.

    per_replica: demand that one ready replica serves, positive. In a gap the replicas stay as they were. The arithmetic
    of readiness and of shortage is that of the backtest and the tuner.
    """
    auto_ready = _auto_ready(minutes, -(-lead_time // MINUTE))[judged_from:]
    replicas, demand = minutes.replicas[judged_from:], minutes.demand[judged_from:]
    covered = (replicas != UNOBSERVED) & np.isfinite(demand)
    work = _workload(minutes.begins_at + judged_from * MINUTE, demand[covered])
    return ShadowComparison(
        covered,
        np.where(covered, auto_ready, UNOBSERVED).astype(np.int32),
        _outcome(work, replicas[covered], minutes.ready[judged_from:][covered], per_replica),
        _outcome(work, minutes.auto_replicas[judged_from:][covered], auto_ready[covered], per_replica),
    )


def _auto_ready(minutes: RecordedMinutes, start_minutes: int) -> Counts:
    """Return the replicas that would have been ready in mode Auto; valid in observed minutes.

    A replica that only Auto would have had is ready after the lead time. A replica that exists in both is ready where
    it was: pods that did not start in time would not have started under Auto either.
    """
    auto_ready = np.full(len(minutes.replicas), UNOBSERVED, np.int32)
    observed = np.flatnonzero(minutes.replicas != UNOBSERVED)
    if not len(observed):
        return auto_ready
    first = int(observed[0])
    newest = np.maximum.accumulate(np.where(minutes.replicas != UNOBSERVED, np.arange(len(auto_ready)), 0))[first:]
    both = np.stack((minutes.replicas[newest], minutes.auto_replicas[newest]), axis=1)
    initial = np.repeat(minutes.replicas[first], 2)
    started, auto_started = ready_of(both, start_minutes, initial).T
    ready = minutes.ready[newest]
    more = ready + np.maximum(auto_started - np.maximum(started, ready), 0)
    replicas, auto_replicas = both.T
    at_most = np.where(auto_replicas < replicas, np.minimum(more, auto_replicas), more)
    auto_ready[first:] = np.where(auto_started < started, np.minimum(ready, auto_started), at_most)
    return auto_ready


def _workload(begins_at: datetime, demand: FloatArray) -> Workload:
    steps = np.repeat(demand, _MINUTE_STEPS)
    age = np.zeros(len(steps), np.int64)
    return Workload(begins_at, steps, steps, np.ones(len(steps), np.bool_), age)


def _outcome(work: Workload, replicas: Counts, ready: Counts, per_replica: float) -> Outcome:
    return outcome(work, np.repeat(replicas, _MINUTE_STEPS), np.repeat(ready, _MINUTE_STEPS), per_replica)
