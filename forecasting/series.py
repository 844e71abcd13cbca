"""A regular series of demand, the input of forecasts."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.context import EMPTY_CONTEXT, Context

FloatArray = npt.NDArray[np.float64]

MAX_DEMAND = 1e24
"""Maximum demand. Sums and squares of many values up to it stay finite, and every forecast fits single precision.

A sample may be any finite number. Whatever reads demand caps it at this value; records keep the original.
"""


@dataclass(frozen=True, slots=True)
class Outlier:
    """A value that was set aside. at: the start of its bin. value: as observed."""

    at: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """Mean demand in consecutive bins.

    start: aware, UTC; the start of the first bin. step: width of a bin.
    values: shape (n,), in the unit of the series; NaN where nothing was observed; never negative or infinite.
    context: time zone, country and events.
    outliers: values that were set aside and are NaN in `values`; None if the series was not searched for outliers (see
    forecasting.cleaning.outliers).
    """

    name: str
    start: datetime
    step: timedelta
    values: FloatArray
    context: Context = EMPTY_CONTEXT
    outliers: tuple[Outlier, ...] | None = None

    @property
    def end(self) -> datetime:
        """The end of the last bin; the origin of a forecast."""
        return self.start + self.step * len(self.values)
