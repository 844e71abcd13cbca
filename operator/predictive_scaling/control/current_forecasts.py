"""The newest outlook of each policy, down the freshness ladder, and the forecasts that events multiply."""

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
    """Of no series is anything known."""
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
    """What a policy needs a forecast for."""

    policy: ScalingPolicy
    lead_time: timedelta
    occurrences: tuple[EventWindow, ...] = ()
    known: tuple[KnownEvent, ...] = ()
    """The events that its forecasts know of."""

    @property
    def key(self) -> PolicyKey:
        """Whose need it is."""
        return self.policy.key

    @property
    def series(self) -> SeriesKey:
        """The demand that it scales by."""
        return series_key(self.policy)


@dataclass(frozen=True, slots=True)
class StoredForecast:
    """A forecast of a policy from a batch."""

    need: ForecastRequirement
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
    ) -> None:
        """effects: what was learned of the events of a series."""
        self._forecaster = forecaster
        self._window = window
        self._refresh = refresh
        self._max_age = metrics_max_age
        self._effects = effects
        self._made: dict[PolicyKey, tuple[SeriesKey, ModelChoice, datetime, StoredForecast]] = {}
        self._bases: dict[BaseName, Forecast] = {}
        self._previews: dict[BaseName, Forecast] = {}

    def due(self, needs: Collection[ForecastRequirement], now: datetime) -> list[ForecastRequirement]:
        """Those whose forecast is older than the refresh interval, or that lack a base for an event."""
        return [need for need in needs if self._is_due(need, now) or self._lacks_baseline(need, now)]

    async def refresh(self, needs: Collection[ForecastRequirement], now: datetime) -> list[StoredForecast]:
        """Forecast the due requirements in one batch, in a thread. Return new forecasts without event baselines."""
        wanted: dict[Hashable, ForecastRequest] = {}
        for need in needs:
            try:
                wanted |= self._requests(need, now)
            except Exception:  # one policy's failure is its own
                log.exception("forecast_not_requested", policy=str(need.key))
        if not wanted:
            return []
        forecasts = await asyncio.to_thread(self._forecast, wanted)
        by_key = {need.key: need for need in needs}
        made: list[StoredForecast] = []
        for name, forecast in forecasts.items():
            if isinstance(name, PolicyKey):
                made.append(self._store(by_key[name], forecast, now))
            elif isinstance(name, _Preview):
                self._previews[name.of] = forecast
            elif isinstance(name, tuple):
                self._bases[name] = forecast
        return made

    def _requests(self, need: ForecastRequirement, now: datetime) -> dict[Hashable, ForecastRequest]:
        requested = self._baseline_requests(need, now)
        fresh = self._request(need, now) if self._is_due(need, now) else None
        if fresh is None:
            return requested
        return requested | {need.key: fresh} | self._preview_requests(need, now)

    def _forecast(self, wanted: Mapping[Hashable, ForecastRequest]) -> dict[Hashable, Forecast]:
        """Forecasts of one batch; where that fails, of its halves, so that only what cannot be forecast is missing."""
        try:
            return self._forecaster.forecast(wanted)
        except Exception:
            if len(wanted) == 1:
                log.exception("forecast_failed", series=str(next(iter(wanted.values())).key))
                return {}
        names = list(wanted)
        halves = names[: len(names) // 2], names[len(names) // 2 :]
        return {name: made for half in halves for name, made in self._forecast({n: wanted[n] for n in half}).items()}

    def current(self, need: ForecastRequirement, now: datetime) -> CurrentForecast | None:
        """The best there is: fresh, the last one while it is valid, the same time last week."""
        kept = self._made.get(need.key)
        if kept is not None and kept[0] == need.series:
            _, _, made_at, made = kept
            if made_at - BIN <= now < made.valid_until:
                fresh = now - made_at < 2 * self._refresh + BIN and self._is_fresh(need, now)
                return CurrentForecast(
                    made.forecast, made.valid_until, ForecastSource.FRESH if fresh else ForecastSource.LAST
                )
        return self._same_time_last_week(need, now)

    def baselines(self, need: ForecastRequirement, now: datetime) -> tuple[EventBaseline, ...]:
        """The event windows that act on the policy, each with the forecast made before it began to act."""
        return tuple(
            EventBaseline(window, self._baseline(need, window), self._learned(need, window))
            for window in need.occurrences
            if now < window.span.end
        )

    def forget(self, policies: Collection[PolicyKey], now: datetime) -> None:
        """Drop forecasts of deleted policies and of events that ended long ago."""
        for gone in self._made.keys() - set(policies):
            del self._made[gone]
        for kept in (self._bases, self._previews):
            for name in [name for name in kept if name[0] not in policies or name[2] < now - _WEEK]:
                del kept[name]

    def _is_due(self, need: ForecastRequirement, now: datetime) -> bool:
        kept = self._made.get(need.key)
        if kept is None:
            return True
        series, choice, made_at, _ = kept
        return (
            series != need.series
            or choice is not need.policy.spec.forecast.model
            or has_elapsed(self._refresh, made_at, now)
        )

    def _lacks_baseline(self, need: ForecastRequirement, now: datetime) -> bool:
        return any(
            window.acts_from(need.lead_time) <= now and _name(need, window) not in self._bases
            for window in need.occurrences
        )

    def _baseline(self, need: ForecastRequirement, window: EventWindow) -> Forecast | None:
        name = _name(need, window)
        base = self._bases.get(name) or (self._previews.get(name) if self._learned(need, window) else None)
        if base is not None:
            return base
        # Until the event acts and its baseline was made, a forecast without its effect is used.
        kept = self._made.get(need.key)
        usable = (
            kept is not None and kept[0] == need.series and kept[3].forecast.origin <= window.acts_from(need.lead_time)
        )
        return kept[3].forecast if kept is not None and usable else None

    def _is_fresh(self, need: ForecastRequirement, now: datetime) -> bool:
        newest = self._window.newest(need.series, zero_is_valid=need.policy.spec.demand.zero_is_valid)
        return newest is not None and now - newest.at <= self._max_age

    def _request(self, need: ForecastRequirement, now: datetime) -> ForecastRequest | None:
        if not self._is_fresh(need, now):
            return None
        spec = need.policy.spec
        reach = need.lead_time + 2 * self._refresh + self._max_age
        span = max(reach, min(spec.forecast.horizon + self._max_age, _STEPS * BIN))
        return self._make_request(need, None, span)

    def _baseline_requests(self, need: ForecastRequirement, now: datetime) -> dict[Hashable, ForecastRequest]:
        asked = {
            _name(need, window): self._make_request(
                need,
                window.acts_from(need.lead_time),
                window.span.end - window.acts_from(need.lead_time) + BIN,
                _known(window),
            )
            for window in need.occurrences
            if window.acts_from(need.lead_time) <= now and _name(need, window) not in self._bases
        }
        return {name: wanted for name, wanted in asked.items() if wanted is not None}

    def _preview_requests(self, need: ForecastRequirement, now: datetime) -> dict[Hashable, ForecastRequest]:
        """Of events that are about to act: what is expected now but for them, where forecasts know their effect."""
        asked = {
            _Preview(_name(need, window)): self._make_request(need, None, window.span.end - now + BIN, _known(window))
            for window in need.occurrences
            if now < window.acts_from(need.lead_time) and self._learned(need, window) is not None
        }
        return {name: wanted for name, wanted in asked.items() if wanted is not None}

    def _learned(self, need: ForecastRequirement, window: EventWindow) -> LearnedEffect | None:
        effects = self._effects(need.series)
        return effects.learned_effect(_known(window), forecast_context(need.policy).zone) if effects else None

    def _make_request(
        self, need: ForecastRequirement, until: datetime | None, span: timedelta, without: KnownEvent | None = None
    ) -> ForecastRequest | None:
        step = next((step for step in _BINS if _STEPS * step >= span), _BINS[-1])
        zero_is_valid = need.policy.spec.demand.zero_is_valid
        series = self._window.series(need.series, until=until, step=step, zero_is_valid=zero_is_valid)
        if series is None:
            return None
        lag = timedelta() if until is None else max(timedelta(), until - series.end)
        known = tuple(event for event in need.known if event != without)
        series = replace(series, context=replace(forecast_context(need.policy), events=known))
        return ForecastRequest(
            need.series, series, need.policy.spec.forecast.model, min(_STEPS, -(-(span + lag) // step))
        )

    def _store(self, need: ForecastRequirement, forecast: Forecast, now: datetime) -> StoredForecast:
        end = forecast.origin + forecast.step * len(forecast.values)
        made = StoredForecast(
            need, forecast, max(end - need.lead_time - self._refresh, forecast.origin + forecast.step)
        )
        self._made[need.key] = (need.series, need.policy.spec.forecast.model, now, made)
        return made

    def _same_time_last_week(self, need: ForecastRequirement, now: datetime) -> CurrentForecast | None:
        begin = whole_minute(now)
        bins = _STEPS
        then = self._window.minutes(need.series, begin - _WEEK, begin - _WEEK + bins * BIN)
        if not need.policy.spec.demand.zero_is_valid:
            then = np.where(then > 0, then, np.nan)
        if not np.isfinite(then).any():
            return None
        highest = float(np.nanmax(then))
        # A gap last week is filled with the highest around it: missing data never reads as low demand.
        filled = np.where(np.isfinite(then), then, highest).reshape(-1, BIN // MINUTE)
        values = np.repeat(filled.mean(axis=1)[:, None], len(QUANTILES), axis=1)
        why = ("demand at this time last week",)
        forecast = Forecast(str(need.series), begin, BIN, QUANTILES, values, "SameTimeLastWeek", "", why)
        return CurrentForecast(forecast, begin + bins * BIN - need.lead_time - self._refresh, ForecastSource.LAST_WEEK)


def series_key(policy: ScalingPolicy) -> SeriesKey:
    """The demand that a policy scales by."""
    demand = policy.spec.demand
    return SeriesKey(policy.service, demand.metric, demand.aggregation.value)


def _name(need: ForecastRequirement, window: EventWindow) -> BaseName:
    return (need.key, window.event.metadata.name, window.occurrence.start)


def _known(window: EventWindow) -> KnownEvent:
    return known_event(window.event, window.occurrence)
