"""What a forecaster answers: quantiles of demand for each coming bin."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import NormalDist

import numpy as np

from forecasting.series import FloatArray

QUANTILES = (0.1, 0.5, 0.8, 0.9, 0.95)
"""The quantiles that every forecast has. 0.1 tells an outage from a quiet hour."""

PEAK_QUANTILES = QUANTILES[1:]
"""The quantiles of the highest demand within a window: a floor is never below the median."""
INTERPOLATED = (0.5, 0.999)
"""Where a policy's quantile may lie."""
OFFSET_SHARE = 0.1
_NORMAL = NormalDist()


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

        Between those that were forecast the logarithm runs straight in the normal score; beyond the highest it goes on
        as steeply as the steepest of its last two stretches. Raises ValueError for a quantile outside.
        """
        low, high = INTERPOLATED
        if not low <= quantile <= high:
            raise ValueError(f"a quantile lies between {low} and {high}; {quantile} does not")
        if quantile in self.quantiles:
            return self.values[:, self.quantiles.index(quantile)]
        scores = np.array([_NORMAL.inv_cdf(one) for one in self.quantiles])
        offset = OFFSET_SHARE * self.values.mean() or 1.0
        logs, wanted = np.log(self.values + offset), _NORMAL.inv_cdf(quantile)
        if quantile > self.quantiles[-1]:
            slopes = np.diff(logs[:, -3:], axis=1) / np.diff(scores[-3:])
            found = logs[:, -1] + slopes.max(axis=1) * (wanted - scores[-1])
            low_values, high_values = self.values[:, -1], np.inf
        else:
            right = int(np.searchsorted(scores, wanted).clip(1, len(scores) - 1))
            share = (wanted - scores[right - 1]) / (scores[right] - scores[right - 1])
            found = logs[:, right - 1] * (1 - share) + logs[:, right] * share
            low_values, high_values = self.values[:, right - 1], self.values[:, right]
        # Rounding must not carry a value past its neighbours.
        return np.clip(np.exp(found) - offset, low_values, high_values)

    @property
    def valid_until(self) -> datetime:
        """The end of the last bin: an expired forecast cannot be used."""
        return self.origin + self.step * len(self.values)
