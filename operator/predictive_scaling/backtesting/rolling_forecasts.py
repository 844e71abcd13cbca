"""The forecasts of a backtest: each made from what was known at its origin, by the model that the gate accepted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from forecasting.bands import Bands, cold_start_factors
from forecasting.calibration import NAIVE_ORIGINS
from forecasting.context import KnownEvent
from forecasting.events import Effects, LearnedEffect
from forecasting.forecast import PEAK_QUANTILES, QUANTILES, Forecast
from forecasting.forecaster import FittedModel
from forecasting.levels import levels_at
from forecasting.models.lightgbm_quantiles import FittedLightGBM
from forecasting.panel import DAY, IntArray, Origins, Panel
from forecasting.peaks import highest_so_far, rolling_peak_shifts
from forecasting.quality.gate import ActingModel
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward

_FIRST_FIT_SHARE = 0.5
"""Share of the history before the split on which the tuner's first model trains; the tuner evaluates the rest."""
_TUNING_REFITS = 2
_MAX_BINS = 36


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

    @property
    def event_types(self) -> frozenset[str]:
        """The types of events whose learned effects the forecasts contain at all horizons.

        Naive models that act at some horizons do not know the events; LightGBM replaces them near events where it has
        separate bands.
        """
        fitted = self.fitted
        if not isinstance(fitted, FittedLightGBM) or fitted.events is None:
            return frozenset()
        return frozenset[str]() if self.by_horizon and fitted.events.bands is None else fitted.event_types


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
        points = self.baselines[name].at(0.5)[:, : self.peaks.shape[1]]
        first = int(self.baselines[name].origins[0])
        raw, shifts = (part[self.first - first :] for part in peaks_of_points(self.series, first, points))
        bands = bands_of(self.series, self.first, interpolated(walk.quantiles, self.plan), raw, shifts)
        return replace(self, values=bands.values, peaks=bands.peaks)

    def _forecast(
        self, origin: int, values: FloatArray, chunk: ForecastChunk, peaks: FloatArray | None = None
    ) -> Forecast:
        moment, series = self.moment(origin), self.series
        return Forecast(
            series.name,
            moment,
            series.step,
            QUANTILES,
            values,
            chunk.model,
            "",
            peaks=peaks,
            event_types=chunk.event_types,
        )


def plan_of(series: Series, split: float, refits: int, ahead: Sequence[int], reach: int) -> Plan:
    """Return a plan with `refits` fits evenly after the split, and _TUNING_REFITS fits before it for the tuner."""
    bins = len(series.values)
    split_bin = round(bins * split)
    first = max(1, round(split_bin * _FIRST_FIT_SHARE))
    tuning = np.linspace(first, split_bin, _TUNING_REFITS + 1).round().astype(int)[:-1]
    judged = np.linspace(split_bin, bins, refits + 1).round().astype(int)
    return Plan((*map(int, tuning), *map(int, judged)), split_bin, np.unique([*ahead]), reach)


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


def peaks_of_points(series: Series, first: int, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the raw peaks of a naive model and their shifts; points: at origins from `first` on, for each window."""
    raw = highest_so_far(np.repeat(points[:, :, None], len(PEAK_QUANTILES), axis=2))
    return raw, rolling_peak_shifts(series, first, raw, NAIVE_ORIGINS)


def bands_of(series: Series, first: int, values: FloatArray, raw_peaks: FloatArray, peak_shifts: FloatArray) -> Bands:
    """Return the final bands at consecutive origins from `first` on, as live."""
    origins = np.arange(first, first + len(values))
    levels = levels_at(Panel.of([series]), Origins.of_single_series(origins))
    days = np.cumsum(np.isfinite(series.values))[np.maximum(origins - 1, 0)] * (series.step / DAY)
    return Bands.of(values, raw_peaks, peak_shifts, levels, cold_start_factors(days))
