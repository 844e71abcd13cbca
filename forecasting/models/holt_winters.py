"""Holt-Winters in logarithms: damped trend, season of a day. Fitted by statsmodels, filtered for many at once."""

import warnings
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.forecaster import Fitted, TooShortError
from forecasting.levels import levels_at
from forecasting.panel import DAY, BoolArray, IntArray, Origins, Panel, pick
from forecasting.seasons import seasons
from forecasting.series import MAX_DEMAND, FloatArray, Series

_SEASONS = 7
_MIN_SEASONS = 2
_OFFSET_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Smoothing:
    """How much of each surprise goes into level, trend and season, and how fast the trend fades.

    seasonal: whether there is a season of a day at all.
    """

    level: float = 0.3
    trend: float = 0.01
    season: float = 0.1
    damping: float = 0.9
    seasonal: bool = True


@dataclass(frozen=True, slots=True)
class HoltWinters:
    """How to fit; the smoothing is found on the last seven days.

    A series in which no day repeats gets no season (an ETS of level and damped trend): one would be noise.
    """

    name: str = "HoltWinters"

    def fit(self, series: Series) -> "FittedHoltWinters":
        """Raises TooShortError where there are no two days of demand."""
        panel = Panel.of([series])
        season = panel.bins_in(DAY)
        logs = _logs(panel)[:, -_SEASONS * season :]
        if np.isfinite(logs).sum() < _MIN_SEASONS * season:
            raise TooShortError(f"{series.name} has less than {_MIN_SEASONS} days of demand; Holt-Winters needs them")
        seasonal = any(one.period % DAY == timedelta() for one in seasons(series))
        return FittedHoltWinters((_smoothing(logs, _initial(logs, season, seasonal=np.array([seasonal])), seasonal),))


