"""Forecasts that were made one after another, as a simulation reads them: from a walk or from a record."""

from typing import Protocol

from forecasting.series import FloatArray, Series


class ForecastBatch(Protocol):
    """What was forecast at each origin from `first` on.

    An origin is a number of bins before it. values: shape (origins, bins ahead, len(QUANTILES)), calibrated. peaks:
    shape (origins, windows, len(PEAK_QUANTILES)), the highest demand within the first bins (forecasting.peaks).
    """

    @property
    def series(self) -> Series:
        """The demand whose bins are counted."""
        ...

    @property
    def first(self) -> int:
        """The first origin."""
        ...

    @property
    def values(self) -> FloatArray:
        """The forecasts."""
        ...

    @property
    def peaks(self) -> FloatArray:
        """Of the highest demand from each origin on."""
        ...
