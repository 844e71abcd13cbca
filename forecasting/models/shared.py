"""One LightGBM for many series: for those too young, too small or too many to have one each.

Its features are relative to each series' own level, so that what one series teaches holds for another of any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from forecasting.forecaster import TooShortError
from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles, Rows, draw_rows
from forecasting.models.peak_boosters import PeakRows, draw_peak_rows
from forecasting.panel import DAY, IntArray, Panel
from forecasting.series import Series
from forecasting.walk_forward import HORIZONS, WalkForward, before, walk_with

NAME = "LightGBM-shared"


@dataclass(frozen=True, slots=True)
class SharedLightGBM:
    """How to train on many series at once; `model.rows` are drawn in all, evenly over the series."""

    model: LightGBMQuantiles = field(
        default_factory=lambda: LightGBMQuantiles(rounds=150, leaves=48, rows=90_000, peak_rows=30_000)
    )
    name: str = NAME

    def fit_many(self, series: Sequence[Series]) -> FittedLightGBM:
        """Learn from what the series hold. Raises TooShortError when none holds enough to learn from, ValueError when
        their steps differ.
        """
        if len({one.step for one in series}) > 1:
            raise ValueError(f"series of one step; found {sorted({str(one.step) for one in series})}")
        each = max(2, self.model.rows // max(1, len(series)))
        few = max(2, self.model.peak_rows // max(1, len(series)))
        drawn = [rows for at, one in enumerate(series) if (rows := _drawn(one, (each, few), self.model.seed + at))]
        if not drawn:
            raise TooShortError(f"none of {len(series)} series has a bin above zero with a day before it and one after")
        rows = Rows(
            np.concatenate([one.matrix for one, _ in drawn]),
            np.concatenate([one.target for one, _ in drawn]),
            np.concatenate([one.weight for one, _ in drawn]),
        )
        peaks = PeakRows(
            np.concatenate([one.matrix for _, one in drawn]), np.concatenate([one.target for _, one in drawn])
        )
        fitted = self.model.fit_rows(rows, peaks, round(series[0].step.total_seconds()))
        return replace(fitted, name=self.name)


def _drawn(series: Series, limits: tuple[int, int], seed: int) -> tuple[Rows, PeakRows] | None:
    panel, (most, most_peaks) = Panel.of([series]), limits
    if panel.bins <= panel.bins_in(DAY) // 4:
        return None
    try:
        return draw_rows(panel, most, seed), draw_peak_rows(panel, most_peaks, seed)
    except TooShortError:
        return None


def until(series: Series, moment: datetime) -> Series:
    """The bins that end by then."""
    return before(series, max(0, min(len(series.values), (moment - series.start) // series.step)))


def walk_forward_shared(
    series: Sequence[Series],
    forecaster: SharedLightGBM,
    split: float = 0.7,
    refits: int = 4,
    horizons: IntArray = HORIZONS,
    *,
    strangers: bool = False,
) -> list[WalkForward]:
    """backtest.walk_forward with a shared model: each forecast is made by one that learned from the same shares of all.

    strangers: each series is forecast by a model that learned from the others only, as a new service would be. Series
    of different years are cut at the same share, not at the same moment.
    """
    shares = np.linspace(split, 1.0, refits + 1)
    cuts = [(len(one.values) * shares).round().astype(np.int64) for one in series]
    models: list[list[FittedLightGBM]] = [[] for _ in series]
    for at in range(refits):
        known = [before(one, int(cut[at])) for one, cut in zip(series, cuts, strict=True)]
        if strangers:
            found = [forecaster.fit_many(known[:row] + known[row + 1 :]) for row in range(len(series))]
        else:
            found = [forecaster.fit_many(known)] * len(series)
        for row, model in enumerate(found):
            models[row].append(model)
    walks = zip(series, models, cuts, strict=True)
    return [walk_with(one, row, cut, horizons) for one, row, cut in walks]
