"""Forecasts made again as they would have been made: walking forward, refitting, never looking ahead."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from forecasting.error_measures import coverage, wape
from forecasting.forecast import QUANTILES
from forecasting.forecaster import FittedModel, Forecaster
from forecasting.levels import Levels, levels_at
from forecasting.panel import BoolArray, IntArray, Origins, Panel
from forecasting.series import FloatArray, Series

HORIZONS: IntArray = np.array([1, 3, 6, 12])
"""5, 15, 30 and 60 minutes ahead at 5 minutes."""


@dataclass(frozen=True, slots=True)
class WalkForward:
    """Forecasts at each origin beside what came.

    origins: shape (origins,), bins before each origin. horizons: shape (horizons,), bins ahead.
    quantiles: shape (origins, horizons, len(QUANTILES)). actual: shape (origins, horizons), NaN where it is missing or
    lies beyond the series. levels: at each origin, for logarithms. near: targets near events whose bands a model keeps
    apart (Fitted.near_events), shape (origins, horizons); None where there are none.
    """

    name: str
    origins: IntArray
    horizons: IntArray
    quantiles: FloatArray
    actual: FloatArray
    levels: Levels
    near: BoolArray | None = None

    def at(self, quantile: float) -> FloatArray:
        """The forecasts of one of QUANTILES: shape (origins, horizons)."""
        return self.quantiles[:, :, QUANTILES.index(quantile)]

    def wape(self) -> FloatArray:
        """Of the medians, by horizon."""
        return np.array([wape(self.actual[:, at], self.at(0.5)[:, at]) for at in range(len(self.horizons))])

    def coverage(self, quantile: float) -> float:
        """Over all horizons."""
        return coverage(self.actual, self.at(quantile))

    def since(self, origin: int) -> "WalkForward":
        """The part from an origin on."""
        cut = slice(int(np.searchsorted(self.origins, origin)), None)
        return replace(
            self,
            origins=self.origins[cut],
            quantiles=self.quantiles[cut],
            actual=self.actual[cut],
            levels=self.levels[cut],
            near=None if self.near is None else self.near[cut],
        )

    def within(self, horizon: int) -> "WalkForward":
        """The horizons up to one, in bins ahead."""
        cut = slice(0, int(np.searchsorted(self.horizons, horizon, side="right")))
        near = None if self.near is None else self.near[:, cut]
        quantiles, actual = self.quantiles[:, cut], self.actual[:, cut]
        return replace(self, horizons=self.horizons[cut], quantiles=quantiles, actual=actual, near=near)


def walk_forward(
    series: Series, forecaster: Forecaster, split: float = 0.7, refits: int = 4, horizons: IntArray = HORIZONS
) -> WalkForward:
    """Learn from the first `split` of a series, forecast from each origin of the rest, refit `refits` times on the way.

    Each origin is forecast by a model that learned from what lies before its stretch only. Raises TooShortError as
    the forecaster does, ValueError when split or refits leave nothing to learn from or to forecast.
    """
    bins = len(series.values)
    first = round(bins * split)
    if not 0 < first < bins or not 1 <= refits <= bins - first:
        raise ValueError(f"{bins} bins cannot be split at {split} and refitted {refits} times")
    cuts = np.linspace(first, bins, refits + 1).round().astype(np.int64)
    return walk_with_models(series, [forecaster.fit(before(series, int(cut))) for cut in cuts[:-1]], cuts, horizons)


def walk_with_models(series: Series, models: Sequence[FittedModel], cuts: IntArray, horizons: IntArray) -> WalkForward:
    """Forecasts from each origin between the first and the last of `cuts`, by models[i] from cuts[i] on.

    Honest only where each model learned from nothing later than its cut. cuts: ascending, shape (len(models) + 1,).
    """
    panel = Panel.of([series])
    stretches = [Origins.of_single_series(np.arange(since, until)) for since, until in pairwise(cuts.tolist())]
    parts = [model.quantiles(panel, origins, horizons) for model, origins in zip(models, stretches, strict=True)]
    near = near_events_of(models, panel, stretches, horizons)
    return _walk(models[0].name, panel, np.arange(cuts[0], cuts[-1]), horizons, np.concatenate(parts), near)


def near_events_of(
    models: Sequence[FittedModel | None], panel: Panel, stretches: Sequence[Origins], horizons: IntArray
) -> BoolArray | None:
    """`near_events` of each model over its stretch, one after the other; None where none knows of events."""
    found = [
        model.near_events(panel, origins, horizons) if model is not None else None
        for model, origins in zip(models, stretches, strict=True)
    ]
    if all(one is None for one in found):
        return None
    return np.concatenate(
        [
            np.zeros((len(origins), len(horizons)), dtype=bool) if one is None else one
            for one, origins in zip(found, stretches, strict=True)
        ]
    )


def replay(series: Series, fitted: FittedModel, first: int, horizons: IntArray, stride: int = 1) -> WalkForward:
    """What a model would have forecast from origin `first` on, each `stride` bins.

    Honest only where the model learned from nothing later than `first`.
    """
    panel = Panel.of([series])
    origins = np.arange(first, len(series.values), stride)
    asked = Origins.of_single_series(origins)
    values, near = fitted.quantiles(panel, asked, horizons), fitted.near_events(panel, asked, horizons)
    return _walk(fitted.name, panel, origins, horizons, values, near)


def before(series: Series, origin: int) -> Series:
    """The first `origin` bins."""
    return replace(series, values=series.values[:origin])


def _walk(
    name: str,
    panel: Panel,
    origins: IntArray,
    horizons: IntArray,
    values: FloatArray,
    near: BoolArray | None = None,
) -> WalkForward:
    targets = origins[:, None] + horizons - 1
    inside = targets < panel.bins
    actual = np.where(inside, panel.values[0][np.where(inside, targets, 0)], np.nan)
    return WalkForward(
        name, origins, horizons, values, actual, levels_at(panel, Origins.of_single_series(origins)), near
    )
