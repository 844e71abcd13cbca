"""The leading indicators of policies: forecasts are corrected by them where a study found that they help.

A forecast without them is always there. It is in use whenever an indicator is late, has gaps, or was not judged yet.
"""

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from forecasting.binning import bin_means
from forecasting.forecast import Forecast
from forecasting.leading import Correction, Indicator, IndicatorStudy, Use
from forecasting.series import Series
from predictive_scaling.control.demand_window import MINUTE, DemandWindow
from predictive_scaling.resources.conditions import format_time
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.regressor import Regressor
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.resources.statuses import RegressorStatus
from predictive_scaling.resources.vocabulary import RegressorState
from predictive_scaling.serving.model_store import ForecastRequest

log = structlog.get_logger(__name__)

_OBSERVED_DELAYS = 60
MAX_DELAY = timedelta(minutes=30)
"""An indicator whose samples arrive later than this is not used."""
_NOT_JUDGED = "is not judged yet; the forecasts of the last days are repeated for it within a few minutes"
_WITHOUT = "the forecast without it is in use"
_NO_SUGGESTION = "check the names, and whether its producer runs"

Suggest = Callable[[str, str, str], str | None]
"""Returns the nearest recorded series to a namespace's service and metric, as a clause; None without one."""


def no_suggestion(namespace: str, service: str, metric: str) -> str | None:
    """Return None: no series is known."""
    del namespace, service, metric


@dataclass(frozen=True, slots=True)
class Studied:
    """A study of the indicators of a policy.

    request: the forecast that it was made for. regressors: those that were judged, with the delay of their samples
    that was assumed; others had no current samples.
    """

    at: datetime
    request: ForecastRequest
    regressors: tuple[tuple[Regressor, timedelta], ...]
    study: IndicatorStudy

    def fits(self, policy: ScalingPolicy, request: ForecastRequest) -> bool:
        """Whether it was made for the policy as it is, and for forecasts of this kind."""
        return (
            all(regressor in policy.spec.forecast.regressors for regressor, _ in self.regressors)
            and (self.request.key, self.request.choice, self.request.series.step)
            == (request.key, request.choice, request.series.step)
            and self.request.steps >= request.steps
        )


@dataclass(slots=True)
class _Policy:
    """What is known of the indicators of a policy. request: of its newest forecast."""

    policy: ScalingPolicy
    request: ForecastRequest
    delays: dict[SeriesKey, deque[timedelta]] = field(default_factory=dict[SeriesKey, deque[timedelta]])
    studied: Studied | None = None
    stale: dict[SeriesKey, str] = field(default_factory=dict[SeriesKey, str])
    """Why the newest forecast could not use an indicator."""
    applied: frozenset[SeriesKey] = frozenset()
    """Those that are part of the newest forecast."""


