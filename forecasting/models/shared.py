"""One shared LightGBM for many series: those that are too new, too small or too many for a model each.

Its features are relative to the level of each series, so that it generalizes to series of any size.
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
from forecasting.walk_forward import HORIZONS, WalkForward, before, walk_with_models

NAME = "LightGBM-shared"


@dataclass(frozen=True, slots=True)
class SharedLightGBM:
    """The training settings for many series; `model.rows` is the total of rows, drawn evenly over the series."""

    model: LightGBMQuantiles = field(
        default_factory=lambda: LightGBMQuantiles(rounds=150, leaves=48, rows=90_000, peak_rows=30_000)
    )
    name: str = NAME

    def fit_many(self, series: Sequence[Series]) -> FittedLightGBM:
        """Learn from many series.

        Raises TooShortError when every series is too short to learn from, ValueError when their steps differ.
        """
        if len({member.step for member in series}) > 1:
            steps = sorted({str(member.step) for member in series})
            raise ValueError(f"all series of a shared model need the same step, but these have {', '.join(steps)}")
        limit = max(2, self.model.rows // max(1, len(series)))
        peak_limit = max(2, self.model.peak_rows // max(1, len(series)))
        parts = [
            part
            for number, member in enumerate(series)
            if (part := _training_rows(member, limit, peak_limit, self.model.seed + number))
        ]
        if not parts:
            raise TooShortError(f"none of {len(series)} series has a bin above zero with a day before it and one after")
        rows = Rows(
            np.concatenate([rows.matrix for rows, _ in parts]),
            np.concatenate([rows.target for rows, _ in parts]),
            np.concatenate([rows.weight for rows, _ in parts]),
        )
        peak_rows = PeakRows(
            np.concatenate([peak_rows.matrix for _, peak_rows in parts]),
            np.concatenate([peak_rows.target for _, peak_rows in parts]),
        )
        fitted = self.model.fit_rows(rows, peak_rows, round(series[0].step.total_seconds()))
        return replace(fitted, name=self.name)


def _training_rows(series: Series, limit: int, peak_limit: int, seed: int) -> tuple[Rows, PeakRows] | None:
    """The rows of one series; None where it is too short."""
    panel = Panel.of([series])
    if panel.bins <= panel.bins_in(DAY) // 4:
        return None
    try:
        return draw_rows(panel, limit, seed), draw_peak_rows(panel, peak_limit, seed)
    except TooShortError:
        return None


def until(series: Series, moment: datetime) -> Series:
    """Return the bins that end at or before a moment."""
    return before(series, max(0, min(len(series.values), (moment - series.start) // series.step)))


def walk_forward_shared(
    series: Sequence[Series],
    forecaster: SharedLightGBM,
    split: float = 0.7,
    refits: int = 4,
    horizons: IntArray = HORIZONS,
    *,
    leave_one_out: bool = False,
) -> list[WalkForward]:
    """Return walk-forward forecasts of a shared model, one walk for each series.

    Each refit learns from the same share of every series: series of different years are cut at the same share, not at
    the same moment. leave_one_out: each series is forecast by a model that learned from the others only, as a new
    service is.
    """
    shares = np.linspace(split, 1.0, refits + 1)
    cuts = [(len(member.values) * shares).round().astype(np.int64) for member in series]
    models: list[list[FittedLightGBM]] = [[] for _ in series]
    for refit in range(refits):
        known = [before(member, int(cut[refit])) for member, cut in zip(series, cuts, strict=True)]
        if leave_one_out:
            fitted = [forecaster.fit_many(known[:row] + known[row + 1 :]) for row in range(len(series))]
        else:
            fitted = [forecaster.fit_many(known)] * len(series)
        for of_series, model in zip(models, fitted, strict=True):
            of_series.append(model)
    return [
        walk_with_models(member, of_series, cut, horizons)
        for member, of_series, cut in zip(series, models, cuts, strict=True)
    ]
