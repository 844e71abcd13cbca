"""Gradient-boosted quantiles, direct: one booster a quantile, the horizon a feature."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta

import lightgbm as lgb
import numpy as np

from forecasting.cleaning.outliers import without_outliers
from forecasting.cleaning.regularize import amount_of
from forecasting.events import EventLayer, learn_effects
from forecasting.events.judging import with_bands
from forecasting.features import FEATURES, Built, build
from forecasting.forecast import QUANTILES
from forecasting.forecaster import Fitted, TooShortError
from forecasting.models.explanation import reasons
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

HORIZON = timedelta(hours=3)
_FINE = timedelta(hours=1)
_MINIMUM = timedelta(days=2)
_NOISE = 8.0
"""Logarithms beyond which a change is noise. A timer's burst out of nothing is none: a thousandfold is 7."""
_LEAVES_OF_ROWS, _MIN_IN_LEAF = 225, (20, 200)
"""A leaf holds at least that share of all rows, within bounds: what is left of demand is mostly noise."""
_FAR_APART = 1.0
_LINEAR_SHARE = 0.25
MEMORY = WEEK + timedelta(hours=12)
"""How far back the features look, and a little more."""
LINEAR = "linear"
EVENTS = "events"
"""The text of what was learned of known events; there is none where there were none."""
WEIGHTED = "q0500w"
"""The second median: weighted by the level, as an error in a busy hour costs more; averaged with the first."""


def booster_name(quantile: float) -> str:
    """What a quantile's booster is called, in memory and as a file.

    >>> booster_name(0.95)
    'q0950'
    """
    return f"q{round(quantile * 1000):04d}"


QUANTILE_OF = {**{booster_name(quantile): quantile for quantile in QUANTILES}, WEIGHTED: 0.5}
"""What each booster of a model estimates, by its name."""
NAMES = tuple(QUANTILE_OF)
TEXTS = (*NAMES, *PEAK_NAMES, SHIFTS, LINEAR)
"""What every model's texts are called."""


