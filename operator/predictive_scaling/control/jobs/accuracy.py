"""How good the forecasts were, once their time had come (status.accuracy, model_performance; from there the API
makes `prediction_mape`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
import structlog

from forecasting.forecast import QUANTILES, Forecast
from forecasting.series import FloatArray
from predictive_scaling.clock import Clock
from predictive_scaling.control.current_forecasts import ForecastRequirement
from predictive_scaling.control.demand_window import BIN, MINUTE, DemandWindow, whole_minute
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.decision.forecast_floor import quantile_of
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import AccuracyStatus
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.storage.model_performance import ErrorSums, ModelPerformance, PolicyAccuracy, ScoredInterval

log = structlog.get_logger(__name__)

WINDOW = timedelta(hours=24)
EVERY = timedelta(minutes=15)
"""The interval of the clock whose target times are scored together, and the time between two passes."""
_LATE = timedelta(hours=3)
"""How long an interval without demand or forecasts is looked at again: samples and rows may be late."""
_MAX_OLDER = 3 * BIN
"""A forecast that is older than the lead time by more is not scored.

Only a few forecasts are kept to their end. A target time that no later forecast has, because their bins start at other
minutes, would be scored by a forecast made hours ahead, which was never used for it.
"""
_MAX_REFUSALS = 3
"""After so many policies in a row for which the database did not answer, the pass ends."""
_MAX_RATIO = 999_999.0
_ANY_TIME = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


class PredictionHistory(Protocol):
    """The part of storage.Predictions that is read here."""

    async def ahead(
        self, lead: timedelta, since: datetime, until: datetime, policy: tuple[str, str]
    ) -> Sequence[Prediction]:
        """For each target time, the last forecast made at least `lead` before it."""
        ...


class PerformanceTable(Protocol):
    """The part of storage.ModelPerformances that is used here."""

    async def record(self, rows: Sequence[ModelPerformance]) -> None:
        """Record scores; an interval of a policy that is scored already stays as it is."""
        ...

    async def scored(self, since: datetime) -> Sequence[ScoredInterval]:
        """The intervals from `since` on that are scored already."""
        ...

    async def by_policy(self, since: datetime, until: datetime) -> Sequence[PolicyAccuracy]:
        """Each policy's sums over the intervals within [since, until]."""
        ...


@dataclass(slots=True)
class Accuracy:
    """Scores each policy's forecasts interval by interval, each interval once, and sums up the last day."""

    predictions: PredictionHistory
    table: PerformanceTable
    window: DemandWindow
    states: PolicyStates
    clock: Clock
    _done: dict[PolicyKey, set[datetime]] = field(default_factory=dict[PolicyKey, set[datetime]])
    """The beginnings of the intervals of the window that are scored."""
    _is_loaded: bool = False

    async def run(self) -> None:
        """One pass over all policies that have forecasts. Raises DatabaseUnavailableError."""
        now, states = self.clock.now(), self.states.by_key()
        until = interval_of(whole_minute(now) - BIN)
        since = until - WINDOW
        await self._load(since, states)
        refusals = 0
        for key, state in states.items():
            try:
                await self._score(key, state, since, until, now)
                refusals = 0
            except DatabaseUnavailableError as error:
                refusals += 1
                log.warning("accuracy_not_scored", policy=str(key), error=str(error))
                if refusals >= _MAX_REFUSALS:
                    raise
            except Exception:  # a policy that cannot be scored affects no other
                log.exception("accuracy_not_scored", policy=str(key))
        for accuracy in await self.table.by_policy(since, until):
            state = states.get(PolicyKey(accuracy.namespace, accuracy.policy))
            if state is not None:
                state.note_accuracy(_status(accuracy))

    async def _load(self, since: datetime, keys: Collection[PolicyKey]) -> None:
        """Load the intervals that were scored before, and drop those outside the window."""
        if not self._is_loaded:
            for scored in await self.table.scored(since):
                self._done.setdefault(PolicyKey(scored.namespace, scored.policy), set()).add(scored.since)
            self._is_loaded = True
        self._done = {
            key: {begin for begin in done if begin >= since} for key, done in self._done.items() if key in keys
        }

    async def _score(self, key: PolicyKey, state: PolicyState, since: datetime, until: datetime, now: datetime) -> None:
        requirement, done = state.requirement, self._done.setdefault(key, set())
        missing = [begin for begin in _intervals(since, until) if begin not in done]
        if requirement is None or not missing:
            return
        lead = max(requirement.lead_time, BIN)
        predictions = await self.predictions.ahead(lead, missing[0], until, (key.namespace, key.name))
        by_interval: dict[datetime, list[Prediction]] = {}
        for point in predictions:
            if point.target_time - point.created_at > lead + _MAX_OLDER:
                continue
            by_interval.setdefault(interval_of(point.target_time), []).append(point)
        rows = [
            self._row(state, requirement, begin, by_interval[begin], now) for begin in missing if begin in by_interval
        ]
        rows = [row for row in rows if row.sums.samples]
        if rows:
            await self.table.record(rows)
        done.update(row.since for row in rows)
        done.update(begin for begin in missing if begin < until - _LATE)

    def _row(
        self,
        state: PolicyState,
        requirement: ForecastRequirement,
        begin: datetime,
        predictions: Sequence[Prediction],
        now: datetime,
    ) -> ModelPerformance:
        situation = state.situation
        quantile = quantile_of(situation)[0] if situation else requirement.policy.spec.forecast.effective_quantile
        pairs = [
            (actual, point)
            for point in predictions
            if (actual := self._actual(requirement, point.target_time)) is not None
        ]
        actuals = np.array([actual for actual, _ in pairs])
        values = np.array([[point.p10, point.p50, point.p80, point.p90, point.p95] for _, point in pairs])
        return ModelPerformance(
            created_at=now,
            model_name=predictions[-1].model_name,
            model_version=predictions[-1].model_version,
            service_name=requirement.policy.service,
            namespace=requirement.key.namespace,
            policy=requirement.key.name,
            since=begin,
            until=begin + EVERY,
            quantile=quantile,
            sums=score(actuals, values.reshape(-1, len(QUANTILES)), quantile),
        )

    def _actual(self, requirement: ForecastRequirement, at: datetime) -> float | None:
        minutes = self.window.minutes(requirement.series, at, at + BIN)
        observed = minutes[np.isfinite(minutes)]
        if len(observed) < BIN // MINUTE / 2 or (
            not requirement.policy.spec.demand.zero_is_valid and not observed.any()
        ):
            return None
        return float(observed.mean())


