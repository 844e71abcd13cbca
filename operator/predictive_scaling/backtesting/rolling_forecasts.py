"""The forecasts of a backtest: each made from what was known at its origin, by the model that the gate accepted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np

from forecasting.calibration import FIRST_DAY_WIDENING, FULL_HISTORY, MAX_COLD_START_FACTOR, WINDOW, calibrated
from forecasting.context import KnownEvent
from forecasting.events import Effects, LearnedEffect
from forecasting.forecast import PEAK_QUANTILES, QUANTILES, Forecast
from forecasting.forecaster import FittedModel, Forecaster, ModelChoice, TooShortError
from forecasting.levels import levels_at
from forecasting.models.holt_winters import HoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.panel import DAY, WEEK, IntArray, Origins, Panel
from forecasting.peaks import WINDOWS, calibrated_peaks, peaks_from_bins
from forecasting.quality.gate import ActingModel, acting_at, judge, verdict_without_champion
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward, before, near_events_of
from predictive_scaling.clock import monotonic

ReportProgress = Callable[[str, float], None]
"""Receives the name of the current step and the share of it that is done, 0 to 1."""

_FIRST_FIT_SHARE = 0.5
"""Share of the history before the split on which the tuner's first model trains; the tuner evaluates the rest."""
_TUNING_REFITS = 2
_MAX_BINS = 36
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """When models are fitted, and which bins they forecast.

    cuts: number of bins before each fit, then the number of all bins. split: the first judged origin. ahead: bins ahead
    that models forecast, ascending. reach: bins of a forecast; bins that are not in `ahead` are interpolated.
    """

    cuts: tuple[int, ...]
    split: int
    ahead: IntArray
    reach: int


@dataclass(frozen=True, slots=True)
class ForecastChunk:
    """Origins [since, until) and the model that acts on them."""

    since: int
    until: int
    model: str
    why: str
    fitted: FittedModel
    effects: Effects | None = None
    """The event effects that LightGBM has learned by then, even if it does not act."""
    by_horizon: tuple[ActingModel, ...] = ()
    """The acting model of each horizon if other models are better at some; empty if `model` acts at all horizons."""


