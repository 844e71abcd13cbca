"""One batch of forecasts with the models on the shelf."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from typing import Generic, TypeVar

import numpy as np

from forecasting.calibration import cold_start_factor, widened
from forecasting.features import FeatureMatrix, build_features
from forecasting.forecast import PEAK_QUANTILES, QUANTILES, Forecast
from forecasting.forecaster import FittedModel, ModelChoice
from forecasting.models.explanation import Reasons
from forecasting.models.holt_winters import FittedHoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import MEMORY, FittedLightGBM
from forecasting.models.peak_boosters import knots_of
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.naive_batch import answer, naive_batch
from forecasting.panel import BoolArray, Panel
from forecasting.peaks import WINDOWS, at_least_bins
from forecasting.series import FloatArray, Series
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.served_models import ServedModel
from predictive_scaling.serving.tiers import Tiers

Name = TypeVar("Name", bound=Hashable)
_MANY = 100


@dataclass(frozen=True, slots=True)
class ForecastRequest:
    """A forecast that someone wants: of the series as it is now, from its end on.

    series: any step of whole seconds; give at least eight days where there are any (the models look back a week).
    choice: the policy's `forecast.model`. steps: bins ahead, 1 to 36 at 5 minutes.
    """

    key: SeriesKey
    series: Series
    choice: ModelChoice
    steps: int


@dataclass(frozen=True, slots=True)
class _Learned(Generic[Name]):
    """A wish that a LightGBM answers."""

    name: Name
    wanted: ForecastRequest
    served: ServedModel


class Batch(Generic[Name]):
    """The models as they were when the batch began."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    def forecast(self, wanted: Mapping[Name, ForecastRequest]) -> dict[Name, Forecast]:
        """See ModelShelf.forecast."""
        groups: defaultdict[tuple[timedelta, int], list[Name]] = defaultdict(list)
        for name, one in wanted.items():
            if np.isfinite(one.series.values).any():
                groups[one.series.step, one.steps].append(name)
        found: dict[Name, Forecast] = {}
        for (step, steps), names in groups.items():
            learned = [one for name in names if (one := self._learned(name, wanted[name], step)) is not None]
            found.update(self._by_lightgbm(learned, steps))
            found.update(self._by_naive({name: wanted[name] for name in names if name not in found}, steps))
        return {name: self._with_note(wanted[name], forecast) for name, forecast in found.items()}

    def _with_note(self, one: ForecastRequest, made: Forecast) -> Forecast:
        """Say so where a policy's choice of a model goes against the gate, or could not be followed."""
        if one.choice is ModelChoice.AUTO:
            return made
        asked = f"spec.forecast.model is {one.choice.value}"
        if not made.model.startswith(one.choice.value):
            return replace(made, note=f"{asked}, which cannot forecast this series yet")
        gate = self._tiers.verdict(one.key, made.model)
        if gate is None or (gate.acting == made.model and not gate.by_horizon):
            return made
        return replace(made, note=f"{asked}, against the verdict on the last days: {gate.evidence}")

    def _learned(self, name: Name, one: ForecastRequest, step: timedelta) -> _Learned[Name] | None:
        if one.choice not in (ModelChoice.AUTO, ModelChoice.LIGHTGBM):
            return None
        served = self._tiers.serving(one.key, one.series, gated=one.choice is ModelChoice.AUTO)
        return None if served is None else _Learned(name, one, served)

    def _by_lightgbm(self, learned: Sequence[_Learned[Name]], steps: int) -> dict[Name, Forecast]:
        """Features for all in one go; then one prediction a model, for all that share it."""
        if not learned:
            return {}
        ordered = sorted(learned, key=lambda one: id(one.served.model))
        series = [one.wanted.series for one in ordered]
        panel = Panel.of(series, keep=-(-MEMORY // series[0].step))
        built = build_features(panel, panel.latest_origins(), np.arange(1, steps + 1))
        found: dict[Name, Forecast] = {}
        begin = 0
        for _, group in groupby(ordered, key=lambda one: id(one.served.model)):
            sharing = list(group)
            part = _part(built, begin, begin + len(sharing), steps)
            found.update({one.name: made for one, made in zip(sharing, _results(sharing, part, steps), strict=True)})
            begin += len(sharing)
        return self._with_others(ordered, found, steps)

    def _with_others(
        self, learned: Sequence[_Learned[Name]], found: dict[Name, Forecast], steps: int
    ) -> dict[Name, Forecast]:
        """Other models' forecasts at the horizons where the gate found those to be better."""
        groups: defaultdict[str, list[_Learned[Name]]] = defaultdict(list)
        for one in learned:
            for kind in {entry.model for entry in one.served.by_horizon} - {one.served.model.name}:
                groups[kind].append(one)
        for kind, ones in groups.items():
            (model,) = self._models_of(kind, [one.wanted.key for one in ones])
            panel = Panel.of([one.wanted.series for one in ones])
            for one, values in zip(ones, answer(panel, model, steps).values, strict=True):
                found[one.name] = _spliced(
                    found[one.name], one, kind, widened(values, cold_start_factor(one.wanted.series))
                )
        return found

    def _by_naive(self, wanted: Mapping[Name, ForecastRequest], steps: int) -> dict[Name, Forecast]:
        """Those that learn next to nothing: one batch for each kind."""
        groups: defaultdict[str, list[Name]] = defaultdict(list)
        for name, one in wanted.items():
            groups[self._kind(one)].append(name)
        found: dict[Name, Forecast] = {}
        for kind, names in groups.items():
            models = self._models_of(kind, [wanted[name].key for name in names])
            forecasts = naive_batch([wanted[name].series for name in names], models, steps)
            found.update(zip(names, forecasts, strict=True))
        return found

    def _kind(self, one: ForecastRequest) -> str:
        known = self._tiers.known.get(one.key)
        asked = {ModelChoice.SEASONAL_NAIVE: "SeasonalNaive", ModelChoice.HOLT_WINTERS: "HoltWinters"}
        return asked.get(one.choice, known.manifest.gate.acting if known else "")

    def _models_of(self, kind: str, keys: Sequence[SeriesKey]) -> Sequence[FittedModel]:
        match kind:
            case "LastValue":
                return [LastValue()]
            case "SeasonalNaive":
                return [SeasonalNaive()]
            case "HoltWinters":
                known = [self._tiers.known.get(key) for key in keys]
                usual = FittedHoltWinters().smoothings
                found = [one.holt_winters.smoothings if one else usual for one in known]
                return [FittedHoltWinters(tuple(one for (one,) in found))]
            case _:
                return [LastValue(), SeasonalNaive()]


def _part(built: FeatureMatrix, begin: int, end: int, steps: int) -> FeatureMatrix:
    return FeatureMatrix(built.matrix[begin * steps : end * steps], built.levels[begin:end])


def _results(sharing: Sequence[_Learned[Name]], built: FeatureMatrix, steps: int) -> list[Forecast]:
    """Calibrated forecasts of series that share a model, which is asked once for all of them."""
    model, horizons = sharing[0].served.model, np.arange(1, steps + 1)
    near: BoolArray | None = None
    windows = min(steps, WINDOWS)
    if model.events is None:
        raw, highest = _predicted(model, built, steps, windows)
    else:
        panel = Panel.of([one.wanted.series for one in sharing])
        last = panel.latest_origins()
        raw, near = model.quantiles(panel, last, horizons), model.near_events(panel, last, horizons)
        highest = model.peaks(panel, last, windows)
    found: list[Forecast] = []
    for at, one in enumerate(sharing):
        series, part = one.wanted.series, _part(built, at, at + 1, steps)
        apart = near[at] if near is not None else None
        values = one.served.errors.calibrated(raw[at : at + 1], part.levels, series, apart)
        factor = cold_start_factor(series)
        together = model.peak.shifts.apply(highest[at : at + 1], values[None], part.levels)[0]
        found.append(
            Forecast(
                series.name,
                series.end,
                series.step,
                QUANTILES,
                widened(values, factor),
                model.name,
                model.version,
                _reasons(model, part, steps),
                widened(together, factor, PEAK_QUANTILES),
            )
        )
    return found


def _predicted(model: FittedLightGBM, built: FeatureMatrix, steps: int, windows: int) -> tuple[FloatArray, FloatArray]:
    """Quantiles and peaks; of many series in two threads, as LightGBM lets others run while it predicts."""

    def some(cut: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        part = _part(built, *cut, steps)
        return model.from_features(part, np.arange(1, steps + 1)), model.peaks_from(
            _knots(part, steps, windows), windows
        )

    count = len(built.levels.level)
    if count < _MANY:
        return some((0, count))
    with ThreadPoolExecutor(2) as pool:
        (first, highest), (second, higher) = pool.map(some, ((0, count // 2), (count // 2, count)))
    return np.concatenate([first, second]), np.concatenate([highest, higher])


def _knots(built: FeatureMatrix, steps: int, count: int) -> FeatureMatrix:
    """Of the rows of each step those that a peak of up to `count` bins is made from."""
    rows = built.matrix.reshape(len(built.levels.level), steps, -1)[:, knots_of(count) - 1]
    return FeatureMatrix(rows.reshape(-1, built.matrix.shape[1]), built.levels)


def _reasons(model: FittedLightGBM, part: FeatureMatrix, steps: int) -> Reasons:
    """Of the farthest forecast; of all that was computed only its row is kept."""
    farthest = FeatureMatrix(part.matrix[steps - 1 : steps].copy(), part.levels)
    return Reasons(lambda: model.explain(farthest, 1))


def _spliced(made: Forecast, one: _Learned[Name], kind: str, values: FloatArray) -> Forecast:
    steps = np.array([one.served.acting(step) == kind for step in range(1, len(made.values) + 1)])
    if not steps.any():
        return made
    mixed = np.where(steps[:, None], values, made.values)
    return replace(made, values=mixed, peaks=None if made.peaks is None else at_least_bins(made.peaks, mixed))
