"""Walk-forward evaluation: forecasts of the past as they would have been made, with refits and without look-ahead."""

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
    """Forecasts at each origin, and the actual values.

    origins: shape (origins,), bins before each origin. horizons: shape (horizons,), bins ahead.
    quantiles: shape (origins, horizons, len(QUANTILES)). actual: shape (origins, horizons), NaN where missing or beyond
    the series. levels: at each origin, for logarithms. near: targets near events that have separate bands
    (FittedModel.near_events), shape (origins, horizons); None if there are none.
    """

    name: str
    origins: IntArray
    horizons: IntArray
    quantiles: FloatArray
    actual: FloatArray
    levels: Levels
    near: BoolArray | None = None

    def at(self, quantile: float) -> FloatArray:
        """Return the forecasts of a quantile in QUANTILES: shape (origins, horizons)."""
        return self.quantiles[:, :, QUANTILES.index(quantile)]

    def wape(self) -> FloatArray:
        """Return the WAPE of the medians by horizon."""
        return np.array([wape(self.actual[:, column], self.at(0.5)[:, column]) for column in range(len(self.horizons))])

    def coverage(self, quantile: float) -> float:
        """Return the coverage of a quantile over all horizons."""
        return coverage(self.actual, self.at(quantile))

    def since(self, origin: int) -> "WalkForward":
        """Return the part from an origin on."""
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
        """Return the part up to a horizon in bins ahead."""
        cut = slice(0, int(np.searchsorted(self.horizons, horizon, side="right")))
        near = None if self.near is None else self.near[:, cut]
        quantiles, actual = self.quantiles[:, cut], self.actual[:, cut]
        return replace(self, horizons=self.horizons[cut], quantiles=quantiles, actual=actual, near=near)


def walk_forward(
    series: Series, forecaster: Forecaster, split: float = 0.7, refits: int = 4, horizons: IntArray = HORIZONS
) -> WalkForward:
    """Train on the first share `split` of a series and forecast from each origin in the rest, in `refits` equal chunks.

    The model of a chunk is trained on the bins before that chunk only. Raises TooShortError as the forecaster does,
    ValueError if split or refits leave nothing to train on or to forecast.
    """
    bins = len(series.values)
    first = round(bins * split)
    if not 0 < first < bins or not 1 <= refits <= bins - first:
        raise ValueError(f"{bins} bins cannot be split at {split} and refitted {refits} times")
    cuts = np.linspace(first, bins, refits + 1).round().astype(np.int64)
    return walk_with_models(series, [forecaster.fit(before(series, int(cut))) for cut in cuts[:-1]], cuts, horizons)


def walk_with_models(series: Series, models: Sequence[FittedModel], cuts: IntArray, horizons: IntArray) -> WalkForward:
    """Return forecasts from each origin between the first and the last of `cuts`, by models[i] from cuts[i] on.

    Without look-ahead only if each model was trained on bins before its cut. cuts: ascending, shape (len(models) + 1,).
    """
    panel = Panel.of([series])
    chunks = [Origins.of_single_series(np.arange(since, until)) for since, until in pairwise(cuts.tolist())]
    parts = [model.quantiles(panel, origins, horizons) for model, origins in zip(models, chunks, strict=True)]
    near = near_events_of(models, panel, chunks, horizons)
    return _walk(models[0].name, panel, np.arange(cuts[0], cuts[-1]), horizons, np.concatenate(parts), near)


def near_events_of(
    models: Sequence[FittedModel | None], panel: Panel, chunks: Sequence[Origins], horizons: IntArray
) -> BoolArray | None:
    """Return the concatenated `near_events` of each model over its chunk; None if no model has event effects."""
    parts = [
        model.near_events(panel, origins, horizons) if model is not None else None
        for model, origins in zip(models, chunks, strict=True)
    ]
    if all(part is None for part in parts):
        return None
    return np.concatenate(
        [
            np.zeros((len(origins), len(horizons)), dtype=bool) if part is None else part
            for part, origins in zip(parts, chunks, strict=True)
        ]
    )


def replay(series: Series, fitted: FittedModel, first: int, horizons: IntArray, stride: int = 1) -> WalkForward:
    """Return what a model would have forecast from origin `first` on, at every `stride`-th bin.

    Without look-ahead only if the model was trained on bins before `first`.
    """
    panel = Panel.of([series])
    cols = np.arange(first, len(series.values), stride)
    origins = Origins.of_single_series(cols)
    values, near = fitted.quantiles(panel, origins, horizons), fitted.near_events(panel, origins, horizons)
    return _walk(fitted.name, panel, cols, horizons, values, near)


def before(series: Series, origin: int) -> Series:
    """Return the series of the first `origin` bins."""
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
