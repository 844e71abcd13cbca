"""Quantiles of the highest demand within a window, from small boosters in addition to those of single bins.

On seven series, floors from these boosters were short for a tenth less time, at the same replica-hours, than floors
from the highest of the bins' own quantiles. As many rows and rounds as for single bins gave no better result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from forecasting.features import FeatureMatrix, Matrix, build_features
from forecasting.forecast import PEAK_QUANTILES
from forecasting.models.lightgbm_boosters import booster_from_text, train_booster, training_data
from forecasting.panel import DAY, IntArray, Origins, Panel
from forecasting.peaks import NO_SHIFTS, PeakShifts
from forecasting.series import FloatArray

if TYPE_CHECKING:
    from lightgbm import Booster

KNOTS = (1, 2, 3, 4, 6, 12)
"""Windows that are learned, in bins; the windows between are interpolated."""
_MAX_LOG = 5.0
"""Larger changes in logarithms are noise and are clipped."""
_PARAMETERS: dict[str, object] = {
    "objective": "quantile",
    "num_leaves": 31,
    "learning_rate": 0.17,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.7,
    "max_bin": 127,
    "num_threads": 1,
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}


def peak_name(quantile: float) -> str:
    """Return the name of a quantile's booster of the peak, in memory and as a file.

    >>> peak_name(0.95)
    'w0950'
    """
    return f"w{round(quantile * 1000):04d}"


SHIFTS = "peak_shifts"
PEAK_NAMES = tuple(peak_name(quantile) for quantile in PEAK_QUANTILES)


@dataclass(frozen=True, slots=True)
class PeakRows:
    """Training rows. matrix: shape (rows, features); the horizon is the window. target: logs relative to the level."""

    matrix: Matrix
    target: FloatArray


@dataclass(frozen=True, slots=True)
class PeakBoosters:
    """The peak boosters of a model. boosters: by PEAK_NAMES. shifts: from their errors on days that were held out."""

    boosters: Mapping[str, "Booster"]
    shifts: PeakShifts = NO_SHIFTS

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> "PeakBoosters":
        """Return the boosters from the result of `texts`, which must be checked. Raises ValueError for bad shifts."""
        boosters = {name: booster_from_text(texts[name]) for name in PEAK_NAMES}
        return cls(boosters, PeakShifts.from_text(texts[SHIFTS]))

    def texts(self) -> dict[str, str]:
        """Return each booster as LightGBM's text and the shifts as JSON, by name."""
        boosters = {name: booster.model_to_string() for name, booster in self.boosters.items()}
        return {**boosters, SHIFTS: self.shifts.text()}

    def highest(self, built: FeatureMatrix, knots: IntArray, count: int, columns: tuple[int, ...]) -> FloatArray:
        """Return quantiles of the highest demand of the first 1 to `count` bins.

        Shape (origins, count, len(PEAK_QUANTILES)). built: rows of each origin for each of `knots` (see knots_of).
        columns: the features in use.
        """
        matrix = built.matrix[:, columns]
        logs = np.empty((len(matrix), len(PEAK_NAMES)))
        for at, name in enumerate(PEAK_NAMES):
            logs[:, at] = np.asarray(self.boosters[name].predict(matrix, num_threads=1), dtype=np.float64)
        at_knots = np.sort(logs.reshape(-1, len(knots), len(PEAK_NAMES)), axis=2)
        return built.levels.value_of(_interpolated(at_knots, knots, count))


def knots_of(count: int) -> IntArray:
    """Return the windows to predict for all windows of 1 to `count` bins."""
    return np.array([knot for knot in KNOTS if knot < count] + [min(count, KNOTS[-1])], dtype=np.int64)


def fit_peaks(rows: PeakRows, columns: tuple[int, ...], seed: int, rounds: int) -> dict[str, "Booster"]:
    """Train a booster of `rounds` trees for each quantile, one after another."""
    dataset = training_data(rows.matrix[:, columns], rows.target, _PARAMETERS)
    return {
        name: train_booster({**_PARAMETERS, "alpha": quantile, "seed": seed}, dataset, rounds)
        for name, quantile in zip(PEAK_NAMES, PEAK_QUANTILES, strict=True)
    }


def draw_peak_rows(panel: Panel, limit: int, seed: int) -> PeakRows:
    """Draw at most `limit` rows from the one series of a panel; each origin has one or more windows, mostly short."""
    random = np.random.default_rng(seed)
    knots = np.array(KNOTS)
    cols = np.arange(panel.bins_in(DAY) // 4, panel.bins)
    per_origin = int(np.clip(limit // max(1, len(cols)), 1, len(knots)))
    if len(cols) > limit // per_origin:
        cols = np.sort(random.choice(cols, limit // per_origin, replace=False))
    odds = random.gumbel(size=(len(cols), len(knots))) - 0.5 * np.log(knots)
    windows = np.sort(knots[np.argsort(-odds, axis=1)[:, :per_origin]], axis=1)
    built = build_features(panel, Origins.of_single_series(cols), windows)
    target = built.levels.log_of(_highest(panel, cols, windows)).ravel()
    usable = np.isfinite(target) & np.repeat(built.levels.has_demand, per_origin)
    return PeakRows(built.matrix[usable], np.clip(target[usable], -_MAX_LOG, _MAX_LOG))


def _highest(panel: Panel, cols: IntArray, windows: IntArray) -> FloatArray:
    """The highest bin of each window; NaN where a bin is missing."""
    ahead = cols[:, None] + np.arange(KNOTS[-1])
    inside = ahead < panel.bins
    values = np.where(inside, panel.values[0][np.where(inside, ahead, 0)], np.nan)
    return np.take_along_axis(np.maximum.accumulate(values, axis=1), windows - 1, axis=1)


def _interpolated(at_knots: FloatArray, knots: IntArray, count: int) -> FloatArray:
    """Interpolate from the knots to each window up to `count`; windows beyond the last knot equal the last."""
    windows = np.clip(np.arange(1, count + 1), knots[0], knots[-1])
    right = np.clip(np.searchsorted(knots, windows), 1, max(1, len(knots) - 1))
    if len(knots) == 1:
        return np.repeat(at_knots, count, axis=1)
    left = right - 1
    share = ((windows - knots[left]) / (knots[right] - knots[left]))[None, :, None]
    return at_knots[:, left] * (1 - share) + at_knots[:, right] * share