@dataclass(frozen=True, slots=True)
class LightGBMQuantiles:
    """How to train.

    rows, peak_rows: at most so many, drawn over all origins. feature_count: the rest, by gain, is left out. threads:
    boosters that are trained at once. The same settings and series give the same model, whatever the number of threads.
    """

    rounds: int = 100
    leaves: int = 31
    learning_rate: float = 0.1
    rows: int = 45_000
    peak_rows: int = 15_000
    feature_count: int = len(FEATURES)
    threads: int = 1
    seed: int = 17
    name: str = "LightGBM"

    def fit(self, series: Series) -> "FittedLightGBM":
        series = without_outliers(series)
        panel = Panel.of([series])
        observed = np.isfinite(panel.values[0]).sum() * series.step
        if observed < _MINIMUM:
            has = amount_of("observed demand", observed)
            raise TooShortError(f"{series.name} has {has}; LightGBM needs {amount_of('it', _MINIMUM)}")
        effects = learn_effects(series)
        if effects is None:
            return self.fit_rows(*self._drawn(panel), panel.step)
        quiet = EventLayer(effects).of(panel, 0).quiet()
        fitted = self.fit_rows(*self._drawn(quiet), panel.step)
        return replace(fitted, events=with_bands(effects, panel, fitted.linear.predict))

    def _drawn(self, panel: Panel) -> tuple["Rows", PeakRows]:
        return draw_rows(panel, self.rows, self.seed), draw_peak_rows(panel, self.peak_rows, self.seed)

    def fit_rows(self, rows: "Rows", peak_rows: PeakRows, step_seconds: int) -> "FittedLightGBM":
        """fit, from rows that someone else drew."""
        every = tuple(range(len(FEATURES)))
        columns = every if self.feature_count >= len(FEATURES) else self._strongest(rows)
        linear = fit_linear(rows.matrix, rows.target, rows.weight, step_seconds)
        boosters, peaks = self._boosters(rows, peak_rows, columns)
        return FittedLightGBM(boosters, linear, PeakBoosters(peaks), columns)

    def _boosters(
        self, rows: "Rows", peak_rows: PeakRows, columns: tuple[int, ...]
    ) -> tuple[dict[str, lgb.Booster], dict[str, lgb.Booster]]:
        """Several at once, each in one thread: LightGBM's own threads spin while they wait for a busy core."""
        matrix = np.ascontiguousarray(rows.matrix[:, columns])

        def some(names: Sequence[str]) -> dict[str, lgb.Booster]:
            # A dataset is not safe to share between threads; one a thread, as binning is not free.
            dataset = lgb.Dataset(matrix, rows.target, params=self._parameters(0.5, len(matrix)), free_raw_data=False)
            return {
                name: self._train(
                    dataset.set_weight(rows.weight if name == WEIGHTED else None), QUANTILE_OF[name], len(matrix)
                )
                for name in names
            }

        workers = max(1, min(self.threads, len(NAMES)))
        with ThreadPoolExecutor(workers) as pool:
            parts = pool.map(some, (NAMES[at::workers] for at in range(workers)))
            peaks = pool.submit(fit_peaks, peak_rows, columns, self.seed)
            return {name: booster for part in parts for name, booster in part.items()}, peaks.result()

    def _train(self, dataset: lgb.Dataset, quantile: float, rows: int, rounds: int | None = None) -> lgb.Booster:
        return lgb.train(self._parameters(quantile, rows), dataset, num_boost_round=rounds or self.rounds)

    def _strongest(self, rows: "Rows") -> tuple[int, ...]:
        scout = self._train(lgb.Dataset(rows.matrix, rows.target), 0.5, len(rows.matrix), max(20, self.rounds // 5))
        gains = scout.feature_importance("gain")
        return tuple(sorted(np.argsort(-gains, kind="stable")[: self.feature_count].tolist()))

    def _parameters(self, quantile: float, rows: int) -> dict[str, object]:
        return {
            "objective": "quantile",
            "alpha": quantile,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": int(np.clip(rows // _LEAVES_OF_ROWS, *_MIN_IN_LEAF)),
            "feature_fraction": 0.5,
            "max_bin": 127,
            "num_threads": 1,
            "seed": self.seed,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }


@dataclass(frozen=True, slots=True)
class FittedLightGBM(Fitted):
    """boosters: by NAMES. peak: of the highest demand within windows.

    columns: the features that all of them use, as positions in FEATURES.
    events: what it learned of known events; boosters and line then are of demand without them.
    """

    boosters: Mapping[str, lgb.Booster]
    linear: LinearMedian
    peak: PeakBoosters
    columns: tuple[int, ...]
    name: str = "LightGBM"
    version: str = field(default="")
    events: EventLayer | None = None

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], columns: tuple[int, ...], version: str) -> "FittedLightGBM":
        """From what `texts` gave. They must have been checked: damaged boosters crash or hang the process."""
        boosters = {name: lgb.Booster(model_str=texts[name]) for name in NAMES}
        events = EventLayer.from_text(texts[EVENTS]) if EVENTS in texts else None
        linear, peak = LinearMedian.from_text(texts[LINEAR]), PeakBoosters.from_texts(texts)
        return cls(boosters, linear, peak, columns, version=version, events=events)

    def texts(self) -> dict[str, str]:
        """Each booster as LightGBM's text, the linear median and what was learned of events as JSON, by name."""
        boosters = {name: booster.model_to_string() for name, booster in self.boosters.items()}
        events = {EVENTS: self.events.text()} if self.events else {}
        return {**boosters, **self.peak.texts(), LINEAR: self.linear.text(), **events}

    def with_peak_shifts(self, off: FloatArray) -> "FittedLightGBM":
        """The same, its peaks moved by errors that a twin made on days that neither of them saw."""
        return replace(self, peak=replace(self.peak, shifts=PeakShifts.learned(off)))

    @property
    def memory(self) -> timedelta:
        return MEMORY

    def quantiles(self, panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
        if self.events is None:
            return self.from_features(build(panel, origins, horizons), horizons)
        events = self.events.of(panel, int(horizons.max()))
        return events.put_on(self.from_features(build(events.quiet(), origins, horizons), horizons), origins, horizons)

    def peaks(self, panel: Panel, origins: Origins, count: int) -> FloatArray:
        if self.events is None:
            return self.peaks_from(build(panel, origins, knots_of(count)), count)
        # What the events do to the highest median they do to the peak.
        bins, median = np.arange(1, count + 1), QUANTILES.index(0.5)
        events = self.events.of(panel, count)
        calm = self.from_features(build(events.quiet(), origins, bins), bins)
        known = events.put_on(calm, origins, bins)
        highest = [np.maximum.accumulate(one[:, :, median, None], axis=1) for one in (known, calm)]
        factor = np.divide(*highest, out=np.ones_like(highest[0]), where=highest[1] > 0)
        return factor * self.peaks_from(build(events.quiet(), origins, knots_of(count)), count)

    def peaks_from(self, built: Built, count: int) -> FloatArray:
        """What `peaks` gives without events, for those who have the features of knots_of(count) already."""
        return np.maximum.accumulate(self.peak.highest(built, knots_of(count), count, self.columns), axis=1)

    def near_events(self, panel: Panel, origins: Origins, horizons: IntArray) -> BoolArray | None:
        if self.events is None or self.events.bands is None:
            return None
        return self.events.of(panel, int(horizons.max())).near(origins, horizons)

    def from_features(self, built: Built, horizons: IntArray) -> FloatArray:
        """quantiles, for those who have the features already."""
        shape = (-1, len(horizons))
        logs = self._logs(built).reshape(*shape, len(QUANTILES))
        # The nearer, the smoother: the line counts for half of the next bin, for a quarter of a far one.
        share = (_LINEAR_SHARE * (1 + 1 / horizons))[None, :]
        apart = self.linear.predict(built.matrix).reshape(shape) - logs[:, :, QUANTILES.index(0.5)]
        # A line knows no clock: where it is far from the trees, it is the one that is wrong.
        logs += (share * apart / (1 + (apart / _FAR_APART) ** 2))[:, :, None]
        return built.levels.value_of(np.sort(logs, axis=2))

    def contributions(self, panel: Panel, origins: Origins, horizons: IntArray) -> list[tuple[str, ...]]:
        built = build(panel if self.events is None else self.events.of(panel, 0).quiet(), origins, horizons)
        return [self.explain(built.of(at, len(horizons)), len(horizons)) for at in range(len(origins))]

    def explain(self, built: Built, horizons: int) -> tuple[str, ...]:
        """Up to three reasons for the farthest forecast of one origin, strongest first."""
        row = built.matrix[horizons - 1 : horizons, self.columns]
        return reasons(self.boosters[booster_name(0.5)], row, self.columns)

    def _logs(self, built: Built) -> FloatArray:
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
    """At most `limit` rows from the one series of a panel, from all its origins; near horizons are drawn more often."""
    choice = np.random.default_rng(seed)
    cols = np.arange(panel.bins_in(DAY) // 4, panel.bins)
    horizons = horizons_of(panel)
    if len(cols) > limit // 2:
        cols = np.sort(choice.choice(cols, limit // 2, replace=False))
    each = int(np.clip(limit // max(1, len(cols)), 1, len(horizons)))
    # Drawn without replacement with odds of 1 / horizon (the Gumbel trick): the next bins matter most.
    odds = choice.gumbel(size=(len(cols), len(horizons))) - np.log(horizons)
    ahead = np.sort(horizons[np.argsort(-odds, axis=1)[:, :each]], axis=1)
    origins = Origins.of_one(cols)
    built = build(panel, origins, ahead)
    actual = _actual(panel, cols, ahead)
    target = built.levels.log_of(actual).ravel()
    weight = np.repeat(built.levels.level + built.levels.offset, each)
    usable = np.isfinite(target) & np.repeat(built.levels.awake, each)
    if not usable.any():
        raise TooShortError("no bin of demand above zero has a successor; LightGBM has nothing to learn")
    weight = weight[usable] / weight[usable].mean()
    return Rows(built.matrix[usable], np.clip(target[usable], -_NOISE, _NOISE), np.clip(weight, 0.05, 20.0))


def horizons_of(panel: Panel) -> IntArray:
    """Each bin of the first hour, then every third or so up to three hours."""
    fine, far = panel.bins_in(_FINE), panel.bins_in(HORIZON)
    return np.unique(np.concatenate([np.arange(1, fine + 1), np.arange(fine, far + 1, max(1, fine // 3))]))


def _actual(panel: Panel, cols: IntArray, ahead: IntArray) -> FloatArray:
    targets = cols[:, None] + ahead - 1
    inside = targets < panel.bins
    return np.where(inside, panel.values[0][np.where(inside, targets, 0)], np.nan)
