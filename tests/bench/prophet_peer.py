"""Prophet behind the forecaster interface, if it is installed."""

import importlib.util
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas

from forecasting.forecast import QUANTILES
from forecasting.forecaster import FittedModel
from forecasting.panel import IntArray, Origins, Panel
from forecasting.series import FloatArray, Series

pd: Any = pandas


def is_installed() -> bool:
    """Return whether the extra `bench` is installed."""
    return importlib.util.find_spec("prophet") is not None


@dataclass(frozen=True, slots=True)
class Prophet:
    """Prophet with daily and weekly seasonality and default settings."""

    name: str = "Prophet"

    def fit(self, series: Series) -> FittedModel:
        prophet: Any = importlib.import_module("prophet")
        for logger in ("cmdstanpy", "prophet"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        model = prophet.Prophet(daily_seasonality=True, weekly_seasonality=True, uncertainty_samples=0)
        times = _times(series.start.timestamp() + np.arange(len(series.values)) * series.step.total_seconds())
        return FittedProphet(model.fit(pd.DataFrame({"ds": times, "y": series.values})))


@dataclass(frozen=True, slots=True)
class FittedProphet(FittedModel):
    """A model of the target's time only: its forecasts do not depend on their origin."""

    model: Any
    name: str = "Prophet"
    version: str = ""

    def quantiles(self, panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
        targets = panel.seconds_at(origins)[:, None] + (horizons - 1) * panel.step
        unique, index = np.unique(targets, return_inverse=True)
        points = self.model.predict(pd.DataFrame({"ds": _times(unique)}))["yhat"].to_numpy(dtype=np.float64)
        forecasts = np.maximum(points, 0.0)[index.reshape(targets.shape)]
        return np.repeat(forecasts[:, :, None], len(QUANTILES), axis=2)


def _times(seconds: npt.NDArray[Any]) -> Any:
    return pd.to_datetime(seconds, unit="s")
