"""A regular series of demand: what forecasts are made from."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.context import NOTHING_KNOWN, Context

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Series:
    """Mean demand in consecutive bins.

    start: aware, UTC; the beginning of the first bin. step: width of a bin.
    values: shape (n,), in the unit of the series; NaN where nothing was observed; never negative or infinite.
    context: what is known beside them.
    """

    name: str
    start: datetime
    step: timedelta
    values: FloatArray
    context: Context = NOTHING_KNOWN

    @property
    def end(self) -> datetime:
        """The end of the last bin: the moment from which a forecast looks ahead."""
        return self.start + self.step * len(self.values)
