"""Rates of counters: totals that only grow, as in Prometheus."""

import numpy as np

from forecasting.series import FloatArray

_GAP_FACTOR = 3.5
"""A distance of more than this factor times the usual distance is a gap: its increase may have come at any time."""


def counter_rates(seconds: FloatArray, totals: FloatArray, width: float) -> tuple[float, FloatArray, int]:
    """Return the start of the first bin, the rate of each bin, and the number of resets.

    Bins are the complete bins of `width` seconds between the first and the last sample; rates are in units per second,
    NaN in gaps. seconds, totals: shape (n,), n >= 2, ascending and distinct times. A decrease is a reset: the counter
    restarted at zero (the rule of Prometheus). Between two samples the counter is assumed to grow linearly, so bins
    need no sample at their edges.

    >>> counter_rates(np.array([0.0, 60.0, 120.0, 180.0]), np.array([10.0, 70.0, 30.0, 90.0]), 60.0)
    (0.0, array([1. , 0.5, 1. ]), 1)
    """
    steps = np.diff(totals)
    is_reset = steps < 0
    increase = np.concatenate([[0.0], np.cumsum(np.where(is_reset, totals[1:], steps))])
    start = float(np.ceil(seconds[0] / width - 1e-6) * width) + 0.0  # no minus zero
    bins = int(np.floor((seconds[-1] - start) / width + 1e-6))
    edges: FloatArray = start + width * np.arange(max(bins, 0) + 1, dtype=np.float64)
    rates = np.diff(np.interp(edges, seconds, increase)) / width
    return start, np.where(_in_gap(seconds, edges, width), np.nan, rates), int(is_reset.sum())


def _in_gap(seconds: FloatArray, edges: FloatArray, width: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return whether each bin overlaps a gap."""
    distances = np.diff(seconds)
    wide = distances > _GAP_FACTOR * max(float(np.median(distances)), width / _GAP_FACTOR)
    begin, end = seconds[:-1][wide], seconds[1:][wide]
    # Gaps are in order and disjoint: only the first gap that ends after the start of a bin can overlap it.
    first = np.searchsorted(end, edges[:-1] + 1e-6, side="right")
    begins = np.append(begin, np.inf)[first]
    return begins < edges[1:] - 1e-6
