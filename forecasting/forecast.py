"""What a forecaster answers: quantiles of demand for each coming bin."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from forecasting.series import FloatArray

QUANTILES = (0.1, 0.5, 0.8, 0.9, 0.95)
"""The quantiles that every forecast has. 0.1 tells an outage from a quiet hour."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Quantiles of the mean demand in each bin [origin + i * step, origin + (i + 1) * step).

    values: shape (bins, len(quantiles)), rows ascending (quantiles never cross), finite and not negative.
    origin: the end of what was observed; nothing later was looked at. youth: factor >= 1 by which little history
    widened the upper quantiles (1 where there was enough).
    """

    name: str
    origin: datetime
    step: timedelta
    quantiles: tuple[float, ...]
    values: FloatArray
    model: str
    version: str
    contributions: tuple[str, ...] = ()
    """Up to three reasons in words, strongest first, such as `demand of the last 30 minutes (+21 %)`."""
