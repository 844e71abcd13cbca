"""Holt-Winters in logarithms: damped trend, daily season. Fitted by statsmodels, filtered for many series at once."""

import warnings
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.forecaster import FittedModel, TooShortError
from forecasting.levels import levels_at
from forecasting.panel import DAY, BoolArray, IntArray, Origins, Panel, values_at
from forecasting.seasons import seasons
from forecasting.series import MAX_DEMAND, FloatArray, Series

_SEASONS = 7
_MIN_SEASONS = 2
_OFFSET_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Smoothing:
    """The share of each forecast error that goes into level, trend and season, and the damping of the trend.

    seasonal: whether there is a daily season.
    """

    level: float = 0.3
    trend: float = 0.01
    season: float = 0.1
    damping: float = 0.9
    seasonal: bool = True


@dataclass(frozen=True, slots=True)
class HoltWinters:
    """The settings of the fit; the smoothing is optimized on the last seven days.

    A series without a daily pattern gets no season (an ETS of level and damped trend): the season would be noise.
    """

    name: str = "HoltWinters"

    def fit(self, series: Series) -> "FittedHoltWinters":
        """Fit a series. Raises TooShortError where it has less than two days of demand."""
        panel = Panel.of([series])
        season_bins = panel.bins_in(DAY)
        logs = _logs(panel)[:, -_SEASONS * season_bins :]
        if np.isfinite(logs).sum() < _MIN_SEASONS * season_bins:
            raise TooShortError(f"{series.name} has less than {_MIN_SEASONS} days of demand; Holt-Winters needs them")
        seasonal = any(season.period % DAY == timedelta() for season in seasons(series))
        initial = _initial(logs, season_bins, seasonal=np.array([seasonal]))
        return FittedHoltWinters((_optimized_smoothing(logs, initial, seasonal),))