@dataclass(frozen=True, slots=True)
class RollingForecasts:
    """Forecasts at each origin from `first` on, calibrated.

    values: shape (origins, reach, len(QUANTILES)). peaks: shape (origins, windows, len(PEAK_QUANTILES)). baselines:
    calibrated walks of the baseline models, by name. train_seconds, predict_seconds: elapsed time of LightGBM.
    """

    series: Series
    plan: Plan
    first: int
    values: FloatArray
    peaks: FloatArray
    chunks: tuple[ForecastChunk, ...]
    baselines: dict[str, WalkForward]
    train_seconds: float
    predict_seconds: float

    def moment(self, origin: int) -> datetime:
        """Return the time of an origin."""
        return self.series.start + origin * self.series.step

    def at(self, origin: int) -> Forecast:
        """Return the forecast from an origin."""
        row = origin - self.first
        return self._forecast(origin, self.values[row], self.chunk(origin), self.peaks[row])

    def learned_effect(self, origin: int, event: KnownEvent) -> LearnedEffect | None:
        """Return the effect of an event that was known at an origin; None if none was learned."""
        effects = self.chunk(origin).effects
        return effects.learned_effect(event, self.series.context.zone) if effects else None

    def without_event(self, origin: int, span: timedelta, without: KnownEvent) -> Forecast:
        """Return a forecast over `span` that ignores an event; not calibrated.

        It has at most _MAX_BINS bins: three hours at 5 minutes. If it included the event, the multiplier of the event
        would count its effect twice.
        """
        bins = min(_MAX_BINS, max(1, -(-span // self.series.step)))
        chunk = self.chunk(origin)
        context = self.series.context
        others = tuple(event for event in context.events if event != without)
        panel = Panel.of([replace(self.series, context=replace(context, events=others))])
        values = chunk.fitted.quantiles(panel, Origins.of_single_series(np.array([origin])), np.arange(1, bins + 1))
        return self._forecast(origin, values[0], chunk)

    def chunk(self, origin: int) -> ForecastChunk:
        """Return the chunk of an origin."""
        return next(chunk for chunk in reversed(self.chunks) if origin >= chunk.since or chunk is self.chunks[0])

    def of_baseline(self, name: str) -> "RollingForecasts":
        """Return the forecasts of a baseline model in place of the acting model."""
        walk = self.baselines[name].since(self.first)
        values = interpolated(walk.quantiles, self.plan)
        return replace(self, values=values, peaks=peaks_from_bins(self.series, self.first, values, self.peaks.shape[1]))

    def _forecast(
        self, origin: int, values: FloatArray, chunk: ForecastChunk, peaks: FloatArray | None = None
    ) -> Forecast:
        moment, series = self.moment(origin), self.series
        return Forecast(series.name, moment, series.step, QUANTILES, values, chunk.model, "", peaks=peaks)


def plan_of(series: Series, split: float, refits: int, ahead: Sequence[int], reach: int) -> Plan:
    """Return a plan with `refits` fits evenly after the split, and _TUNING_REFITS fits before it for the tuner."""
    bins = len(series.values)
    split_bin = round(bins * split)
    first = max(1, round(split_bin * _FIRST_FIT_SHARE))
    tuning = np.linspace(first, split_bin, _TUNING_REFITS + 1).round().astype(int)[:-1]
    judged = np.linspace(split_bin, bins, refits + 1).round().astype(int)
    return Plan((*map(int, tuning), *map(int, judged)), split_bin, np.unique([*ahead]), reach)


def walk_forward(series: Series, plan: Plan, choice: ModelChoice, *, report: ReportProgress) -> RollingForecasts:
    """Forecast from each origin of a series. As live, the quality gate applies to `Auto` only."""
    panel = Panel.of([series])
    naive: list[FittedModel] = [LastValue(), SeasonalNaive()]
    fits = [before(series, since) for since in plan.cuts[:-1]]
    baselines: dict[str, list[FittedModel | None]] = {model.name: [model] * len(fits) for model in naive}
    if choice in (ModelChoice.AUTO, ModelChoice.HOLT_WINTERS):
        baselines["HoltWinters"] = [_fitted(HoltWinters(), part) for part in fits]
    walks = {name: _walk(name, panel, plan, models) for name, models in baselines.items()}
    champions: list[FittedModel | None] = [None] * len(fits)
    train_seconds = predict_seconds = 0.0
    champion = None
    if choice in (ModelChoice.AUTO, ModelChoice.LIGHTGBM):
        began = monotonic()
        for at, part in enumerate(fits):
            report("learning", at / len(fits))
            champions[at] = _fitted(LightGBMQuantiles(), part)
        train_seconds, began = monotonic() - began, monotonic()
        report("forecasting", 0.0)
        champion = _walk("LightGBM", panel, plan, champions)
        predict_seconds = monotonic() - began
    selection = _ModelSelection(plan, series, choice, baselines, walks, champions, champion)
    chunks = tuple(selection.chunk(at) for at in range(len(fits)))
    values = np.concatenate([selection.values(chunk) for chunk in chunks])
    factors = _cold_start_factors(series, np.arange(plan.cuts[0], plan.cuts[-1]))
    peaks = _peaks(series, plan, chunks, values) * factors[..., -len(PEAK_QUANTILES) :]
    report("forecasting", 1.0)
    return RollingForecasts(
        series, plan, plan.cuts[0], values * factors, peaks, chunks, walks, train_seconds, predict_seconds
    )


@dataclass(frozen=True, slots=True)
class _ModelSelection:
    """Selects the acting model of each chunk as `training` does live, by the last week before the chunk."""

    plan: Plan
    series: Series
    choice: ModelChoice
    baselines: dict[str, list[FittedModel | None]]
    walks: dict[str, WalkForward]
    champions: list[FittedModel | None]
    champion: WalkForward | None

    def chunk(self, at: int) -> ForecastChunk:
        since, until = self.plan.cuts[at], self.plan.cuts[at + 1]
        name, why, by_horizon = self._acting(at, since)
        fitted = self.champions[at] if name == "LightGBM" else self.baselines[name][at]
        champion = self.champions[at]
        layer = champion.events if isinstance(champion, FittedLightGBM) else None
        effects = layer.effects if layer else None
        return ForecastChunk(since, until, name, why, fitted or LastValue(), effects, by_horizon)

    def values(self, chunk: ForecastChunk) -> FloatArray:
        """Return the calibrated quantiles of a chunk, at each bin ahead by the model that acts there, as live."""
        values = self._values_of(chunk.model, chunk)
        steps = range(1, self.plan.reach + 1)
        acting = np.array([acting_at(chunk.by_horizon, step, chunk.model) for step in steps])
        for other in {*acting.tolist()} - {chunk.model}:
            values = np.where((acting == other)[:, None], self._values_of(other, chunk), values)
        return values

    def _values_of(self, model: str, chunk: ForecastChunk) -> FloatArray:
        walk = self.champion if model == "LightGBM" and self.champion else self.walks[model]
        return interpolated(_between(walk, chunk.since, chunk.until).quantiles, self.plan)

    def _acting(self, at: int, since: int) -> tuple[str, str, tuple[ActingModel, ...]]:
        """Return the acting model of a chunk, the reason, and the acting model of each horizon if it differs."""
        chosen = self.choice.value
        if self.choice in (ModelChoice.SEASONAL_NAIVE, ModelChoice.HOLT_WINTERS):
            if self.baselines[chosen][at] is None:
                return "LastValue", f"{chosen} has too little history to learn from", ()
            return chosen, "requested", ()
        week = max(1, round(WEEK / self.series.step))
        # Only forecasts whose targets are all in the past can be judged.
        near = int(np.searchsorted(self.plan.ahead, max(1, round(_HOUR / self.series.step)), side="right"))
        known = since - int(self.plan.ahead[max(0, near - 1)])
        usable = [name for name, models in self.baselines.items() if models[at] is not None]
        others = [self._judged(self.walks[name], since - week, known, near) for name in usable]
        if self.champion is None or self.champions[at] is None:
            verdict = verdict_without_champion(others, "there is too little history for LightGBM to learn from")
            return verdict.acting, verdict.evidence, ()
        if self.choice is ModelChoice.LIGHTGBM:
            return "LightGBM", "requested", ()
        if at == 0:
            return "LightGBM", "there are no forecasts yet by which it can be judged", ()
        verdict = judge(self._judged(self.champion, since - week, known, near), others)
        return verdict.acting, verdict.evidence, verdict.by_horizon

    def _judged(self, walk: WalkForward, since: int, until: int, near: int) -> WalkForward:
        part = _between(walk, since, max(until, since + 1))
        return part.within(int(self.plan.ahead[max(0, near - 1)]))


def _fitted(forecaster: Forecaster, series: Series) -> FittedModel | None:
    try:
        return forecaster.fit(series)
    except TooShortError:
        return None


def _walk(name: str, panel: Panel, plan: Plan, models: Sequence[FittedModel | None]) -> WalkForward:
    """Return the calibrated forecasts of a model, one fit per chunk.

    Baselines begin one calibration window before the first cut, with their first fit; LightGBM begins at the first cut.
    """
    begin = plan.cuts[0] if name == "LightGBM" else max(1, plan.cuts[0] - WINDOW)
    edges = [begin, *plan.cuts[1:]]
    parts: list[FloatArray] = []
    chunks = [Origins.of_single_series(np.arange(since, until)) for since, until in pairwise(edges)]
    for model, origins in zip(models, chunks, strict=True):
        missing = np.full((len(origins), len(plan.ahead), len(QUANTILES)), np.nan)
        parts.append(missing if model is None else model.quantiles(panel, origins, plan.ahead))
    origins = np.arange(begin, plan.cuts[-1])
    targets = origins[:, None] + plan.ahead - 1
    is_within = targets < panel.bins
    actual = np.where(is_within, panel.values[0][np.where(is_within, targets, 0)], np.nan)
    levels, near = (
        levels_at(panel, Origins.of_single_series(origins)),
        near_events_of(models, panel, chunks, plan.ahead),
    )
    return calibrated(WalkForward(name, origins, plan.ahead, np.concatenate(parts), actual, levels, near))


def _between(walk: WalkForward, since: int, until: int) -> WalkForward:
    """Return the part of a walk with the origins [since, until)."""
    part = walk.since(since)
    rows = slice(0, int(np.searchsorted(part.origins, until)))
    return replace(
        part,
        origins=part.origins[rows],
        quantiles=part.quantiles[rows],
        actual=part.actual[rows],
        levels=part.levels[rows],
        near=None if part.near is None else part.near[rows],
    )


def interpolated(quantiles: FloatArray, plan: Plan) -> FloatArray:
    """Return quantiles for each bin, interpolated between the forecast bins: shape (origins, reach, quantiles)."""
    bins = np.arange(1, plan.reach + 1)
    right = np.clip(np.searchsorted(plan.ahead, bins), 1, max(1, len(plan.ahead) - 1))
    if len(plan.ahead) == 1:
        return np.repeat(quantiles, plan.reach, axis=1)
    left = right - 1
    share = (bins - plan.ahead[left]) / (plan.ahead[right] - plan.ahead[left])
    share = np.clip(share, 0.0, 1.0)[None, :, None]
    return quantiles[:, left] * (1 - share) + quantiles[:, right] * share


def _peaks(series: Series, plan: Plan, chunks: Sequence[ForecastChunk], values: FloatArray) -> FloatArray:
    """Return the peaks of the windows whose bins were all forecast; interpolated bins would miss the highest demand."""
    gaps = np.flatnonzero(np.diff(plan.ahead, prepend=0) != 1)
    count = min(WINDOWS, int(gaps[0]) if len(gaps) else len(plan.ahead))
    panel = Panel.of([series])
    spans = [(chunk, Origins.of_single_series(np.arange(chunk.since, chunk.until))) for chunk in chunks]
    raw = np.concatenate([chunk.fitted.peaks(panel, origins, count) for chunk, origins in spans])
    return calibrated_peaks(series, plan.cuts[0], raw, values)


def _cold_start_factors(series: Series, origins: IntArray) -> FloatArray:
    """Return the cold-start factor of each origin and quantile: shape (origins, 1, quantiles)."""
    days = np.cumsum(np.isfinite(series.values))[np.maximum(origins - 1, 0)] * (series.step / DAY)
    factor = np.where(
        days >= FULL_HISTORY / DAY,
        1.0,
        np.minimum(MAX_COLD_START_FACTOR, 1 + FIRST_DAY_WIDENING / np.maximum(days, 1e-9)),
    )
    upper = np.array(QUANTILES) > 0.5
    return np.where(upper, factor[:, None, None], 1.0)
