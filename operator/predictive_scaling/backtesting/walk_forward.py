"""Forecast from each origin of a backtest, with the model that the quality gate accepts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise

import numpy as np

from forecasting.calibration import FIRST_DAY_WIDENING, FULL_HISTORY, MAX_COLD_START_FACTOR, WINDOW, calibrated
from forecasting.forecast import PEAK_QUANTILES, QUANTILES
from forecasting.forecaster import FittedModel, Forecaster, ModelChoice, TooShortError
from forecasting.levels import levels_at
from forecasting.models.holt_winters import HoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.panel import DAY, WEEK, IntArray, Origins, Panel
from forecasting.peaks import WINDOWS, calibrated_peaks
from forecasting.quality.gate import ActingModel, acting_at, judge, verdict_without_champion
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward, before, near_events_of
from predictive_scaling.backtesting.rolling_forecasts import ForecastChunk, Plan, RollingForecasts, interpolated
from predictive_scaling.clock import monotonic

ReportProgress = Callable[[str, float], None]
"""Receives the name of the current step and the share of it that is done, 0 to 1."""

_HOUR = timedelta(hours=1)


def walk_forward(series: Series, plan: Plan, choice: ModelChoice, *, report: ReportProgress) -> RollingForecasts:
    """Forecast from each origin of a series. As live, the quality gate applies to `Auto` only."""
    panel = Panel.of([series])
    naive: list[FittedModel] = [LastValue(), SeasonalNaive()]
    histories = [before(series, since) for since in plan.cuts[:-1]]
    baselines: dict[str, list[FittedModel | None]] = {model.name: [model] * len(histories) for model in naive}
    if choice in (ModelChoice.AUTO, ModelChoice.HOLT_WINTERS):
        baselines["HoltWinters"] = [_fitted(HoltWinters(), history) for history in histories]
    walks = {name: _walk(name, panel, plan, models) for name, models in baselines.items()}
    champions: list[FittedModel | None] = [None] * len(histories)
    train_seconds = predict_seconds = 0.0
    champion = None
    if choice in (ModelChoice.AUTO, ModelChoice.LIGHTGBM):
        began = monotonic()
        for index, history in enumerate(histories):
            report("training", index / len(histories))
            champions[index] = _fitted(LightGBMQuantiles(), history)
        train_seconds, began = monotonic() - began, monotonic()
        report("forecasting", 0.0)
        champion = _walk("LightGBM", panel, plan, champions)
        predict_seconds = monotonic() - began
    selection = _ModelSelection(plan, series, choice, baselines, walks, champions, champion)
    chunks = tuple(selection.chunk(index) for index in range(len(histories)))
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

    def chunk(self, index: int) -> ForecastChunk:
        since, until = self.plan.cuts[index], self.plan.cuts[index + 1]
        name, why, by_horizon = self._acting(index, since)
        fitted = self.champions[index] if name == "LightGBM" else self.baselines[name][index]
        champion = self.champions[index]
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

    def _acting(self, index: int, since: int) -> tuple[str, str, tuple[ActingModel, ...]]:
        """Return the acting model of a chunk, the reason, and the acting model of each horizon if it differs."""
        chosen = self.choice.value
        if self.choice in (ModelChoice.SEASONAL_NAIVE, ModelChoice.HOLT_WINTERS):
            if self.baselines[chosen][index] is None:
                return "LastValue", f"{chosen} has too little history to learn from", ()
            return chosen, "requested", ()
        week = max(1, round(WEEK / self.series.step))
        # Only forecasts whose targets are all in the past can be judged.
        near = int(np.searchsorted(self.plan.ahead, max(1, round(_HOUR / self.series.step)), side="right"))
        known = since - int(self.plan.ahead[max(0, near - 1)])
        usable = [name for name, models in self.baselines.items() if models[index] is not None]
        others = [self._judged(self.walks[name], since - week, known, near) for name in usable]
        if self.champion is None or self.champions[index] is None:
            verdict = verdict_without_champion(others, "there is too little history for LightGBM to learn from")
            return verdict.acting, verdict.evidence, ()
        if self.choice is ModelChoice.LIGHTGBM:
            return "LightGBM", "requested", ()
        if index == 0:
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
    levels = levels_at(panel, Origins.of_single_series(origins))
    near = near_events_of(models, panel, chunks, plan.ahead)
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
