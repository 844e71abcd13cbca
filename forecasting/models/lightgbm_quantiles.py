"""Gradient-boosted quantiles, direct: one booster for each quantile, the horizon is a feature."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from forecasting.cleaning.outliers import without_outliers
from forecasting.cleaning.regularize import describe_amount
from forecasting.events import EventLayer, learn_effects
from forecasting.events.band_fitting import layer_with_bands
from forecasting.features import FEATURES, FeatureMatrix, build_features
from forecasting.forecast import QUANTILES
from forecasting.forecaster import FittedModel, TooShortError
from forecasting.models.explanation import reasons
from forecasting.models.lightgbm_boosters import booster_from_text, train_booster, training_data
from forecasting.models.linear import LinearMedian, fit_linear
from forecasting.models.peak_boosters import (
    PEAK_NAMES,
    SHIFTS,
    PeakBoosters,
    PeakRows,
    draw_peak_rows,
    fit_peaks,
    knots_of,
)
from forecasting.panel import DAY, WEEK, BoolArray, IntArray, Origins, Panel
from forecasting.peaks import PeakShifts
from forecasting.series import FloatArray, Series

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset

HORIZON = timedelta(hours=3)
_FULL_RESOLUTION = timedelta(hours=1)
"""Every bin up to this horizon is a training target; beyond it every third or so."""
_MIN_HISTORY = timedelta(days=2)
_MAX_LOG = 8.0
"""Larger changes in logarithms are noise and are clipped. A thousandfold burst of a timer is 7 and is kept."""
_MAX_LEAVES_OF_ROWS, _MIN_IN_LEAF_RANGE = 225, (20, 200)
"""A leaf holds at least rows / _MAX_LEAVES_OF_ROWS rows, within the range: what smaller leaves fit is mostly noise."""
_FAR_APART = 1.0
_LINEAR_SHARE = 0.25
MEMORY = WEEK + timedelta(hours=12)
"""The history that the features read: a week and a margin."""
LINEAR = "linear"
EVENTS = "events"
"""The name of the text of learned event effects; only models of series with known events have it."""
WEIGHTED = "q0500w"
"""The second median, weighted by the level, as an error in a busy hour costs more; averaged with the first."""


def booster_name(quantile: float) -> str:
    """Return the name of a quantile's booster, in memory and as a file.

    >>> booster_name(0.95)
    'q0950'
    """
    return f"q{round(quantile * 1000):04d}"


QUANTILE_OF = {**{booster_name(quantile): quantile for quantile in QUANTILES}, WEIGHTED: 0.5}
"""The quantile that each booster estimates, by its name."""
NAMES = tuple(QUANTILE_OF)
TEXTS = (*NAMES, *PEAK_NAMES, SHIFTS, LINEAR)
"""The names of the texts that every model has."""


@dataclass(frozen=True, slots=True)
class LightGBMQuantiles:
    """The training settings.

    rounds, peak_rounds: the trees of each booster. rows, peak_rows: the maximum of training rows, drawn over all
    origins. feature_count: the features with the highest gain that are kept. threads: boosters that are trained
    concurrently. The same settings and series give the same model for any number of threads.
    """

    rounds: int = 100
    leaves: int = 31
    learning_rate: float = 0.1
    rows: int = 45_000
    peak_rows: int = 15_000
    peak_rounds: int = 60
    feature_count: int = len(FEATURES)
    threads: int = 1
    seed: int = 17
    name: str = "LightGBM"

    def fit(self, series: Series) -> "FittedLightGBM":
        """Learn from a series. Raises TooShortError where it has less than two days of observed demand."""
        series = without_outliers(series)
        panel = Panel.of([series])
        observed = np.isfinite(panel.values[0]).sum() * series.step
        if observed < _MIN_HISTORY:
            history = describe_amount("observed demand", observed)
            raise TooShortError(f"{series.name} has {history}; LightGBM needs {describe_amount('it', _MIN_HISTORY)}")
        effects = learn_effects(series)
        if effects is None:
            return self.fit_rows(*self._drawn(panel), panel.step)
        quiet = EventLayer(effects).on_panel(panel, 0).without_events()
        fitted = self.fit_rows(*self._drawn(quiet), panel.step)
        return replace(fitted, events=layer_with_bands(effects, panel, fitted.linear.predict))

    def _drawn(self, panel: Panel) -> tuple["Rows", PeakRows]:
        return draw_rows(panel, self.rows, self.seed), draw_peak_rows(panel, self.peak_rows, self.seed)

    def fit_rows(self, rows: "Rows", peak_rows: PeakRows, step_seconds: int) -> "FittedLightGBM":
        """Learn from training rows of any origin. step_seconds: the width of a bin."""
        all_columns = tuple(range(len(FEATURES)))
        columns = all_columns if self.feature_count >= len(FEATURES) else self._strongest_columns(rows)
        linear = fit_linear(rows.matrix, rows.target, rows.weight, step_seconds)
        boosters, peaks = self._boosters(rows, peak_rows, columns)
        return FittedLightGBM(boosters, linear, PeakBoosters(peaks), columns)

    def _boosters(
        self, rows: "Rows", peak_rows: PeakRows, columns: tuple[int, ...]
    ) -> tuple[dict[str, "Booster"], dict[str, "Booster"]]:
        """Train boosters concurrently, each in one thread: LightGBM's own threads spin while they wait for a core."""
        matrix = rows.matrix[:, columns]

        def train_all(names: Sequence[str]) -> dict[str, "Booster"]:
            # Threads cannot share a dataset safely; one for each thread, not for each booster, as binning is expensive.
            dataset = training_data(matrix, rows.target, self._parameters(0.5, len(matrix)))
            return {
                name: self._train(
                    dataset.set_weight(rows.weight if name == WEIGHTED else None), QUANTILE_OF[name], len(matrix)
                )
                for name in names
            }

        workers = max(1, min(self.threads, len(NAMES)))
        with ThreadPoolExecutor(workers) as pool:
            parts = pool.map(train_all, (NAMES[at::workers] for at in range(workers)))
            peaks = pool.submit(fit_peaks, peak_rows, columns, self.seed, self.peak_rounds)
            return {name: booster for part in parts for name, booster in part.items()}, peaks.result()

    def _train(self, dataset: "Dataset", quantile: float, rows: int, rounds: int | None = None) -> "Booster":
        return train_booster(self._parameters(quantile, rows), dataset, rounds or self.rounds)

    def _strongest_columns(self, rows: "Rows") -> tuple[int, ...]:
        """The features with the highest gain in a small booster, as positions in FEATURES."""
        scout = self._train(training_data(rows.matrix, rows.target), 0.5, len(rows.matrix), max(20, self.rounds // 5))
        gains = scout.feature_importance("gain")
        return tuple(sorted(np.argsort(-gains, kind="stable")[: self.feature_count].tolist()))

    def _parameters(self, quantile: float, rows: int) -> dict[str, object]:
        return {
            "objective": "quantile",
            "alpha": quantile,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": int(np.clip(rows // _MAX_LEAVES_OF_ROWS, *_MIN_IN_LEAF_RANGE)),
            "feature_fraction": 0.5,
            "max_bin": 127,
            "num_threads": 1,
            "seed": self.seed,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }


@dataclass(frozen=True, slots=True)
class FittedLightGBM(FittedModel):
    """A trained model. boosters: by NAMES. peak: boosters for the highest demand within windows.

    columns: the features that all boosters use, as positions in FEATURES. events: the learned effects of known events;
    the boosters and the linear median then describe demand without events.
    """

    boosters: Mapping[str, "Booster"]
    linear: LinearMedian
    peak: PeakBoosters
    columns: tuple[int, ...]
    name: str = "LightGBM"
    version: str = field(default="")
    events: EventLayer | None = None

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], columns: tuple[int, ...], version: str) -> "FittedLightGBM":
        """Return the model from the result of `texts`, which must be checked: damaged boosters crash or hang."""
        boosters = {name: booster_from_text(texts[name]) for name in NAMES}
        events = EventLayer.from_text(texts[EVENTS]) if EVENTS in texts else None
        linear, peak = LinearMedian.from_text(texts[LINEAR]), PeakBoosters.from_texts(texts)
        return cls(boosters, linear, peak, columns, version=version, events=events)

    def texts(self) -> dict[str, str]:
        """Return each booster as LightGBM's text, the linear median and the event effects as JSON, by name."""
        boosters = {name: booster.model_to_string() for name, booster in self.boosters.items()}
        events = {EVENTS: self.events.text()} if self.events else {}
        return {**boosters, **self.peak.texts(), LINEAR: self.linear.text(), **events}

    def with_peak_shifts(self, errors: FloatArray) -> "FittedLightGBM":
        """Return the model with its peaks shifted by the errors of a holdout model on days that it had not seen."""
        return replace(self, peak=replace(self.peak, shifts=PeakShifts.from_errors(errors)))

    @property
    def lookback(self) -> timedelta:
        return MEMORY

    @property
    def event_types(self) -> frozenset[str]:
        """The types of events whose effects the model has learned."""
        return frozenset(effect.type for effect in self.events.effects.types) if self.events else frozenset()

    def quantiles(self, panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
        if self.events is None:
            return self.from_features(build_features(panel, origins, horizons), horizons)
        events = self.events.on_panel(panel, int(horizons.max()))
        return events.apply(
            self.from_features(build_features(events.without_events(), origins, horizons), horizons), origins, horizons
        )

    def peaks(self, panel: Panel, origins: Origins, count: int) -> FloatArray:
        if self.events is None:
            return self.peaks_from(build_features(panel, origins, knots_of(count)), count)
        # Events change the peak by the same factor as the highest median.
        bins, median = np.arange(1, count + 1), QUANTILES.index(0.5)
        events = self.events.on_panel(panel, count)
        without_events = self.from_features(build_features(events.without_events(), origins, bins), bins)
        with_events = events.apply(without_events, origins, bins)
        with_highest, without_highest = (
            np.maximum.accumulate(quantiles[:, :, median, None], axis=1) for quantiles in (with_events, without_events)
        )
        factor = np.divide(with_highest, without_highest, out=np.ones_like(with_highest), where=without_highest > 0)
        return factor * self.peaks_from(build_features(events.without_events(), origins, knots_of(count)), count)

    def peaks_from(self, built: FeatureMatrix, count: int) -> FloatArray:
        """Return the peaks without events from features that were built for knots_of(count)."""
        return np.maximum.accumulate(self.peak.highest(built, knots_of(count), count, self.columns), axis=1)

    def near_events(self, panel: Panel, origins: Origins, horizons: IntArray) -> BoolArray | None:
        if self.events is None or self.events.bands is None:
            return None
        return self.events.on_panel(panel, int(horizons.max())).near(origins, horizons)

    def from_features(self, built: FeatureMatrix, horizons: IntArray) -> FloatArray:
        """Return the quantiles without events from features that were built for `horizons`."""
        shape = (-1, len(horizons))
        logs = self._logs(built).reshape(*shape, len(QUANTILES))
        # Near horizons are smoother: the linear median has half of the weight at the next bin, a quarter far ahead.
        share = (_LINEAR_SHARE * (1 + 1 / horizons))[None, :]
        difference = self.linear.predict(built.matrix).reshape(shape) - logs[:, :, QUANTILES.index(0.5)]
        # The linear median has no clock features: where it is far from the trees, the trees are right.
        logs += (share * difference / (1 + (difference / _FAR_APART) ** 2))[:, :, None]
        return built.levels.value_of(np.sort(logs, axis=2))

    def contributions(self, panel: Panel, origins: Origins, horizons: IntArray) -> list[tuple[str, ...]]:
        built = build_features(
            panel if self.events is None else self.events.on_panel(panel, 0).without_events(), origins, horizons
        )
        return [self.explain(built.for_origin(at, len(horizons)), len(horizons)) for at in range(len(origins))]

    def explain(self, built: FeatureMatrix, horizons: int) -> tuple[str, ...]:
        """Return up to three reasons for the farthest horizon of one origin, strongest first."""
        row = built.matrix[horizons - 1 : horizons, self.columns]
        return reasons(self.boosters[booster_name(0.5)], row, self.columns)

    def _logs(self, built: FeatureMatrix) -> FloatArray:
        matrix = built.matrix if len(self.columns) == len(FEATURES) else built.matrix[:, self.columns]
        logs = np.empty((len(matrix), len(QUANTILES)))
        for column, quantile in enumerate(QUANTILES):
            logs[:, column] = self._predict(booster_name(quantile), matrix)
        median = QUANTILES.index(0.5)
        logs[:, median] = 0.5 * (logs[:, median] + self._predict(WEIGHTED, matrix))
        return logs

    def _predict(self, name: str, matrix: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> FloatArray:
        return np.asarray(self.boosters[name].predict(matrix, num_threads=1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows. matrix: shape (rows, features). target: logs relative to the level. weight: mean 1, by level."""

    matrix: np.ndarray[tuple[int, int], np.dtype[np.float32]]
    target: FloatArray
    weight: FloatArray


def draw_rows(panel: Panel, limit: int, seed: int) -> Rows:
    """Draw at most `limit` rows from the one series of a panel, from all origins; near horizons are more frequent.

    Raises TooShortError where the series has no bin above zero with a successor.
    """
    random = np.random.default_rng(seed)
    cols = np.arange(panel.bins_in(DAY) // 4, panel.bins)
    horizons = horizons_of(panel)
    if len(cols) > limit // 2:
        cols = np.sort(random.choice(cols, limit // 2, replace=False))
    per_origin = int(np.clip(limit // max(1, len(cols)), 1, len(horizons)))
    # Drawn without replacement with odds of 1 / horizon (the Gumbel trick): the next bins matter most.
    odds = random.gumbel(size=(len(cols), len(horizons))) - np.log(horizons)
    ahead = np.sort(horizons[np.argsort(-odds, axis=1)[:, :per_origin]], axis=1)
    origins = Origins.of_single_series(cols)
    built = build_features(panel, origins, ahead)
    actual = _actual(panel, cols, ahead)
    target = built.levels.log_of(actual).ravel()
    weight = np.repeat(built.levels.level + built.levels.offset, per_origin)
    usable = np.isfinite(target) & np.repeat(built.levels.has_demand, per_origin)
    if not usable.any():
        raise TooShortError("no bin of demand above zero has a successor; LightGBM has nothing to learn from")
    weight = weight[usable] / weight[usable].mean()
    return Rows(built.matrix[usable], np.clip(target[usable], -_MAX_LOG, _MAX_LOG), np.clip(weight, 0.05, 20.0))


def horizons_of(panel: Panel) -> IntArray:
    """Return the horizons to learn, in bins: each of the first hour, then every third or so up to three hours."""
    near, far = panel.bins_in(_FULL_RESOLUTION), panel.bins_in(HORIZON)
    return np.unique(np.concatenate([np.arange(1, near + 1), np.arange(near, far + 1, max(1, near // 3))]))


def _actual(panel: Panel, cols: IntArray, ahead: IntArray) -> FloatArray:
    targets = cols[:, None] + ahead - 1
    inside = targets < panel.bins
    return np.where(inside, panel.values[0][np.where(inside, targets, 0)], np.nan)
