"""Totals that only grow, as Prometheus has them, made into rates."""

import numpy as np

from forecasting.series import FloatArray

_HOLE = 3.5
"""So many usual distances between two samples are a hole: what was counted in it may have come at any time of it."""


def counter_rates(seconds: FloatArray, totals: FloatArray, width: float) -> tuple[float, FloatArray, int]:
    """Units a second in each whole bin of `width` seconds between the first sample and the last.

    seconds, totals: shape (n,), n >= 2, ascending and distinct times. Gives the first bin's beginning, the rates
    (NaN in holes) and the number of resets. What falls is a reset: the counter began anew at zero (Prometheus' rule).
    Between two samples the counter is taken to grow evenly, so that bins need no sample at their edges.

    >>> rates(np.array([0.0, 60.0, 120.0, 180.0]), np.array([10.0, 70.0, 30.0, 90.0]), 60.0)
    (0.0, array([1. , 0.5, 1. ]), 1)
    """
    steps = np.diff(totals)
    fell = steps < 0
    grown = np.concatenate([[0.0], np.cumsum(np.where(fell, totals[1:], steps))])
    start = float(np.ceil(seconds[0] / width - 1e-6) * width) + 0.0  # no minus zero
    bins = int(np.floor((seconds[-1] - start) / width + 1e-6))
    edges: FloatArray = start + width * np.arange(max(bins, 0) + 1, dtype=np.float64)
    found = np.diff(np.interp(edges, seconds, grown)) / width
    return start, np.where(_in_hole(seconds, edges, width), np.nan, found), int(fell.sum())


def _in_hole(seconds: FloatArray, edges: FloatArray, width: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each bin touches a hole."""
    distances = np.diff(seconds)
    wide = distances > _HOLE * max(float(np.median(distances)), width / _HOLE)
    begin, end = seconds[:-1][wide], seconds[1:][wide]
    # Holes are in order and disjoint: the first that ends after a bin's beginning is the only one to look at.
    at = np.searchsorted(end, edges[:-1] + 1e-6, side="right")
    begins = np.append(begin, np.inf)[at]
    return begins < edges[1:] - 1e-6
