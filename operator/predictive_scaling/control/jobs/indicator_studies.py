"""Studies whether the leading indicators of each policy help, on repeated forecasts of its last days."""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import structlog
from prometheus_client import Counter

from forecasting.leading import Indicator, IndicatorStudy, PastForecasts, study_indicators
from forecasting.panel import DAY, IntArray
from forecasting.series import Series
from predictive_scaling.clock import Clock, has_elapsed, monotonic
from predictive_scaling.control.current_forecasts import Forecaster
from predictive_scaling.control.leading_indicators import LeadingIndicators, Studied
from predictive_scaling.control.namespace_turns import NamespaceTurns
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.serving.model_store import ForecastRequest

log = structlog.get_logger(__name__)

STUDIES = Counter("predictive_scaling_regressor_studies_total", "Studies of the leading indicators of a policy.")

HISTORY, STUDIED_DAYS = 2 * DAY, 5 * DAY
"""Demand that the first repeated forecast has at least, and the days over which forecasts are repeated."""
_STRIDE = timedelta(minutes=15)
_INTERVAL, _RETRY = timedelta(hours=6), timedelta(minutes=10)
_REST = 4.0
"""Pause after a study, as a multiple of its length, so that studies use at most a fifth of a core."""
_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")


@dataclass(slots=True)
class IndicatorStudies:
    """Studies the policies with leading indicators in turns, one at a time, in a thread."""

    forecaster: Forecaster
    indicators: LeadingIndicators
    clock: Clock
    rest: float = _REST
    _turns: NamespaceTurns = field(default_factory=NamespaceTurns)
    _tried: dict[PolicyKey, datetime] = field(default_factory=dict[PolicyKey, datetime])
    _rested_at: float = 0.0

    async def run(self) -> None:
        """Study the most urgent policy, if one is due."""
        now, waiting = self.clock.now(), self.indicators.to_study()
        self._tried = {key: at for key, at in self._tried.items() if key in waiting and at <= now}
        due = [
            (studied.at if studied else _NEVER, key) for key, (_, studied) in waiting.items() if self._is_due(key, now)
        ]
        if not due or monotonic() < self._rested_at:
            return
        _, key = self._turns.order(sorted(due), lambda entry: entry[1].namespace)[0]
        self._turns.take([key.namespace])
        self._tried[key] = now
        began = monotonic()
        try:
            await self._study(key, waiting[key][0], now)
        except Exception:  # a policy that cannot be studied delays no other
            log.exception("regressor_study_failed", policy=str(key))
        finally:
            self._rested_at = monotonic() + self.rest * (monotonic() - began)

    def _is_due(self, key: PolicyKey, now: datetime) -> bool:
        current = self.indicators.current(key)
        if not current or not has_elapsed(_RETRY, self._tried.get(key, _NEVER), now):
            return False
        studied = self.indicators.usable_study(key)
        if studied is None or has_elapsed(_INTERVAL, studied.at, now):
            return True
        delays = {regressor.key: delay for regressor, delay in studied.regressors}
        return delays.keys() != {regressor.key for regressor, _ in current} or any(
            delay > delays[regressor.key] for regressor, delay in current
        )

    async def _study(self, key: PolicyKey, request: ForecastRequest, now: datetime) -> None:
        regressors = self.indicators.current(key)
        # The window of demand changes only in the event loop; the thread works on copies.
        series = self.indicators.indicators(request.series, regressors)
        study = await asyncio.to_thread(repeated_study, self.forecaster, request, series)
        self.indicators.put(key, Studied(now, request, regressors, study))
        STUDIES.inc()
        findings = {finding.name: f"{finding.use}: {finding.evidence}" for finding in study.findings}
        log.info("regressors_studied", policy=str(key), findings=findings)


def repeated_study(forecaster: Forecaster, request: ForecastRequest, indicators: Sequence[Indicator]) -> IndicatorStudy:
    """Repeat the forecasts of the last days with the models in use, and study the indicators on them.

    The models may have been trained on these days; their errors are then too small, and with them what is left for an
    indicator to explain: it is judged more strictly, not less.
    """
    series = request.series
    origins = _origins(series)
    requests: dict[Hashable, ForecastRequest] = {
        int(origin): replace(request, series=replace(series, values=series.values[:origin]), is_past=True)
        for origin in origins
    }
    forecasts = forecaster.forecast(requests) if requests else {}
    made = [int(origin) for origin in origins if int(origin) in forecasts]
    peaks = [forecasts[origin].peaks for origin in made]
    if not made or any(rows is None for rows in peaks):
        made, peaks = [], []
    steps = request.steps
    past = PastForecasts.of(
        series,
        np.array(made, dtype=np.int64),
        np.array([forecasts[origin].values for origin in made]).reshape(len(made), steps, -1),
        np.array(peaks).reshape(len(made), -1, 4),
    )
    return study_indicators(past, indicators)


def _origins(series: Series) -> IntArray:
    """Return the origins that are repeated, in bins."""
    stride = max(1, round(_STRIDE / series.step))
    first = max(round(HISTORY / series.step), len(series.values) - round(STUDIED_DAYS / series.step))
    return np.arange(first, len(series.values), stride)