@dataclass(frozen=True, slots=True)
class FittedHoltWinters(Fitted):
    """The smoothing alone; the state is filtered anew from the bins that a forecast is given.

    smoothings: one for all series, or one for each row of the panels that it will be given.
    """

    smoothings: tuple[Smoothing, ...] = (Smoothing(),)
    name: str = "HoltWinters"
    version: str = ""

    def part(self, rows: slice) -> Fitted:
        return self if len(self.smoothings) == 1 else replace(self, smoothings=self.smoothings[rows])

    def quantiles(self, panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
        season = panel.bins_in(DAY)
        logs = _logs(panel)
        parts = _Parts.of(self.smoothings, len(logs))
        states = _filter(logs, _initial(logs, season, parts.seasonal), parts)
        rows, newest = origins.rows[:, None], origins.cols[:, None] - 1
        targets = origins.cols[:, None] + horizons - 1
        same_phase = targets - season * -(-(targets - newest) // season)
        faded = np.cumsum(parts.damping[:, None] ** np.arange(1, horizons.max() + 1), axis=1)[rows, horizons - 1]
        found = pick(states.level, rows, newest) + faded * pick(states.trend, rows, newest)
        found = found + np.nan_to_num(pick(states.season, rows, same_phase))
        offset = _offset(panel)[origins.rows, np.maximum(origins.cols - 1, 0)][:, None]
        points = np.clip(np.exp(np.nan_to_num(np.minimum(found, 700.0))) - offset, 0.0, MAX_DEMAND)
        # The first day makes the states; until it is over they would know what is yet to come.
        young = origins.cols < _begins(logs)[origins.rows] + season
        points = np.where(young[:, None], levels_at(panel, origins).level[:, None], points)
        return np.repeat(points[:, :, None], len(QUANTILES), axis=2)

    def contributions(self, panel: Panel, origins: Origins, horizons: IntArray) -> list[tuple[str, ...]]:
        del panel, horizons
        told = ("level and trend of the last hours", "the shape of the day")
        by_row = [told if smoothing.seasonal else told[:1] for smoothing in self.smoothings]
        return [by_row[row if len(by_row) > 1 else 0] for row in origins.rows]


@dataclass(frozen=True, slots=True)
class _Parts:
    """Smoothings by row, each of shape (rows,)."""

    level: FloatArray
    trend: FloatArray
    season: FloatArray
    damping: FloatArray
    seasonal: BoolArray

    @classmethod
    def of(cls, smoothings: tuple[Smoothing, ...], rows: int) -> "_Parts":
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
    """Logarithms from the first bin above zero on, NaN before: until then there is no unit to measure in."""
    awake = np.cumsum(np.nan_to_num(panel.values), axis=1) > 0
    return np.where(awake, np.log(panel.values + _offset(panel)), np.nan)


def _offset(panel: Panel) -> FloatArray:
    """A tenth of the mean of the first day with demand: known from then on, so that no origin sees the future."""
    width = panel.bins_in(DAY)
    seen = np.isfinite(panel.values) & (np.cumsum(np.nan_to_num(panel.values), axis=1) > 0)
    early = seen & (np.cumsum(seen, axis=1) <= width)
    total = np.cumsum(np.where(early, panel.values, 0.0), axis=1)
    count = np.maximum(np.cumsum(early, axis=1), 1)
    return np.maximum(_OFFSET_SHARE * total / count, 1e-12)


def _begins(logs: FloatArray) -> IntArray:
    """The first bin with demand of each row; past the end where there is none."""
    seen = np.isfinite(logs)
    return np.where(seen.any(axis=1), seen.argmax(axis=1), logs.shape[1])


def _smoothing(logs: FloatArray, start: _States, seasonal: bool) -> Smoothing:
    """What fits one series best, by statsmodels."""
    # statsmodels takes a second to import; only training needs it.
    from statsmodels.tools.sm_exceptions import ConvergenceWarning
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    names = ["smoothing_level", "smoothing_trend", "smoothing_seasonal", "damping_trend"]
    model = ExponentialSmoothing(
        _filled(logs, start)[0],
        trend="add",
        damped_trend=True,
        seasonal="add" if seasonal else None,
        seasonal_periods=start.season.shape[1] if seasonal else None,
        initialization_method="known",
        initial_level=float(start.level[0]),
        initial_trend=0.0,
        initial_seasonal=start.season[0] if seasonal else None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = model.fit(optimized=True).params
    # Without a season its share is None.
    shares = [float(np.clip(np.nan_to_num(found[name] or 0.0), 0, 1)) for name in names]
    return Smoothing(*shares, seasonal=seasonal)


def _initial(logs: FloatArray, season: int, seasonal: BoolArray) -> _States:
    """Level, trend and season of each row from its first day; shapes (rows,), (rows,), (rows, season).

    seasonal: shape (rows,); a row without a season has zeros for one.
    """
    first = np.full((len(logs), season), np.nan)
    for row, line, begin in zip(first, logs, _begins(logs), strict=True):
        phases = np.arange(begin, min(begin + season, len(line))) % season
        row[phases] = line[begin : begin + len(phases)]
    seen = np.isfinite(first)
    level = np.where(seen, first, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return _States(level, np.zeros(len(logs)), np.where(seen & seasonal[:, None], first - level[:, None], 0.0))


def _filled(logs: FloatArray, start: _States) -> FloatArray:
    """Missing bins as the first day had them at that time: statsmodels takes no gaps."""
    season = start.season.shape[1]
    usual = start.level[:, None] + start.season[:, np.arange(logs.shape[1]) % season]
    return np.where(np.isfinite(logs), logs, usual)


def _filter(logs: FloatArray, start: _States, parts: "_Parts") -> _States:
    """States after each bin, each of shape (rows, bins). A missing bin surprises nobody."""
    rows, bins = logs.shape
    season = start.season.shape[1]
    states = _States(np.empty((rows, bins)), np.empty((rows, bins)), np.empty((rows, bins)))
    level, trend, seasons = start.level.copy(), start.trend.copy(), start.season.copy()
    for at in range(bins):
        phase = at % season
        expected = level + parts.damping * trend
        surprise = np.nan_to_num(logs[:, at] - expected - seasons[:, phase])
        level = expected + parts.level * surprise
        trend = parts.damping * trend + parts.level * parts.trend * surprise
        seasons[:, phase] += parts.season * surprise
        states.level[:, at], states.trend[:, at], states.season[:, at] = level, trend, seasons[:, phase]
    return states
