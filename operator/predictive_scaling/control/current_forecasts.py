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
from forecasting.model_choice import ModelChoice
from predictive_scaling.clock import has_elapsed
from predictive_scaling.control.demand_window import BIN, MINUTE, DemandWindow, whole_minute
from predictive_scaling.decision.events.active_occurrences import Concern
from predictive_scaling.decision.forecast_context import context_of, known_event
from predictive_scaling.decision.inputs import EventBase, Outlook, Rung
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.serving.model_store import Wanted

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
    """What forecasts in one batch; training.reload.ModelShelf is one."""

    def forecast(self, wanted: Mapping[Hashable, Wanted]) -> dict[Hashable, Forecast]:
        """One forecast for each name. CPU-bound."""
        ...


@dataclass(frozen=True, slots=True)
class Need:
    """What a policy needs a forecast for."""

    policy: ScalingPolicy
    lead_time: timedelta
    concerns: tuple[Concern, ...] = ()
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
class Made:
    """A forecast of a policy as it came out of the batch."""

    need: Need
    forecast: Forecast
    valid_until: datetime


class Outlooks:
    """What is expected of each policy. `refresh` is slow and runs beside the tick; all else reads memory."""

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
        self._made: dict[PolicyKey, tuple[SeriesKey, ModelChoice, datetime, Made]] = {}
        self._bases: dict[BaseName, Forecast] = {}
        self._previews: dict[BaseName, Forecast] = {}

    def due(self, needs: Collection[Need], now: datetime) -> list[Need]:
        """Those whose forecast is older than the refresh interval, or that lack a base for an event."""
        return [need for need in needs if self._is_due(need, now) or self._baseless(need, now)]

    async def refresh(self, needs: Collection[Need], now: datetime) -> list[Made]:
        """Forecast for these, in one batch in a thread; says what is new, without the bases of events."""
        wanted: dict[Hashable, Wanted] = {}
        for need in needs:
            try:
                wanted |= self._requested(need, now)
            except Exception:  # one policy's failure is its own
                log.exception("forecast_not_requested", policy=str(need.key))
        if not wanted:
            return []
        forecasts = await asyncio.to_thread(self._forecast, wanted)
        by_key = {need.key: need for need in needs}
        made: list[Made] = []
        for name, forecast in forecasts.items():
            if isinstance(name, PolicyKey):
                made.append(self._keep(by_key[name], forecast, now))
            elif isinstance(name, _Preview):
                self._previews[name.of] = forecast
            elif isinstance(name, tuple):
                self._bases[name] = forecast
        return made

    def _requested(self, need: Need, now: datetime) -> dict[Hashable, Wanted]:
        requested = self._wanted_base(need, now)
        fresh = self._wanted(need, now) if self._is_due(need, now) else None
        if fresh is None:
            return requested
        return requested | {need.key: fresh} | self._wanted_previews(need, now)

    def _forecast(self, wanted: Mapping[Hashable, Wanted]) -> dict[Hashable, Forecast]:
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

    def outlook(self, need: Need, now: datetime) -> Outlook | None:
        """The best there is: fresh, the last one while it is valid, the same time last week."""
        kept = self._made.get(need.key)
        if kept is not None and kept[0] == need.series:
            _, _, made_at, made = kept
            if made_at - BIN <= now < made.valid_until:
                fresh = now - made_at < 2 * self._refresh + BIN and self._is_fresh(need, now)
                return Outlook(made.forecast, made.valid_until, Rung.FRESH if fresh else Rung.LAST)
        return self._last_week(need, now)

    def bases(self, need: Need, now: datetime) -> tuple[EventBase, ...]:
        """The occurrences that act on the policy, each with the forecast made before it did."""
        return tuple(
            EventBase(
                one.event, one.occurrence.start, one.occurrence.end, self._base(need, one), self._learned(need, one)
            )
            for one in need.concerns
            if now < one.over_at
        )

    def forget(self, policies: Collection[PolicyKey], now: datetime) -> None:
        """Keep nothing of policies that are gone, nor of events that are long over."""
        for gone in self._made.keys() - set(policies):
            del self._made[gone]
        for kept in (self._bases, self._previews):
            for name in [name for name in kept if name[0] not in policies or name[2] < now - _WEEK]:
                del kept[name]

    def _is_due(self, need: Need, now: datetime) -> bool:
        kept = self._made.get(need.key)
        if kept is None:
            return True
        series, choice, made_at, _ = kept
        return series != need.series or choice is not _choice(need.policy) or has_elapsed(self._refresh, made_at, now)

    def _baseless(self, need: Need, now: datetime) -> bool:
        return any(one.begins_at <= now and _name(need, one) not in self._bases for one in need.concerns)

    def _base(self, need: Need, concern: Concern) -> Forecast | None:
        name = _name(need, concern)
        base = self._bases.get(name) or (self._previews.get(name) if self._learned(need, concern) else None)
        if base is not None:
            return base
        # Until the event acts, and until its base was made after that, a forecast that knows no effect of it serves.
        kept = self._made.get(need.key)
        usable = kept is not None and kept[0] == need.series and kept[3].forecast.origin <= concern.begins_at
        return kept[3].forecast if kept is not None and usable else None

    def _is_fresh(self, need: Need, now: datetime) -> bool:
        newest = self._window.newest(need.series, zero_is_valid=need.policy.spec.demand.zero_is_valid)
        return newest is not None and now - newest.at <= self._max_age

    def _wanted(self, need: Need, now: datetime) -> Wanted | None:
        if not self._is_fresh(need, now):
            return None
        spec = need.policy.spec
        reach = need.lead_time + 2 * self._refresh + self._max_age
        span = max(reach, min(spec.forecast.horizon + self._max_age, _STEPS * BIN))
        return self._asked(need, None, span)

    def _wanted_base(self, need: Need, now: datetime) -> dict[Hashable, Wanted]:
        asked = {
            _name(need, one): self._asked(need, one.begins_at, one.over_at - one.begins_at + BIN, _known(one))
            for one in need.concerns
            if one.begins_at <= now and _name(need, one) not in self._bases
        }
        return {name: wanted for name, wanted in asked.items() if wanted is not None}

    def _wanted_previews(self, need: Need, now: datetime) -> dict[Hashable, Wanted]:
        """Of events that are about to act: what is expected now but for them, where forecasts know their effect."""
        asked = {
            _Preview(_name(need, one)): self._asked(need, None, one.over_at - now + BIN, _known(one))
            for one in need.concerns
            if now < one.begins_at and self._learned(need, one) is not None
        }
        return {name: wanted for name, wanted in asked.items() if wanted is not None}

    def _learned(self, need: Need, concern: Concern) -> LearnedEffect | None:
        effects = self._effects(need.series)
        return effects.learned(_known(concern), context_of(need.policy).zone) if effects else None

    def _asked(
        self, need: Need, until: datetime | None, span: timedelta, without: KnownEvent | None = None
    ) -> Wanted | None:
        step = next((step for step in _BINS if _STEPS * step >= span), _BINS[-1])
        zero_is_valid = need.policy.spec.demand.zero_is_valid
        series = self._window.series(need.series, until=until, step=step, zero_is_valid=zero_is_valid)
        if series is None:
            return None
        lag = timedelta() if until is None else max(timedelta(), until - series.end)
        known = tuple(event for event in need.known if event != without)
        series = replace(series, context=replace(context_of(need.policy), events=known))
        return Wanted(need.series, series, _choice(need.policy), min(_STEPS, -(-(span + lag) // step)))

    def _keep(self, need: Need, forecast: Forecast, now: datetime) -> Made:
        end = forecast.origin + forecast.step * len(forecast.values)
        made = Made(need, forecast, max(end - need.lead_time - self._refresh, forecast.origin + forecast.step))
        self._made[need.key] = (need.series, _choice(need.policy), now, made)
        return made

    def _last_week(self, need: Need, now: datetime) -> Outlook | None:
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
        return Outlook(forecast, begin + bins * BIN - need.lead_time - self._refresh, Rung.LAST_WEEK)


def series_key(policy: ScalingPolicy) -> SeriesKey:
    """The demand that a policy scales by."""
    demand = policy.spec.demand
    return SeriesKey(policy.service, demand.metric, demand.aggregation.value)


def _choice(policy: ScalingPolicy) -> ModelChoice:
    return ModelChoice(policy.spec.forecast.model.value)


def _name(need: Need, concern: Concern) -> BaseName:
    return (need.key, concern.event.metadata.name, concern.occurrence.start)


def _known(concern: Concern) -> KnownEvent:
    return known_event(concern.event, concern.occurrence.start, concern.occurrence.end)
