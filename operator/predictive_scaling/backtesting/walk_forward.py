"""Forecast from each origin of a backtest, with the model that the quality gate accepts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise

import numpy as np

from forecasting.calibration import ALL_ORIGINS, NAIVE_ORIGINS, calibrated, measured_horizons
from forecasting.forecast import PEAK_QUANTILES, QUANTILES
from forecasting.forecaster import FittedModel, Forecaster, ModelChoice, TooShortError
from forecasting.levels import levels_at
from forecasting.models.holt_winters import HoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.panel import WEEK, BoolArray, Origins, Panel
from forecasting.peaks import WINDOWS, rolling_peak_shifts
from forecasting.quality.gate import ActingModel, judge, values_of_acting, verdict_without_champion
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward, before, near_events_of
from predictive_scaling.backtesting.rolling_forecasts import (
    ForecastChunk,
    Plan,
    RollingForecasts,
    bands_of,
    interpolated,
    peaks_of_points,
)
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
    raw_walks = {name: _raw_walk(name, panel, plan, models) for name, models in baselines.items()}
    measured = measured_horizons(series.step, plan.reach)
    walks = {name: calibrated(walk, NAIVE_ORIGINS, measured=measured) for name, walk in raw_walks.items()}
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
        champion = calibrated(_raw_walk("LightGBM", panel, plan, champions), measured=measured)
        predict_seconds = monotonic() - began
    selection = _ModelSelection(plan, series, choice, baselines, walks, champions, champion)
    chunks = tuple(selection.chunk(index) for index in range(len(histories)))
    values = np.concatenate([selection.values(chunk) for chunk in chunks])
    bands = bands_of(series, plan.cuts[0], values, *_acting_peaks(selection, chunks, raw_walks))
    report("forecasting", 1.0)
    return RollingForecasts(
        series, plan, plan.cuts[0], bands.values, bands.peaks, chunks, walks, train_seconds, predict_seconds
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
        values, near = self._values_of(chunk.model, chunk), self._near_events(chunk)
        return values_of_acting(chunk.model, values, chunk.by_horizon, near, lambda name: self._values_of(name, chunk))

    def _near_events(self, chunk: ForecastChunk) -> BoolArray | None:
        """Targets of a chunk near events that LightGBM knows, if it acts: shape (origins, bins ahead)."""
        if self.champion is None or chunk.model != self.champion.name:
            return None
        near = _between(self.champion, chunk.since, chunk.until).near
        if near is None:
            return None
        # A bin that is interpolated between two forecast bins is near an event where the later of them is.
        columns = np.searchsorted(self.plan.ahead, np.arange(1, self.plan.reach + 1))
        return near[:, np.minimum(columns, near.shape[1] - 1)]

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


def _raw_walk(name: str, panel: Panel, plan: Plan, models: Sequence[FittedModel | None]) -> WalkForward:
    """Return the raw forecasts of a model, one fit per chunk.

    Baselines begin one calibration window before the first cut, with their first fit; LightGBM begins at the first cut.
    """
    begin = plan.cuts[0] if name == "LightGBM" else max(1, plan.cuts[0] - NAIVE_ORIGINS.bins - int(plan.ahead[-1]))
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
    return WalkForward(name, origins, plan.ahead, np.concatenate(parts), actual, levels, near)


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


def _acting_peaks(
    selection: "_ModelSelection", chunks: Sequence[ForecastChunk], raw_walks: Mapping[str, WalkForward]
) -> tuple[FloatArray, FloatArray]:
    """Return the raw peaks and their shifts by the model that acts at each origin, by the errors of its own forecasts.

    Only windows whose bins were all forecast: bins that are interpolated between others have no peak of their own.
    """
    series, ahead, first = selection.series, selection.plan.ahead, chunks[0].since
    gaps = np.flatnonzero(np.diff(ahead, prepend=0) != 1)
    windows = min(WINDOWS, int(gaps[0]) if len(gaps) else len(ahead))
    raw = np.zeros((chunks[-1].until - first, windows, len(PEAK_QUANTILES)))
    shifts = np.zeros_like(raw)
    for name in {chunk.model for chunk in chunks}:
        if name == "LightGBM":
            of_model = _learned_peaks(selection, chunks, windows)
        else:
            walk = raw_walks[name]
            peaks = peaks_of_points(series, int(walk.origins[0]), walk.at(0.5)[:, :windows])
            of_model = (peaks[0][first - walk.origins[0] :], peaks[1][first - walk.origins[0] :])
        for chunk in chunks:
            if chunk.model == name:
                rows = slice(chunk.since - first, chunk.until - first)
                raw[rows], shifts[rows] = of_model[0][rows], of_model[1][rows]
    return raw, shifts


def _learned_peaks(
    selection: "_ModelSelection", chunks: Sequence[ForecastChunk], windows: int
) -> tuple[FloatArray, FloatArray]:
    """Return the raw peaks of LightGBM and their shifts, from the first chunk on; NaN where there is no model."""
    panel = Panel.of([selection.series])
    parts: list[FloatArray] = []
    for model, chunk in zip(selection.champions, chunks, strict=True):
        origins = Origins.of_single_series(np.arange(chunk.since, chunk.until))
        missing = np.full((len(origins), windows, len(PEAK_QUANTILES)), np.nan)
        parts.append(missing if model is None else model.peaks(panel, origins, windows))
    raw = np.concatenate(parts)
    return raw, rolling_peak_shifts(selection.series, chunks[0].since, raw, ALL_ORIGINS)