def score(actuals: FloatArray, values: FloatArray, quantile: float) -> ErrorSums:
    """The sums over target times. What is not finite is left out.

    actuals: shape (n,). values: shape (n, len(QUANTILES)), the forecasts. quantile: the quantile that the floor covers.
    """
    # Both are kept in single precision: a demand just as forecast is equal to its forecast.
    with np.errstate(over="ignore"):
        actuals, values = (array.astype(np.float32).astype(np.float64) for array in (actuals, values))
    finite = np.isfinite(actuals) & np.isfinite(values).all(axis=1)
    actuals, values = actuals[finite], values[finite]
    if not len(actuals):
        return ErrorSums()
    columns = {quantile: values[:, index] for index, quantile in enumerate(QUANTILES)}
    errors = columns[0.5] - actuals
    positive = actuals > 0
    chosen = Forecast("", _ANY_TIME, BIN, QUANTILES, values, "", "").at(quantile)
    with np.errstate(over="ignore"):
        relative = np.abs(errors[positive]) / actuals[positive]
        return ErrorSums(
            samples=len(actuals),
            absolute_error=float(np.abs(errors).sum()),
            error=float(errors.sum()),
            demand=float(actuals.sum()),
            relative_error=float(relative.sum()),
            relative_samples=int(positive.sum()),
            covered_p50=int((actuals <= columns[0.5]).sum()),
            covered_p80=int((actuals <= columns[0.8]).sum()),
            covered_p90=int((actuals <= columns[0.9]).sum()),
            covered_p95=int((actuals <= columns[0.95]).sum()),
            covered=int((actuals <= chosen).sum()),
        )


def interval_of(moment: datetime) -> datetime:
    """The beginning of the interval of the clock that a moment is in."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (moment - midnight) // EVERY * EVERY


def _intervals(since: datetime, until: datetime) -> list[datetime]:
    return [since + index * EVERY for index in range((until - since) // EVERY)]


def _status(accuracy: PolicyAccuracy) -> AccuracyStatus:
    sums = accuracy.sums
    return AccuracyStatus(
        wape=_rounded(sums.wape),
        mape=_rounded(sums.mape),
        coverage=_rounded(sums.chosen_coverage),
        quantile=accuracy.quantile,
        window=WINDOW,
    )


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else min(_MAX_RATIO, round(ratio, 4))
