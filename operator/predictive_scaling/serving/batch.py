"""One batch of forecasts with the models in use."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from typing import Generic, TypeVar

import numpy as np

from forecasting.bands import Bands, cold_start_factor
from forecasting.calibration import calibrate, interpolation
from forecasting.features import FeatureMatrix, build_features
from forecasting.forecast import Forecast
from forecasting.forecaster import FittedModel, ModelChoice
from forecasting.models.explanation import Reasons
from forecasting.models.holt_winters import FittedHoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import MEMORY, FittedLightGBM
from forecasting.models.peak_boosters import knots_of
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.naive_batch import naive_batch, naive_forecasts
from forecasting.panel import BoolArray, Panel
from forecasting.peaks import WINDOWS
from forecasting.quality.gate import values_of_acting
from forecasting.series import FloatArray, Series
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.served_models import ServedModel
from predictive_scaling.serving.tiers import Tiers

Name = TypeVar("Name", bound=Hashable)
_MIN_PARALLEL = 100
"""Series of one model from which on two threads predict."""
_NAIVE_KINDS = {ModelChoice.SEASONAL_NAIVE: "SeasonalNaive", ModelChoice.HOLT_WINTERS: "HoltWinters"}


@dataclass(frozen=True, slots=True)
class ForecastRequest:
    """A request for a forecast of a series from its end on.

    series: any step of full seconds; at least eight days if available (the models use the last week).
    choice: `spec.forecast.model` of the policy. steps: bins ahead, 1 to 36 at 5 minutes. is_past: whether it repeats a
    forecast of the past, whose errors must not count again for the calibration.
    """

    key: SeriesKey
    series: Series
    choice: ModelChoice
    steps: int
    is_past: bool = False


@dataclass(frozen=True, slots=True)
class _ServedRequest(Generic[Name]):
    """A request that a LightGBM serves."""

    name: Name
    request: ForecastRequest
    served: ServedModel


class Batch(Generic[Name]):
    """A batch of forecasts with the models at its start."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    def forecast(self, requests: Mapping[Name, ForecastRequest]) -> dict[Name, Forecast]:
        """Return the forecasts; see ModelStore.forecast."""
        groups: defaultdict[tuple[timedelta, int], list[Name]] = defaultdict(list)
        for name, request in requests.items():
            if np.isfinite(request.series.values).any():
                groups[request.series.step, request.steps].append(name)
        forecasts: dict[Name, Forecast] = {}
        for (_, steps), names in groups.items():
            served = [item for name in names if (item := self._served_request(name, requests[name])) is not None]
            forecasts.update(self._by_lightgbm(served, steps))
            forecasts.update(self._by_naive({name: requests[name] for name in names if name not in forecasts}, steps))
        return {name: self._with_note(requests[name], forecast) for name, forecast in forecasts.items()}

    def _with_note(self, request: ForecastRequest, forecast: Forecast) -> Forecast:
        """Add a note where the policy's choice of a model contradicts the gate, or could not be followed."""
        if request.choice is ModelChoice.AUTO:
            return forecast
        choice = f"spec.forecast.model is {request.choice.value}"
        if not forecast.model.startswith(request.choice.value):
            return replace(forecast, note=f"{choice}, which cannot forecast this series yet")
        gate = self._tiers.verdict(request.key, forecast.model)
        if gate is None or (gate.acting == forecast.model and not gate.by_horizon):
            return forecast
        return replace(forecast, note=f"{choice}, against the verdict on the last days: {gate.evidence}")

    def _served_request(self, name: Name, request: ForecastRequest) -> _ServedRequest[Name] | None:
        """The request with its LightGBM; None where a naive model serves it."""
        if request.choice not in (ModelChoice.AUTO, ModelChoice.LIGHTGBM):
            return None
        served = self._tiers.serving(request.key, request.series, gated=request.choice is ModelChoice.AUTO)
        return None if served is None else _ServedRequest(name, request, served)

    def _by_lightgbm(self, served: Sequence[_ServedRequest[Name]], steps: int) -> dict[Name, Forecast]:
        """Compute the features of all series at once, then one prediction for each model and all that share it."""
        if not served:
            return {}
        ordered = sorted(served, key=lambda item: id(item.served.model))
        series = [item.request.series for item in ordered]
        panel = Panel.of(series, keep=-(-MEMORY // series[0].step))
        features = build_features(panel, panel.latest_origins(), np.arange(1, steps + 1))
        naive = self._naive_values(ordered, steps)
        forecasts: dict[Name, Forecast] = {}
        begin = 0
        for _, group in groupby(ordered, key=lambda item: id(item.served.model)):
            sharing = list(group)
            part = _part(features, begin, begin + len(sharing), steps)
            names = (item.name for item in sharing)
            forecasts.update(zip(names, _forecasts_of_model(sharing, part, naive, steps), strict=True))
            begin += len(sharing)
        return forecasts

    def _naive_values(self, served: Sequence[_ServedRequest[Name]], steps: int) -> dict[tuple[Name, str], FloatArray]:
        """Calibrated quantiles of naive models, by name and model, where the gate lets those act at some horizons."""
        groups: defaultdict[str, list[_ServedRequest[Name]]] = defaultdict(list)
        for item in served:
            for kind in {entry.model for entry in item.served.by_horizon} - {item.served.model.name}:
                groups[kind].append(item)
        values: dict[tuple[Name, str], FloatArray] = {}
        for kind, items in groups.items():
            (model,) = self._naive_models(kind, [item.request.key for item in items])
            panel = Panel.of([item.request.series for item in items])
            names = ((item.name, kind) for item in items)
            values.update(zip(names, naive_forecasts(panel, model, steps).values, strict=True))
        return values

    def _by_naive(self, requests: Mapping[Name, ForecastRequest], steps: int) -> dict[Name, Forecast]:
        """Forecasts by naive models: one batch for each kind."""
        groups: defaultdict[str, list[Name]] = defaultdict(list)
        for name, request in requests.items():
            groups[self._kind(request)].append(name)
        forecasts: dict[Name, Forecast] = {}
        for kind, names in groups.items():
            models = self._naive_models(kind, [requests[name].key for name in names])
            batch = naive_batch([requests[name].series for name in names], models, steps)
            forecasts.update(zip(names, batch, strict=True))
        return forecasts

    def _kind(self, request: ForecastRequest) -> str:
        """The naive model that acts for a request; "" where the best one is still to be chosen."""
        known = self._tiers.known.get(request.key)
        return _NAIVE_KINDS.get(request.choice, known.manifest.gate.acting if known else "")

    def _naive_models(self, kind: str, keys: Sequence[SeriesKey]) -> Sequence[FittedModel]:
        match kind:
            case "LastValue":
                return [LastValue()]
            case "SeasonalNaive":
                return [SeasonalNaive()]
            case "HoltWinters":
                models = [self._tiers.known.get(key) for key in keys]
                default = FittedHoltWinters().smoothings
                smoothings = [model.holt_winters.smoothings if model else default for model in models]
                return [FittedHoltWinters(tuple(smoothing for (smoothing,) in smoothings))]
            case _:
                return [LastValue(), SeasonalNaive()]


def _part(features: FeatureMatrix, begin: int, end: int, steps: int) -> FeatureMatrix:
    """The rows of some origins."""
    return FeatureMatrix(features.matrix[begin * steps : end * steps], features.levels[begin:end])


def _forecasts_of_model(
    sharing: Sequence[_ServedRequest[Name]],
    features: FeatureMatrix,
    naive: Mapping[tuple[Name, str], FloatArray],
    steps: int,
) -> list[Forecast]:
    """Forecasts of series that share a model, in one prediction.

    naive: calibrated quantiles by name and model, for the horizons at which the gate prefers a naive model.
    """
    model, windows, levels = sharing[0].served.model, min(steps, WINDOWS), features.levels
    series = [item.request.series for item in sharing]
    raw, raw_peaks, near = _raw(model, series, features, steps)
    calibrations = [
        item.served.errors.known_calibration()
        if item.request.is_past
        else item.served.errors.calibration(
            raw[row : row + 1], levels[row : row + 1], item.request.series, None if near is None else near[row]
        )
        for row, item in enumerate(sharing)
    ]
    weights = interpolation(calibrations[0].horizons, np.arange(1, steps + 1))
    shifts = weights @ np.stack([calibration.shifts for calibration in calibrations])
    values = calibrate(raw, shifts, levels, near)
    for row, item in enumerate(sharing):
        near_row = None if near is None else near[row]
        values[row] = values_of_acting(
            model.name, values[row], item.served.by_horizon, near_row, lambda kind, name=item.name: naive[name, kind]
        )
    factors = np.array([cold_start_factor(member) for member in series])
    bands = Bands.of(values, raw_peaks, model.peak.shifts.up_to(windows), levels, factors)
    # Without separate bands, naive models act near events as well, and these do not know the events.
    event_types = [
        frozenset[str]() if item.served.by_horizon and near is None else model.event_types for item in sharing
    ]
    return [
        replace(
            bands.forecast(row, member, model, _reasons(model, _part(features, row, row + 1, steps), steps)),
            event_types=event_types[row],
        )
        for row, member in enumerate(series)
    ]


def _raw(
    model: FittedLightGBM, series: Sequence[Series], features: FeatureMatrix, steps: int
) -> tuple[FloatArray, FloatArray, BoolArray | None]:
    """Raw quantiles, raw peaks, and the targets near known events."""
    windows = min(steps, WINDOWS)
    if model.events is None:
        return *_predicted(model, features, steps, windows), None
    panel, horizons = Panel.of(series), np.arange(1, steps + 1)
    last = panel.latest_origins()
    near = model.near_events(panel, last, horizons)
    return model.quantiles(panel, last, horizons), model.peaks(panel, last, windows), near


def _predicted(
    model: FittedLightGBM, features: FeatureMatrix, steps: int, windows: int
) -> tuple[FloatArray, FloatArray]:
    """Quantiles and peaks; of many series in two threads, as LightGBM releases the lock while it predicts."""

    def predict(begin: int, end: int) -> tuple[FloatArray, FloatArray]:
        part = _part(features, begin, end, steps)
        quantiles = model.from_features(part, np.arange(1, steps + 1))
        return quantiles, model.peaks_from(_knots(part, steps, windows), windows)

    count = len(features.levels.level)
    if count < _MIN_PARALLEL:
        return predict(0, count)
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(predict, (0, count // 2), (count // 2, count))
        (first, first_peaks), (second, second_peaks) = halves
    return np.concatenate([first, second]), np.concatenate([first_peaks, second_peaks])


def _knots(features: FeatureMatrix, steps: int, count: int) -> FeatureMatrix:
    """Of the rows of each step those from which peaks of up to `count` bins are predicted."""
    rows = features.matrix.reshape(len(features.levels.level), steps, -1)[:, knots_of(count) - 1]
    return FeatureMatrix(rows.reshape(-1, features.matrix.shape[1]), features.levels)


def _reasons(model: FittedLightGBM, features: FeatureMatrix, steps: int) -> Reasons:
    """The reasons for the farthest horizon; only its row stays in memory."""
    farthest = FeatureMatrix(features.matrix[steps - 1 : steps].copy(), features.levels)
    return Reasons(lambda: model.explain(farthest, 1))