class LeadingIndicators:
    """Those of all policies."""

    def __init__(self, window: DemandWindow, suggest: Suggest = no_suggestion) -> None:
        self._window = window
        self._suggest = suggest
        self._policies: dict[PolicyKey, _Policy] = {}

    def corrected(self, policy: ScalingPolicy, request: ForecastRequest, forecast: Forecast) -> Forecast:
        """Return the forecast with what the indicators of the policy add; the same one where they add nothing."""
        if not policy.spec.forecast.regressors:
            self._policies.pop(policy.key, None)
            return forecast
        known = self._policies.setdefault(policy.key, _Policy(policy, request))
        known.policy, known.request, known.applied = policy, request, frozenset()
        self._observe_delays(known, forecast.origin)
        studied = self.usable_study(policy.key)
        if studied is None or studied.study.correction is None:
            return forecast
        used = [
            (regressor, delay)
            for (regressor, delay), finding in zip(studied.regressors, studied.study.findings, strict=True)
            if finding.use is Use.USED
        ]
        if any(regressor.key in known.stale or known.delays[regressor.key][-1] > delay for regressor, delay in used):
            return forecast
        return self._applied(known, studied.study.correction, used, forecast) or forecast

    def indicators(self, series: Series, regressors: Collection[tuple[Regressor, timedelta]]) -> list[Indicator]:
        """Return the indicators on the bins of a series of demand. regressors: with the delay of their samples."""
        return [self._indicator(series, regressor, delay) for regressor, delay in regressors]

    def to_study(self) -> dict[PolicyKey, tuple[ForecastRequest, Studied | None]]:
        """Return the newest request and the newest study of each policy with indicators."""
        return {key: (known.request, known.studied) for key, known in dict(self._policies).items()}

    def usable_study(self, key: PolicyKey) -> Studied | None:
        """Return the newest study of a policy if it is still about its forecasts and indicators."""
        known = self._policies.get(key)
        studied = known.studied if known is not None else None
        return (
            studied if known is not None and studied is not None and studied.fits(known.policy, known.request) else None
        )

    def current(self, key: PolicyKey) -> tuple[tuple[Regressor, timedelta], ...]:
        """Return the indicators of a policy that have current samples, with the delay with which these arrive."""
        known = self._policies[key]
        delays, stale = known.delays, known.stale
        return tuple(
            (regressor, max(delays[regressor.key]))
            for regressor in known.policy.spec.forecast.regressors
            if regressor.key in delays and regressor.key not in stale
        )

    def put(self, key: PolicyKey, studied: Studied) -> None:
        """Store a newer study."""
        if key in self._policies:
            self._policies[key].studied = studied

    def statuses(self, policy: ScalingPolicy) -> tuple[RegressorStatus, ...]:
        """Return what becomes of each indicator of a policy."""
        known = self._policies.get(policy.key)
        return tuple(self._status(known, regressor) for regressor in policy.spec.forecast.regressors)

    def forget(self, kept: Collection[PolicyKey]) -> None:
        """Drop deleted policies."""
        for gone in dict(self._policies).keys() - set(kept):
            del self._policies[gone]

    def _indicator(self, series: Series, regressor: Regressor, delay: timedelta) -> Indicator:
        minutes = self._window.minutes(regressor.key, series.start - delay, series.end - delay)
        values = bin_means(minutes, series.step // MINUTE)
        name = f"{regressor.metric} of {regressor.service}"
        return Indicator(name, values, max(1, (regressor.max_lag - delay) // series.step), delay)

    def _observe_delays(self, known: _Policy, origin: datetime) -> None:
        """Note how late the newest sample of each indicator is, and which of them are stale."""
        delays: dict[SeriesKey, deque[timedelta]] = {}
        stale: dict[SeriesKey, str] = {}
        for regressor in known.policy.spec.forecast.regressors:
            newest = self._window.newest(regressor.key, zero_is_valid=True)
            observed = known.delays.get(regressor.key, deque(maxlen=_OBSERVED_DELAYS))
            if newest is None:
                stale[regressor.key] = self._missing(known.policy, regressor)
            elif origin - newest.at > min(MAX_DELAY, regressor.max_lag - known.request.series.step):
                stale[regressor.key] = f"has no sample since {format_time(newest.at)}; {_WITHOUT}"
                delays[regressor.key] = observed
            else:
                observed.append(max(timedelta(), origin - newest.at))
                delays[regressor.key] = observed
        # Assigned at once: the event loop reads them for statuses while a batch of forecasts is corrected in a thread.
        known.delays, known.stale = {key: observed for key, observed in delays.items() if observed}, stale

    def _missing(self, policy: ScalingPolicy, regressor: Regressor) -> str:
        hint = self._suggest(policy.metadata.namespace, regressor.service, regressor.metric) or _NO_SUGGESTION
        return f"has no samples in the last days; {hint}"

    def _applied(
        self, known: _Policy, correction: Correction, used: list[tuple[Regressor, timedelta]], forecast: Forecast
    ) -> Forecast | None:
        demand = known.request.series
        corrected = correction.apply(forecast, demand, self.indicators(demand, used))
        if corrected is None:
            known.stale = known.stale | {
                regressor.key: f"has gaps in its newest samples; {_WITHOUT}" for regressor, _ in used
            }
        else:
            known.applied = frozenset(regressor.key for regressor, _ in used)
        return corrected

    def _status(self, known: _Policy | None, regressor: Regressor) -> RegressorStatus:
        status = RegressorStatus(
            service=regressor.service, metric=regressor.metric, state=RegressorState.WAITING, message=_NOT_JUDGED
        )
        if known is None or known.policy.spec.forecast.regressors.count(regressor) == 0:
            return status
        delays, stale = known.delays, known.stale
        if regressor.key in stale:
            return status.model_copy(update={"state": RegressorState.STALE, "message": stale[regressor.key]})
        studied = self.usable_study(known.policy.key)
        judged = [other for other, _ in studied.regressors] if studied is not None else []
        if studied is None or regressor not in judged:
            return status
        at = judged.index(regressor)
        finding, delay = studied.study.findings[at], studied.regressors[at][1]
        if finding.use is Use.TOO_SHORT:
            return status.model_copy(update={"message": finding.evidence})
        if finding.use is not Use.USED:
            return status.model_copy(update={"state": RegressorState.REJECTED, "message": finding.evidence})
        used = {"runs_ahead": finding.ahead, "message": finding.evidence}
        if regressor.key in delays and delays[regressor.key][-1] > delay:
            late = "its samples arrive later than when it was judged; it is judged again with this delay"
            return status.model_copy(update={**used, "state": RegressorState.STALE, "message": late})
        if regressor.key not in known.applied:
            return status.model_copy(
                update={**used, "message": f"{finding.evidence}; in use from the next forecast on"}
            )
        return status.model_copy(update={**used, "state": RegressorState.IN_USE})
