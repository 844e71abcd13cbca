"""The one interface of all models."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

import numpy as np

from forecasting.forecast import PEAK_QUANTILES, QUANTILES, Forecast
from forecasting.panel import BoolArray, IntArray, Origins, Panel
from forecasting.series import FloatArray, Series

_MEMORY = timedelta(days=15)


class FittedModel(ABC):
    """A model that has learned. Forecasts look at nothing from their origin on."""

    name: str
    version: str = ""

    @abstractmethod
    def quantiles(self, panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
        """Raw (not calibrated) forecasts: shape (origins, horizons, len(QUANTILES)).

        horizons: bins ahead, shape (horizons,); 1 is the bin that begins at the origin. Finite, not negative,
        ascending along the last axis.
        """

    def near_events(self, panel: Panel, origins: Origins, horizons: IntArray) -> BoolArray | None:
        """Targets that lie near a known event and have bands of their own there: shape (origins, horizons).

        None for a model that knows nothing of events. Ordinary errors say nothing of those bands, nor theirs of others.
        """
        del panel, origins, horizons
        return None

    def peaks(self, panel: Panel, origins: Origins, count: int) -> FloatArray:
        """Raw quantiles of the highest demand within the first 1 to `count` bins.

        Shape (origins, count, len(PEAK_QUANTILES)), ascending along both last axes. Where a model has not learned
        anything better it is the highest of its bins' own quantiles, which is too low before calibration.
        """
        values = self.quantiles(panel, origins, np.arange(1, count + 1))[:, :, -len(PEAK_QUANTILES) :]
        return np.maximum.accumulate(values, axis=1)

    @property
    def lookback(self) -> timedelta:
        """How far back a forecast looks; what is older changes nothing."""
        return _MEMORY

    def for_rows(self, rows: slice) -> "FittedModel":
        """The same for some rows of a panel; only a model that differs by row has to know."""
        del rows
        return self

    def contributions(self, panel: Panel, origins: Origins, horizons: IntArray) -> list[tuple[str, ...]]:
        """For each origin up to three reasons in words for its highest forecast, strongest first."""
        del panel, horizons
        return [()] * len(origins)

    def forecast(self, series: Series, steps: int) -> Forecast:
        """One series from its end on, not calibrated."""
        return self.forecast_batch([series], steps)[0]

    def forecast_batch(self, series: Sequence[Series], steps: int) -> list[Forecast]:
        """Many series of one step from their ends on, not calibrated. Raises ValueError when their steps differ."""
        if not series:
            return []
        panel = Panel.of(series, keep=-(-self.lookback // series[0].step))
        values = self.quantiles(panel, panel.latest_origins(), np.arange(1, steps + 1))
        return [
            Forecast(one.name, one.end, one.step, QUANTILES, rows, self.name, self.version)
            for one, rows in zip(series, values, strict=True)
        ]


class Forecaster(Protocol):
    """A kind of model with its settings, ready to learn."""

    @property
    def name(self) -> str:
        """As in ModelChoice and in what users read."""
        ...

    def fit(self, series: Series) -> FittedModel:
        """Learn from a series. Raises TooShortError when it is too short for this kind of model."""
        ...


class TooShortError(ValueError):
    """There is too little history to learn from; a naive model answers instead."""


class ModelChoice(StrEnum):
    """Which model forecasts: `spec.forecast.model` of a ScalingPolicy.

    AUTO: LightGBM where it passes the quality gate, otherwise the best naive model. Any other choice acts wherever it
    can forecast, also when the gate rejects it.
    """

    AUTO = "Auto"
    LIGHTGBM = "LightGBM"
    HOLT_WINTERS = "HoltWinters"
    SEASONAL_NAIVE = "SeasonalNaive"
