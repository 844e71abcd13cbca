"""The hours in which a policy lost the most demand, and what it had forecast then."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.quantile_interpolation import quantile_weights
from predictive_scaling.backtesting.run import Backtest
from predictive_scaling.simulation.workload import STEP

_HOUR_STEPS = timedelta(hours=1) // STEP
_MINUTE_STEPS = timedelta(minutes=1) // STEP


@dataclass(frozen=True, slots=True)
class BadHour:
    """An hour with too few replicas.

    short_minutes, hpa_only_minutes: with the policy and with the HPA alone. needed, ready: replicas at `worst_at`.
    expected: the floor's quantile of the demand at `worst_at`, forecast one lead time before, in replicas. message: of
    the last decision before `worst_at`.
    """

    begins_at: datetime
    short_minutes: float
    hpa_only_minutes: float
    worst_at: datetime
    needed: float
    ready: int
    expected: float
    message: str


def worst_hours(backtest: Backtest, limit: int = 6) -> list[BadHour]:
    """Return at most `limit` hours with the most lost demand, worst first."""
    work, per_replica = backtest.work, backtest.scenario.per_replica
    missing = np.maximum(work.demand - backtest.replayed.ready * per_replica, 0.0) * work.observed
    hours = -(-len(work) // _HOUR_STEPS)
    lost = np.zeros(hours * _HOUR_STEPS)
    lost[: len(missing)] = missing
    by_hour = lost.reshape(hours, _HOUR_STEPS).sum(axis=1)
    worst = [int(at) for at in np.argsort(-by_hour, kind="stable")[:limit] if by_hour[at] > 0]
    return [_bad_hour(backtest, missing, at * _HOUR_STEPS) for at in worst]


def _bad_hour(backtest: Backtest, missing: np.ndarray[tuple[int], np.dtype[np.float64]], first: int) -> BadHour:
    work, per_replica = backtest.work, backtest.scenario.per_replica
    hour = slice(first, first + _HOUR_STEPS)
    hpa_only = work.demand[hour] - backtest.hpa_replayed.ready[hour, 0] * per_replica
    worst = first + int(np.argmax(missing[hour]))
    last = next((change for change in reversed(backtest.replayed.changes) if change.step <= worst), None)
    return BadHour(
        begins_at=work.at(first),
        short_minutes=float((missing[hour] > 0).sum() / _MINUTE_STEPS),
        hpa_only_minutes=float(((hpa_only > 0) & work.observed[hour]).sum() / _MINUTE_STEPS),
        worst_at=work.at(worst),
        needed=float(work.demand[worst] / per_replica),
        ready=int(backtest.replayed.ready[worst]),
        expected=_expected(backtest, worst) / per_replica,
        message=last.message if last else "There was no decision before.",
    )


def _expected(backtest: Backtest, step: int) -> float:
    """Return the demand that was forecast for a step one lead time before it, when a raise would have been in time."""
    forecasts, width = backtest.forecasts, backtest.series.step
    moment = backtest.work.at(step)
    origin = (moment - backtest.scenario.lead_time - width - forecasts.series.start) // width
    ahead = (moment - forecasts.moment(origin)) // width
    row = forecasts.values[max(0, origin - forecasts.first), min(ahead, forecasts.values.shape[1] - 1)]
    quantile = backtest.scenario.policy.spec.forecast.effective_quantile
    return quantile_weights(QUANTILES, quantile).of(row.tolist())
