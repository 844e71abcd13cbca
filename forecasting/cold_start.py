"""With little history the band is wider."""

from datetime import timedelta

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.series import FloatArray, Series

PER_DAY = 0.2
ENOUGH = timedelta(days=7)
MAX_FACTOR = 2.0


def cold_start_factor(series: Series) -> float:
    """The factor 1 + 0.2 / days of observed demand, at most 2; 1 from seven days on. Nothing observed: 2."""
    days = np.isfinite(series.values).sum() * (series.step / timedelta(days=1))
    if days * timedelta(days=1) >= ENOUGH:
        return 1.0
    return float(min(MAX_FACTOR, 1 + PER_DAY / days)) if days > 0 else MAX_FACTOR


def widened(values: FloatArray, factor: float, quantiles: tuple[float, ...] = QUANTILES) -> FloatArray:
    """Forecasts with the quantiles above the median scaled up; values: shape (…, len(quantiles))."""
    return values * np.where(np.array(quantiles) > 0.5, factor, 1.0)
