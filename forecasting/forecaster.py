"""The interface of all forecasting models, and the choice of a model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

import numpy as np

from forecasting.forecast import PEAK_QUANTILES, QUANTILES, Forecast
from forecasting.panel import BoolArray, IntArray, Origins, Panel
from forecasting.series import FloatArray, Series

_LOOKBACK = timedelta(days=15)


class FittedModel(ABC):
    """A trained model. A forecast reads nothing at or after its origin."""

    name: str
    version: str = ""

    @abstractmethod
    def quantiles(self, panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
        """Return raw (not calibrated) forecasts: shape (origins, horizons, len(QUANTILES)).

        horizons: bins ahead, shape (horizons,); 1 is the bin that starts at the origin. The forecasts are finite, not
        negative, and ascending along the last axis.
        """

    def near_events(self, panel: Panel, origins: Origins, horizons: IntArray) -> BoolArray | None:
        """Return the targets that are near a known event and have separate bands: shape (origins, horizons).

        None for a model without event effects. Bands near events and other bands are calibrated from separate errors.
        """
        del panel, origins, horizons
        return None

    def peaks(self, panel: Panel, origins: Origins, count: int) -> FloatArray:
        """Return raw quantiles of the peak demand within the first 1 to `count` bins.

        Shape (origins, count, len(PEAK_QUANTILES)), ascending along both last axes. This default is the highest
        quantile of the bins, which is too low before calibration; a model that learns peaks overrides it.
        """
        values = self.quantiles(panel, origins, np.arange(1, count + 1))[:, :, -len(PEAK_QUANTILES) :]
        return np.maximum.accumulate(values, axis=1)

    @property
    def lookback(self) -> timedelta:
        """How far back a forecast reads; older demand has no effect."""
        return _LOOKBACK

    def for_rows(self, rows: slice) -> "FittedModel":
        """Return the model for some rows of a panel; only a model with parameters by row overrides this."""
        del rows
        return self

    def contributions(self, panel: Panel, origins: Origins, horizons: IntArray) -> list[tuple[str, ...]]:
        """Return up to three reasons in words for the highest forecast of each origin, strongest first."""
        del panel, horizons
        return [()] * len(origins)

    def forecast(self, series: Series, steps: int) -> Forecast:
        """Return the forecast of `steps` bins from the end of a series, not calibrated."""
        return self.forecast_batch([series], steps)[0]

    def forecast_batch(self, series: Sequence[Series], steps: int) -> list[Forecast]:
        """Return the forecasts of series from their ends, not calibrated. Raises ValueError if steps differ."""
        if not series:
            return []
        panel = Panel.of(series, keep=-(-self.lookback // series[0].step))
        values = self.quantiles(panel, panel.latest_origins(), np.arange(1, steps + 1))
        return [
            Forecast(member.name, member.end, member.step, QUANTILES, rows, self.name, self.version)
            for member, rows in zip(series, values, strict=True)
        ]


class Forecaster(Protocol):
    """A kind of model with its settings, ready to train."""

    @property
    def name(self) -> str:
        """The name of the model, as in ModelChoice and in user-facing text."""
        ...

    def fit(self, series: Series) -> FittedModel:
        """Return a model trained on a series. Raises TooShortError if it is too short for this kind of model."""
        ...


class TooShortError(ValueError):
    """The history is too short to train a model; a naive model forecasts instead."""


class ModelChoice(StrEnum):
    """The choice of a forecasting model: `spec.forecast.model` of a ScalingPolicy.

    AUTO: LightGBM where it passes the quality gate, otherwise the best naive model. Any other choice acts wherever it
    can forecast, also when the gate rejects it.
    """

    AUTO = "Auto"
    LIGHTGBM = "LightGBM"
    HOLT_WINTERS = "HoltWinters"
    SEASONAL_NAIVE = "SeasonalNaive"
