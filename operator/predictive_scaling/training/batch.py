"""One batch of forecasts with the models on the shelf."""

import threading
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

import numpy as np

from forecasting.choice import ModelChoice
from forecasting.features import build
from forecasting.forecast import QUANTILES, Forecast
from forecasting.forecaster import Fitted
from forecasting.levels import Levels
from forecasting.models.holt_winters import FittedHoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import MEMORY, FittedLightGBM
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.panel import Panel
from forecasting.series import FloatArray, Series
from forecasting.serving import naive_batch
from forecasting.youth import widened, youth
from predictive_scaling.training.loading import Loaded
from predictive_scaling.training.series_keys import SeriesKey
from predictive_scaling.training.tracking import ErrorTracker, Made, nothing_known

Name = TypeVar("Name", bound=Hashable)
EXPLAINED = 100
"""Forecasts of one batch that are explained: reasons cost more than the forecast itself."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A forecast that someone wants: of the series as it is now, from its end on.

    series: any step of whole seconds; give at least eight days where there are any (the models look back a week).
    choice: the policy's `forecast.model`. steps: bins ahead, 1 to 36 at 5 minutes.
    """

    key: SeriesKey
    series: Series
    choice: ModelChoice
    steps: int


@dataclass(frozen=True, slots=True)
class Shelved:
    """A model in use, with the errors that it has made since. The lock guards the errors."""

    loaded: Loaded
    tracker: ErrorTracker
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, loaded: Loaded) -> "Shelved":
        horizons = np.array(loaded.manifest.residual_horizons, dtype=np.int64)
        known = loaded.residuals if loaded.residuals is not None else nothing_known(horizons)
        return cls(loaded, ErrorTracker(horizons, known))

    @property
    def lightgbm(self) -> FittedLightGBM:
        """The model. Raises LookupError where there is none; `acts` says whether there is."""
        if self.loaded.lightgbm is None:
            raise LookupError(f"{self.loaded.manifest.key} has no LightGBM")
        return self.loaded.lightgbm

    def acts(self, step: timedelta) -> bool:
        """Whether LightGBM may act for series of this step: it is there, and it passed the gate."""
        manifest = self.loaded.manifest
        same = manifest.resolution_seconds == step.total_seconds()
        return self.loaded.lightgbm is not None and manifest.gate.passed and same


class Batch(Generic[Name]):
    """The models as they were when the batch began."""

    def __init__(self, shelved: Mapping[SeriesKey, Shelved]) -> None:
        self._shelved = shelved

    def forecast(self, wanted: Mapping[Name, Wanted]) -> dict[Name, Forecast]:
        """See ModelShelf.forecast."""
        groups: defaultdict[tuple[timedelta, int], list[Name]] = defaultdict(list)
        for name, one in wanted.items():
            if np.isfinite(one.series.values).any():
                groups[one.series.step, one.steps].append(name)
        found: dict[Name, Forecast] = {}
        for (step, steps), names in groups.items():
            learned = [name for name in names if self._is_learned(wanted[name], step)]
            found.update(self._by_lightgbm({name: wanted[name] for name in learned}, steps))
            found.update(self._by_naive({name: wanted[name] for name in names if name not in found}, steps))
        return found

    def _is_learned(self, one: Wanted, step: timedelta) -> bool:
        shelved = self._shelved.get(one.key)
        return one.choice in (ModelChoice.AUTO, ModelChoice.LIGHTGBM) and shelved is not None and shelved.acts(step)

    def _by_lightgbm(self, wanted: Mapping[Name, Wanted], steps: int) -> dict[Name, Forecast]:
        if not wanted:
            return {}
        series = [one.series for one in wanted.values()]
        panel = Panel.of(series, keep=-(-MEMORY // series[0].step))
        horizons = np.arange(1, steps + 1)
        built = build(panel, panel.last(), horizons)
        found: dict[Name, Forecast] = {}
        for at, (name, one) in enumerate(wanted.items()):
            shelved = self._shelved[one.key]
            model = shelved.lightgbm
            part = built.of(at, steps)
            values = _calibrated(shelved, part.levels, model.from_features(part, horizons), one.series)
            reasons = model.explain(part, steps) if at < EXPLAINED else ()
            found[name] = Forecast(
                one.series.name,
                one.series.end,
                one.series.step,
                QUANTILES,
                widened(values, youth(one.series)),
                model.name,
                model.version,
                reasons,
            )
        return found

    def _by_naive(self, wanted: Mapping[Name, Wanted], steps: int) -> dict[Name, Forecast]:
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

    def _kind(self, one: Wanted) -> str:
        shelved = self._shelved.get(one.key)
        asked = {ModelChoice.SEASONAL_NAIVE: "SeasonalNaive", ModelChoice.HOLT_WINTERS: "HoltWinters"}
        return asked.get(one.choice, shelved.loaded.manifest.gate.acting if shelved else "")

    def _models_of(self, kind: str, keys: Sequence[SeriesKey]) -> Sequence[Fitted]:
        match kind:
            case "LastValue":
                return [LastValue()]
            case "SeasonalNaive":
                return [SeasonalNaive()]
            case "HoltWinters":
                known = [self._shelved.get(key) for key in keys]
                usual = FittedHoltWinters().smoothings
                found = [one.loaded.holt_winters.smoothings if one else usual for one in known]
                return [FittedHoltWinters(tuple(one for (one,) in found))]
            case _:
                return [LastValue(), SeasonalNaive()]


def _calibrated(shelved: Shelved, levels: Levels, raw: FloatArray, series: Series) -> FloatArray:
    """Calibrated quantiles of shape (steps, quantiles), after the errors of earlier forecasts were counted."""
    steps = np.arange(1, raw.shape[1] + 1)
    step = round(series.step.total_seconds())
    with shelved.lock:
        tracker = shelved.tracker
        tracker.observe(series)
        tracked = tracker.horizons
        logs = np.full((len(tracked), len(QUANTILES)), np.nan)
        known = (tracked <= raw.shape[1]) & levels.awake[0]
        logs[known] = levels.log_of(raw)[0, tracked[known] - 1]
        whole = float(levels.level[0] + levels.offset[0])
        tracker.remember(Made(round(series.end.timestamp()), whole, float(levels.offset[0]), logs), step)
        calibration = tracker.calibration()
    return calibration.apply(raw, steps, levels)[0]
