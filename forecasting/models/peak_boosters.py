"""Quantiles of the highest demand within a window, by small boosters of their own beside those of single bins.

On the seven series that this was tried on, floors by them were short for a tenth less time, at the same replica-hours,
than floors by the highest of the bins' own quantiles; as many rows and rounds as for single bins did no better.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from forecasting.features import Built, Matrix, build
from forecasting.forecast import PEAK_QUANTILES
from forecasting.panel import DAY, IntArray, Origins, Panel
from forecasting.peaks import NO_SHIFTS, PeakShifts
from forecasting.series import FloatArray

KNOTS = (1, 2, 3, 4, 6, 12)
"""Windows that are learned, in bins; those between follow by interpolation."""
_NOISE = 5.0
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
_ROUNDS = 60


def peak_name(quantile: float) -> str:
    """What a quantile's booster of the peak is called, in memory and as a file.

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
    """boosters: by PEAK_NAMES. shifts: by what they missed on days that they had not seen."""

    boosters: Mapping[str, lgb.Booster]
    shifts: PeakShifts = NO_SHIFTS

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> "PeakBoosters":
        """From what `texts` gave, checked before. Raises ValueError where the shifts are none."""
        boosters = {name: lgb.Booster(model_str=texts[name]) for name in PEAK_NAMES}
        return cls(boosters, PeakShifts.from_text(texts[SHIFTS]))

    def texts(self) -> dict[str, str]:
        """Each booster as LightGBM's text and the shifts as JSON, by name."""
        boosters = {name: booster.model_to_string() for name, booster in self.boosters.items()}
        return {**boosters, SHIFTS: self.shifts.text()}

    def highest(self, built: Built, knots: IntArray, count: int, columns: tuple[int, ...]) -> FloatArray:
        """Quantiles of the highest demand of the first 1 to `count` bins: shape (origins, count, len(PEAK_QUANTILES)).

        built: rows of each origin for each of `knots` (see knots_of). columns: the features in use.
        """
        matrix = built.matrix[:, columns]
        logs = np.empty((len(matrix), len(PEAK_NAMES)))
        for at, name in enumerate(PEAK_NAMES):
            logs[:, at] = np.asarray(self.boosters[name].predict(matrix, num_threads=1), dtype=np.float64)
        found = np.sort(logs.reshape(-1, len(knots), len(PEAK_NAMES)), axis=2)
        return built.levels.value_of(_between(found, knots, count))


def knots_of(count: int) -> IntArray:
    """The windows to ask for, when those up to `count` bins are wanted."""
    return np.array([knot for knot in KNOTS if knot < count] + [min(count, KNOTS[-1])], dtype=np.int64)


def fit_peaks(rows: PeakRows, columns: tuple[int, ...], seed: int) -> dict[str, lgb.Booster]:
    """A booster for each quantile, one after another."""
    matrix = np.ascontiguousarray(rows.matrix[:, columns])
    dataset = lgb.Dataset(matrix, rows.target, params=_PARAMETERS, free_raw_data=False)
    return {
        name: lgb.train({**_PARAMETERS, "alpha": quantile, "seed": seed}, dataset, num_boost_round=_ROUNDS)
        for name, quantile in zip(PEAK_NAMES, PEAK_QUANTILES, strict=True)
    }


def draw_peak_rows(panel: Panel, limit: int, seed: int) -> PeakRows:
    """At most `limit` rows from the one series of a panel, one or some windows an origin, short ones more often."""
    choice = np.random.default_rng(seed)
    knots = np.array(KNOTS)
    cols = np.arange(panel.bins_in(DAY) // 4, panel.bins)
    each = int(np.clip(limit // max(1, len(cols)), 1, len(knots)))
    if len(cols) > limit // each:
        cols = np.sort(choice.choice(cols, limit // each, replace=False))
    odds = choice.gumbel(size=(len(cols), len(knots))) - 0.5 * np.log(knots)
    windows = np.sort(knots[np.argsort(-odds, axis=1)[:, :each]], axis=1)
    built = build(panel, Origins.of_one(cols), windows)
    target = built.levels.log_of(_highest(panel, cols, windows)).ravel()
    usable = np.isfinite(target) & np.repeat(built.levels.awake, each)
    return PeakRows(built.matrix[usable], np.clip(target[usable], -_NOISE, _NOISE))


def _highest(panel: Panel, cols: IntArray, windows: IntArray) -> FloatArray:
    """The highest bin of each window; NaN where one of them is missing."""
    ahead = cols[:, None] + np.arange(KNOTS[-1])
    inside = ahead < panel.bins
    values = np.where(inside, panel.values[0][np.where(inside, ahead, 0)], np.nan)
    return np.take_along_axis(np.maximum.accumulate(values, axis=1), windows - 1, axis=1)


def _between(found: FloatArray, knots: IntArray, count: int) -> FloatArray:
    """From the knots to each window up to `count`; what is longer than the last knot is as the last."""
    windows = np.clip(np.arange(1, count + 1), knots[0], knots[-1])
    right = np.clip(np.searchsorted(knots, windows), 1, max(1, len(knots) - 1))
    if len(knots) == 1:
        return np.repeat(found, count, axis=1)
    left = right - 1
    share = ((windows - knots[left]) / (knots[right] - knots[left]))[None, :, None]
    return found[:, left] * (1 - share) + found[:, right] * share