@dataclass(frozen=True, slots=True)
class FittedHoltWinters(FittedModel):
    """The smoothing alone; each forecast filters the state again from the bins of its panel.

    smoothings: one for all series, or one for each row of the panels to forecast.
    """

    smoothings: tuple[Smoothing, ...] = (Smoothing(),)
    name: str = "HoltWinters"
    version: str = ""

    def for_rows(self, rows: slice) -> FittedModel:
        return self if len(self.smoothings) == 1 else replace(self, smoothings=self.smoothings[rows])

    def quantiles(self, panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
        season_bins = panel.bins_in(DAY)
        logs = _logs(panel)
        parameters = _Parameters.of(self.smoothings, len(logs))
        states = _filter(logs, _initial(logs, season_bins, parameters.seasonal), parameters)
        rows, newest = origins.rows[:, None], origins.cols[:, None] - 1
        targets = origins.cols[:, None] + horizons - 1
        same_phase = targets - season_bins * -(-(targets - newest) // season_bins)
        damped = np.cumsum(parameters.damping[:, None] ** np.arange(1, horizons.max() + 1), axis=1)[rows, horizons - 1]
        predicted = values_at(states.level, rows, newest) + damped * values_at(states.trend, rows, newest)
        predicted = predicted + np.nan_to_num(values_at(states.season, rows, same_phase))
        offset = _offset(panel)[origins.rows, np.maximum(origins.cols - 1, 0)][:, None]
        points = np.clip(np.exp(np.nan_to_num(np.minimum(predicted, 700.0))) - offset, 0.0, MAX_DEMAND)
        # The initial states come from the entire first day; an origin within that day would see its own future.
        in_first_day = origins.cols < _first_bins(logs)[origins.rows] + season_bins
        points = np.where(in_first_day[:, None], levels_at(panel, origins).level[:, None], points)
        return np.repeat(points[:, :, None], len(QUANTILES), axis=2)

    def contributions(self, panel: Panel, origins: Origins, horizons: IntArray) -> list[tuple[str, ...]]:
        del panel, horizons
        reasons = ("level and trend of the last hours", "the shape of the day")
        by_row = [reasons if smoothing.seasonal else reasons[:1] for smoothing in self.smoothings]
        return [by_row[row if len(by_row) > 1 else 0] for row in origins.rows]


@dataclass(frozen=True, slots=True)
class _Parameters:
    """The smoothing of each row, each of shape (rows,)."""

    level: FloatArray
    trend: FloatArray
    season: FloatArray
    damping: FloatArray
    seasonal: BoolArray

    @classmethod
    def of(cls, smoothings: tuple[Smoothing, ...], rows: int) -> "_Parameters":
        table = np.array(
            [(smoothing.level, smoothing.trend, smoothing.season, smoothing.damping) for smoothing in smoothings],
            dtype=np.float64,
        )
        seasonal = np.broadcast_to(np.array([smoothing.seasonal for smoothing in smoothings]), rows)
        level, trend, season, damping = np.broadcast_to(table, (rows, 4)).T
        return cls(level, trend, np.where(seasonal, season, 0.0), damping, seasonal)


@dataclass(frozen=True, slots=True)
class _States:
    level: FloatArray
    trend: FloatArray
    season: FloatArray


def _logs(panel: Panel) -> FloatArray:
    """Logarithms from the first bin above zero on, NaN before: until then there is no scale."""
    has_demand = np.cumsum(np.nan_to_num(panel.values), axis=1) > 0
    return np.where(has_demand, np.log(panel.values + _offset(panel)), np.nan)


def _offset(panel: Panel) -> FloatArray:
    """A tenth of the mean of the first day with demand, up to each bin of that day: no origin sees the future."""
    width = panel.bins_in(DAY)
    observed = np.isfinite(panel.values) & (np.cumsum(np.nan_to_num(panel.values), axis=1) > 0)
    early = observed & (np.cumsum(observed, axis=1) <= width)
    total = np.cumsum(np.where(early, panel.values, 0.0), axis=1)
    count = np.maximum(np.cumsum(early, axis=1), 1)
    return np.maximum(_OFFSET_SHARE * total / count, 1e-12)


def _first_bins(logs: FloatArray) -> IntArray:
    """The first bin with demand of each row; the number of bins for a row without any."""
    observed = np.isfinite(logs)
    return np.where(observed.any(axis=1), observed.argmax(axis=1), logs.shape[1])


def _optimized_smoothing(logs: FloatArray, initial: _States, seasonal: bool) -> Smoothing:
    """The smoothing that fits one series best, by statsmodels."""
    # statsmodels takes a second to import; only training needs it.
    from statsmodels.tools.sm_exceptions import ConvergenceWarning
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    names = ["smoothing_level", "smoothing_trend", "smoothing_seasonal", "damping_trend"]
    model = ExponentialSmoothing(
        _filled(logs, initial)[0],
        trend="add",
        damped_trend=True,
        seasonal="add" if seasonal else None,
        seasonal_periods=initial.season.shape[1] if seasonal else None,
        initialization_method="known",
        initial_level=float(initial.level[0]),
        initial_trend=0.0,
        initial_seasonal=initial.season[0] if seasonal else None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        parameters = model.fit(optimized=True).params
    # Without a season its parameter is None.
    shares = [float(np.clip(np.nan_to_num(parameters[name] or 0.0), 0, 1)) for name in names]
    return Smoothing(*shares, seasonal=seasonal)


def _initial(logs: FloatArray, season_bins: int, seasonal: BoolArray) -> _States:
    """Level, trend and season of each row from its first day; shapes (rows,), (rows,), (rows, season_bins).

    seasonal: shape (rows,); the season of a row without one is zero.
    """
    first_day = np.full((len(logs), season_bins), np.nan)
    for row, series, begin in zip(first_day, logs, _first_bins(logs), strict=True):
        phases = np.arange(begin, min(begin + season_bins, len(series))) % season_bins
        row[phases] = series[begin : begin + len(phases)]
    observed = np.isfinite(first_day)
    level = np.where(observed, first_day, 0.0).sum(axis=1) / np.maximum(observed.sum(axis=1), 1)
    season = np.where(observed & seasonal[:, None], first_day - level[:, None], 0.0)
    return _States(level, np.zeros(len(logs)), season)


def _filled(logs: FloatArray, initial: _States) -> FloatArray:
    """Missing bins replaced by the value of the first day at the same phase: statsmodels accepts no gaps."""
    season_bins = initial.season.shape[1]
    usual = initial.level[:, None] + initial.season[:, np.arange(logs.shape[1]) % season_bins]
    return np.where(np.isfinite(logs), logs, usual)


def _filter(logs: FloatArray, initial: _States, parameters: "_Parameters") -> _States:
    """The states after each bin, each of shape (rows, bins). The error of a missing bin counts as zero."""
    season_bins = initial.season.shape[1]
    by_bin = np.ascontiguousarray(logs.T)
    states = _States(np.empty(by_bin.shape), np.empty(by_bin.shape), np.empty(by_bin.shape))
    level, trend, seasons = initial.level, initial.trend, initial.season.T.copy()
    trend_share = parameters.level * parameters.trend
    for at, observed in enumerate(by_bin):
        season = seasons[at % season_bins]
        expected = level + parameters.damping * trend
        error = observed - expected - season
        error[np.isnan(error)] = 0.0
        level = expected + parameters.level * error
        trend = parameters.damping * trend + trend_share * error
        season += parameters.season * error
        states.level[at], states.trend[at], states.season[at] = level, trend, season
    return _States(states.level.T, states.trend.T, states.season.T)
