"""The current forecast of each policy, by the fallback chain, and the baselines that events multiply."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import numpy as np
import structlog

from forecasting.context import KnownEvent
from forecasting.events import Effects, LearnedEffect
from forecasting.forecast import QUANTILES, Forecast
from forecasting.forecaster import ModelChoice
from predictive_scaling.clock import has_elapsed
from predictive_scaling.control.demand_window import BIN, MINUTE, DemandWindow, whole_minute
from predictive_scaling.control.leading_indicators import LeadingIndicators
from predictive_scaling.decision.events.occurrences import known_event
from predictive_scaling.decision.events.windows import EventWindow
from predictive_scaling.decision.forecast_context import forecast_context
from predictive_scaling.decision.inputs import CurrentForecast, EventBaseline, ForecastSource
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.model_store import ForecastRequest

log = structlog.get_logger(__name__)

_STEPS = 36
_BINS = (BIN, 3 * BIN, 12 * BIN)
_WEEK = timedelta(days=7)


BaseName = tuple[PolicyKey, str, datetime]
"""A policy, an event and the start of one of its occurrences."""
EffectsOf = Callable[[SeriesKey], Effects | None]


def nothing_learned(key: SeriesKey) -> Effects | None:
    """Return None: nothing was learned of any series."""
    del key
    return None


class _Preview(NamedTuple):
    """Names a forecast of what would come but for an occurrence, renewed until that begins to act."""

    of: BaseName


class Forecaster(Protocol):
    """Forecasts in one batch: serving.model_store.ModelStore."""

    def forecast(self, requests: Mapping[Hashable, ForecastRequest], /) -> dict[Hashable, Forecast]:
        """Return one forecast for each name. CPU-bound."""
        ...


@dataclass(frozen=True, slots=True)
class ForecastRequirement:
    """The forecast that a policy needs."""

    policy: ScalingPolicy
    lead_time: timedelta
    occurrences: tuple[EventWindow, ...] = ()
    known: tuple[KnownEvent, ...] = ()
    """The events that its forecasts know of."""

    @property
    def key(self) -> PolicyKey:
        """The policy."""
        return self.policy.key

    @property
    def series(self) -> SeriesKey:
        """The demand that it scales by."""
        return series_key(self.policy)

    @property
    def read(self) -> tuple[SeriesKey, ...]:
        """The series that its forecasts read: the demand and the leading indicators."""
        return (self.series, *(regressor.key for regressor in self.policy.spec.forecast.regressors))


@dataclass(frozen=True, slots=True)
class StoredForecast:
    """A forecast of a policy from a batch."""

    requirement: ForecastRequirement
    forecast: Forecast
    valid_until: datetime


class ForecastProvider:
    """The newest forecast of each policy. `refresh` is slow and concurrent; all else reads memory."""

    def __init__(
        self,
        forecaster: Forecaster,
        window: DemandWindow,
        *,
        refresh: timedelta,
        metrics_max_age: timedelta,
        effects: EffectsOf = nothing_learned,
        indicators: LeadingIndicators | None = None,
    ) -> None:
        """effects: what was learned of the events of a series. indicators: by which forecasts are corrected."""
        self.indicators = indicators or LeadingIndicators(window)
        self._forecaster = forecaster
        self._window = window
        self._refresh = refresh
        self.margin = max(refresh, BIN)
        """How much further than the lead time a floor looks, here and in simulations."""
        self._max_age = metrics_max_age
        self._effects = effects
        self._made: dict[PolicyKey, tuple[SeriesKey, ModelChoice, datetime, StoredForecast]] = {}
        self._bases: dict[BaseName, Forecast] = {}
        self._previews: dict[BaseName, Forecast] = {}
        self._attempted: set[BaseName] = set()
        """Bases that were requested at least once."""

    def due(self, requirements: Collection[ForecastRequirement], now: datetime) -> list[ForecastRequirement]:
        """Those whose forecast is older than the refresh interval, or that lack a base for an event."""
        return [
            requirement
            for requirement in requirements
            if self._is_due(requirement, now) or self._missing_bases(requirement, now)
        ]

    async def refresh(self, requirements: Collection[ForecastRequirement], now: datetime) -> list[StoredForecast]:
        """Forecast the due requirements in one batch, in a thread. Return new forecasts without event baselines."""
        requests: dict[Hashable, ForecastRequest] = {}
        for requirement in requirements:
            try:
                requests |= self._requests(requirement, now)
            except Exception:  # a failure of one policy affects no other
                log.exception("forecast_not_requested", policy=str(requirement.key))
        by_key = {requirement.key: requirement for requirement in requirements}
        try:
            forecasts = await asyncio.to_thread(self._corrected_forecasts, requests, by_key) if requests else {}
        finally:
            for requirement in requirements:
                self._attempted.update(self._missing_bases(requirement, now))
        stored: list[StoredForecast] = []
        for name, forecast in forecasts.items():
            if isinstance(name, PolicyKey):
                stored.append(self._store(by_key[name], forecast, now))
            elif isinstance(name, _Preview):
                self._previews[name.of] = forecast
            elif isinstance(name, tuple):
                self._bases[name] = forecast
        return stored

    def _requests(self, requirement: ForecastRequirement, now: datetime) -> dict[Hashable, ForecastRequest]:
        requested = self._baseline_requests(requirement, now)
        fresh = self._request(requirement, now) if self._is_due(requirement, now) else None
        if fresh is None:
            return requested
        return requested | {requirement.key: fresh} | self._preview_requests(requirement, now)

    def _corrected_forecasts(
        self, requests: Mapping[Hashable, ForecastRequest], by_key: Mapping[PolicyKey, ForecastRequirement]
    ) -> dict[Hashable, Forecast]:
        """Forecast a batch, and correct the forecasts of policies with leading indicators."""
        forecasts = self._forecast(requests)
        for key, requirement in by_key.items():
            if key in forecasts:
                try:
                    forecasts[key] = self.indicators.corrected(requirement.policy, requests[key], forecasts[key])
                except Exception:  # the forecast without them is used; no other policy is affected
                    log.exception("regressors_not_used", policy=str(key))
        return forecasts

    def _forecast(self, requests: Mapping[Hashable, ForecastRequest]) -> dict[Hashable, Forecast]:
        """Forecast a batch. If that fails, forecast its halves, so that only the failing series are missing."""
        try:
            return self._forecaster.forecast(requests)
        except Exception:  # a series that fails must not prevent the forecasts of others
            if len(requests) == 1:
                log.exception("forecast_failed", series=str(next(iter(requests.values())).key))
                return {}
        names = list(requests)
        halves = names[: len(names) // 2], names[len(names) // 2 :]
        return {
            name: forecast
            for half in halves
            for name, forecast in self._forecast({n: requests[n] for n in half}).items()
        }

    def current(self, requirement: ForecastRequirement, now: datetime) -> CurrentForecast | None:
        """Return the best available forecast: a new one, the last valid one, or the same time last week."""
        kept = self._made.get(requirement.key)
        if kept is not None and kept[0] == requirement.series:
            _, _, made_at, stored = kept
            if made_at - BIN <= now < stored.valid_until:
                fresh = now - made_at < 2 * self._refresh + BIN and self._is_fresh(requirement, now)
                return CurrentForecast(
                    stored.forecast, stored.valid_until, ForecastSource.FRESH if fresh else ForecastSource.LAST
                )
        return self._same_time_last_week(requirement, now)

    def baselines(self, requirement: ForecastRequirement, now: datetime) -> tuple[EventBaseline, ...]:
        """The event windows that act on the policy, each with the forecast made before it began to act."""
        pending = self._missing_bases(requirement, now).keys() - self._attempted
        return tuple(
            EventBaseline(
                window,
                self._baseline(requirement, window),
                self._learned(requirement, window),
                is_pending=_name(requirement, window) in pending,
            )
            for window in requirement.occurrences
            if now < window.span.end
        )

    def forget(self, policies: Collection[PolicyKey], now: datetime) -> None:
        """Drop forecasts of deleted policies and of events that ended long ago."""
        self.indicators.forget(policies)
        for gone in self._made.keys() - set(policies):
            del self._made[gone]
        for kept in (self._bases, self._previews):
            for name in [name for name in kept if name[0] not in policies or name[2] < now - _WEEK]:
                del kept[name]
        self._attempted = {name for name in self._attempted if name[0] in policies and name[2] >= now - _WEEK}

    def _is_due(self, requirement: ForecastRequirement, now: datetime) -> bool:
        kept = self._made.get(requirement.key)
        if kept is None:
            return True
        series, choice, made_at, _ = kept
        return (
            series != requirement.series
            or choice is not requirement.policy.spec.forecast.model
            or has_elapsed(self._refresh, made_at, now)
        )

    def _missing_bases(self, requirement: ForecastRequirement, now: datetime) -> dict[BaseName, EventWindow]:
        """The event windows that act on the policy and have no base, by its name."""
        return {
            name: window
            for window in requirement.occurrences
            if window.acts_from(requirement.lead_time) <= now
            and (name := _name(requirement, window)) not in self._bases
        }

    def _baseline(self, requirement: ForecastRequirement, window: EventWindow) -> Forecast | None:
        name = _name(requirement, window)
        base = self._bases.get(name) or (self._previews.get(name) if self._learned(requirement, window) else None)
        if base is not None:
            return base
        # Until the event acts and its baseline was made, a forecast without its effect is used.
        kept = self._made.get(requirement.key)
        usable = (
            kept is not None
            and kept[0] == requirement.series
            and kept[3].forecast.origin <= window.acts_from(requirement.lead_time)
        )
        return kept[3].forecast if kept is not None and usable else None

    def _is_fresh(self, requirement: ForecastRequirement, now: datetime) -> bool:
        newest = self._window.newest(requirement.series, zero_is_valid=requirement.policy.spec.demand.zero_is_valid)
        return newest is not None and now - newest.at <= self._max_age

    def _request(self, requirement: ForecastRequirement, now: datetime) -> ForecastRequest | None:
        if not self._is_fresh(requirement, now):
            return None
        spec = requirement.policy.spec
        nodes = spec.node_headroom.lead_time if spec.node_headroom else timedelta()
        reach = requirement.lead_time + nodes + self.margin + self._refresh + self._max_age
        span = max(reach, min(spec.forecast.horizon + self._max_age, _STEPS * BIN))
        return self._make_request(requirement, None, span)

    def _baseline_requests(self, requirement: ForecastRequirement, now: datetime) -> dict[Hashable, ForecastRequest]:
        requests = {
            name: self._make_request(
                requirement,
                window.acts_from(requirement.lead_time),
                window.span.end - window.acts_from(requirement.lead_time) + BIN,
                _known(window),
            )
            for name, window in self._missing_bases(requirement, now).items()
        }
        return {name: request for name, request in requests.items() if request is not None}

    def _preview_requests(self, requirement: ForecastRequirement, now: datetime) -> dict[Hashable, ForecastRequest]:
        """Request forecasts without the events that are about to act, where their effect was learned."""
        requests = {
            _Preview(_name(requirement, window)): self._make_request(
                requirement, None, window.span.end - now + BIN, _known(window)
            )
            for window in requirement.occurrences
            if now < window.acts_from(requirement.lead_time) and self._learned(requirement, window) is not None
        }
        return {name: request for name, request in requests.items() if request is not None}

    def _learned(self, requirement: ForecastRequirement, window: EventWindow) -> LearnedEffect | None:
        effects = self._effects(requirement.series)
        return effects.learned_effect(_known(window), forecast_context(requirement.policy).zone) if effects else None

    def _make_request(
        self,
        requirement: ForecastRequirement,
        until: datetime | None,
        span: timedelta,
        without: KnownEvent | None = None,
    ) -> ForecastRequest | None:
        step = next((step for step in _BINS if _STEPS * step >= span), _BINS[-1])
        zero_is_valid = requirement.policy.spec.demand.zero_is_valid
        series = self._window.series(requirement.series, until=until, step=step, zero_is_valid=zero_is_valid)
        if series is None:
            return None
        lag = timedelta() if until is None else max(timedelta(), until - series.end)
        known = tuple(event for event in requirement.known if event != without)
        series = replace(series, context=replace(forecast_context(requirement.policy), events=known))
        return ForecastRequest(
            requirement.series, series, requirement.policy.spec.forecast.model, min(_STEPS, -(-(span + lag) // step))
        )

    def _store(self, requirement: ForecastRequirement, forecast: Forecast, now: datetime) -> StoredForecast:
        end = forecast.origin + forecast.step * len(forecast.values)
        stored = StoredForecast(
            requirement, forecast, max(end - requirement.lead_time - self.margin, forecast.origin + forecast.step)
        )
        self._made[requirement.key] = (requirement.series, requirement.policy.spec.forecast.model, now, stored)
        return stored

    def _same_time_last_week(self, requirement: ForecastRequirement, now: datetime) -> CurrentForecast | None:
        begin = whole_minute(now)
        bins = _STEPS
        then = self._window.minutes(requirement.series, begin - _WEEK, begin - _WEEK + bins * BIN)
        if not requirement.policy.spec.demand.zero_is_valid:
            then = np.where(then > 0, then, np.nan)
        if not np.isfinite(then).any():
            return None
        highest = float(np.nanmax(then))
        # A gap last week is filled with the highest around it: missing data never reads as low demand.
        filled = np.where(np.isfinite(then), then, highest).reshape(-1, BIN // MINUTE)
        values = np.repeat(filled.mean(axis=1)[:, None], len(QUANTILES), axis=1)
        why = ("demand at this time last week",)
        forecast = Forecast(str(requirement.series), begin, BIN, QUANTILES, values, "SameTimeLastWeek", "", why)
        return CurrentForecast(
            forecast, begin + bins * BIN - requirement.lead_time - self.margin, ForecastSource.LAST_WEEK
        )


def series_key(policy: ScalingPolicy) -> SeriesKey:
    """The demand that a policy scales by."""
    demand = policy.spec.demand
    return SeriesKey(policy.service, demand.metric, demand.aggregation.value)


def _name(requirement: ForecastRequirement, window: EventWindow) -> BaseName:
    return (requirement.key, window.event.metadata.name, window.occurrence.start)


def _known(window: EventWindow) -> KnownEvent:
    return known_event(window.event, window.occurrence)
