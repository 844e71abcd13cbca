"""Means of consecutive values of a regular series, in wider bins.

NaN values are skipped; a bin without any other value is NaN, never zero.
"""

from datetime import UTC, datetime, timedelta

import numpy as np

from forecasting.series import FloatArray, Series


def bin_means(values: FloatArray, width: int) -> FloatArray:
    """Return the means of `width` consecutive values, from the first value on; an incomplete last bin is dropped.

    >>> bin_means(np.array([1.0, 3.0, np.nan, 5.0, np.nan, np.nan, 9.0]), 2)
    array([ 2.,  5., nan])
    """
    bins = values[: len(values) // width * width].reshape(-1, width)
    observed = np.isfinite(bins)
    counts = observed.sum(axis=1)
    sums = np.where(observed, bins, 0.0).sum(axis=1)
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def rebinned(series: Series, step: timedelta) -> Series:
    """Return the series in bins of `step`, aligned to multiples of `step` in UTC; unchanged if `step` is not longer.

    An incomplete last bin is dropped. Raises ValueError if the step of the series does not divide `step`.
    """
    if step <= series.step:
        return series
    width = _width(series, step)
    offset = (series.start - datetime(1900, 1, 1, tzinfo=UTC)) % step // series.step
    values = bin_means(np.concatenate([np.full(offset, np.nan), series.values]), width)
    return Series(series.name, series.start - offset * series.step, step, values, series.context, series.outliers)


def binned_to_last_value(series: Series, step: timedelta) -> Series:
    """Return the series in bins of `step`, from the first bin with a value on; the last bin ends with the last value.

    Bins are counted back from the last value; the first bin may be observed in part. Empty if no bin is
    complete. Raises ValueError if the step of the series does not divide `step`.
    """
    width = _width(series, step)
    observed = np.flatnonzero(np.isfinite(series.values))
    end = int(observed[-1]) + 1 if len(observed) else 0
    begin = end % width
    values = bin_means(series.values[begin:end], width)
    first = int(np.isfinite(values).argmax()) if len(values) else 0
    start = series.start + (begin + first * width) * series.step
    return Series(series.name, start, step, values[first:], series.context, series.outliers)


def _width(series: Series, step: timedelta) -> int:
    if step % series.step:
        raise ValueError(f"{series.name} has one value every {series.step}, which does not divide {step}")
    return step // series.step
