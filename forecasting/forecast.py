"""The forecast: quantiles of demand for each future bin."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from forecasting.quantile_interpolation import quantile_weights
from forecasting.series import FloatArray

QUANTILES = (0.1, 0.5, 0.8, 0.9, 0.95)
"""The quantiles of every forecast. 0.1 distinguishes an outage from an hour of low demand."""

PEAK_QUANTILES = QUANTILES[1:]
"""The quantiles of the peak demand within a window. The lowest is the median: a floor never covers less."""

QUANTILE_RANGE = (0.5, 0.999)
"""Minimum and maximum of the quantile that a policy may choose."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Quantiles of the mean demand in each bin [origin + i * step, origin + (i + 1) * step).

    values: shape (bins, len(quantiles)), rows ascending (quantiles never cross), finite and not negative.
    origin: the end of the observed demand; the forecast reads nothing later.
    peaks: shape (windows, len(PEAK_QUANTILES)), row i has the quantiles of the peak demand within the first i + 1 bins;
    None if they were not calibrated, and the highest bin quantile is used instead.
    """

    name: str
    origin: datetime
    step: timedelta
    quantiles: tuple[float, ...]
    values: FloatArray
    model: str
    version: str
    contributions: Sequence[str] = ()
    """Up to three reasons in words, strongest first, such as `demand of the last 30 minutes (+21 %)`."""
    peaks: FloatArray | None = None
    note: str = ""
    """Why the forecast comes from another model than requested, or from a model that the gate rejected; or empty."""
    event_types: frozenset[str] = frozenset()
    """The types of events whose learned effects all values contain, where an event of the type is near."""

    def at(self, quantile: float) -> FloatArray:
        """Return any quantile between 0.5 and 0.999 for each bin: shape (bins,).

        Interpolates as live decisions do (quantile_interpolation). Raises ValueError if the quantile is out of range.
        """
        low, high = QUANTILE_RANGE
        if not low <= quantile <= high:
            raise ValueError(f"quantile {quantile} is out of range; choose one from {low} to {high}")
        weights = quantile_weights(self.quantiles, quantile)
        return np.maximum(self.values @ np.array(weights.by_column(len(self.quantiles))), 0.0)

    @property
    def valid_until(self) -> datetime:
        """The end of the last bin. An expired forecast cannot be used."""
        return self.origin + self.step * len(self.values)
