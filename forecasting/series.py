"""A regular series of demand: what forecasts are made from."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.context import EMPTY_CONTEXT, Context

FloatArray = npt.NDArray[np.float64]

MAX_DEMAND = 1e24
"""The highest demand there is: sums and squares of many such stay finite, and single precision holds every forecast.

A sample may be any finite number; one beyond this counts as this, wherever demand is read. Records hold all of it.
"""


@dataclass(frozen=True, slots=True)
class Outlier:
    """A value that was set aside. at: the beginning of its bin. value: as it was observed."""

    at: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """Mean demand in consecutive bins.

    start: aware, UTC; the beginning of the first bin. step: width of a bin.
    values: shape (n,), in the unit of the series; NaN where nothing was observed; never negative or infinite.
    context: what is known of it besides its values.
    outliers: what was set aside, and is NaN in `values`; None where nobody looked (see forecasting.cleaning.outliers).
    """

    name: str
    start: datetime
    step: timedelta
    values: FloatArray
    context: Context = EMPTY_CONTEXT
    outliers: tuple[Outlier, ...] | None = None

    @property
    def end(self) -> datetime:
        """The end of the last bin: the moment from which a forecast looks ahead."""
        return self.start + self.step * len(self.values)
