"""What a forecaster answers: quantiles of demand for each coming bin."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from forecasting.quantile_interpolation import quantile_weights
from forecasting.series import FloatArray

QUANTILES = (0.1, 0.5, 0.8, 0.9, 0.95)
"""The quantiles that every forecast has. 0.1 tells an outage from a quiet hour."""

PEAK_QUANTILES = QUANTILES[1:]
"""The quantiles of the highest demand within a window: a floor is never below the median."""
QUANTILE_RANGE = (0.5, 0.999)
"""Where a policy's quantile may lie."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Quantiles of the mean demand in each bin [origin + i * step, origin + (i + 1) * step).

    values: shape (bins, len(quantiles)), rows ascending (quantiles never cross), finite and not negative.
    origin: the end of what was observed; nothing later was looked at.
    peaks: shape (windows, len(PEAK_QUANTILES)), row i the quantiles of the highest demand within the first i + 1
    bins; None where nobody calibrated them, and the highest of the bins' own quantiles stands in.
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
    """Why another model made it than the one that was asked for, or one that the gate would not have let; or empty."""

    def at(self, quantile: float) -> FloatArray:
        """Any quantile between 0.5 and 0.999, for each bin: shape (bins,).

        The interpolation is that of the live decision (quantile_interpolation). Raises ValueError for a quantile
        outside.
        """
        low, high = QUANTILE_RANGE
        if not low <= quantile <= high:
            raise ValueError(f"a quantile lies between {low} and {high}; {quantile} does not")
        weights = quantile_weights(self.quantiles, quantile)
        return np.maximum(self.values @ np.array(weights.by_column(len(self.quantiles))), 0.0)

    @property
    def valid_until(self) -> datetime:
        """The end of the last bin: an expired forecast cannot be used."""
        return self.origin + self.step * len(self.values)
