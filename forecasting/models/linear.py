"""A robust linear median beside the trees: what is smooth and proportional, trees can only approximate in steps."""

import json
from dataclasses import dataclass

import numpy as np

from forecasting.features import FEATURES, Matrix
from forecasting.series import FloatArray

_HORIZON = next(at for at, feature in enumerate(FEATURES) if feature.name == "horizon")
# A straight line through the hours of a day, the days of a week or those around a holiday says nothing.
_CYCLIC = ("minute_of_day", "minute_of_hour", "weekday", "days_since_holiday", "days_until_holiday")
_COLUMNS = tuple(at for at, feature in enumerate(FEATURES) if feature.name not in _CYCLIC)
_EDGES = (1.5, 2.5, 3.5, 5.5, 8.5, 12.5, 20.5)
"""Bins ahead between which a line of its own is drawn."""
_RIDGE = 10.0
_PASSES = 6
_MAX_DISTANCE = 6.0
_MAX_LOG = 3.0


@dataclass(frozen=True, slots=True)
class LinearMedian:
    """One line a group of horizons, between `edges` in minutes.

    centre, spread: shape (groups, columns). weights: shape (groups, columns + 1), the constant last.
    """

    edges: FloatArray
    centre: FloatArray
    spread: FloatArray
    weights: FloatArray

    def predict(self, matrix: Matrix) -> FloatArray:
        """Logs relative to the level for rows of features: shape (rows,)."""
        groups = np.digitize(matrix[:, _HORIZON], self.edges)
        inputs = _standard(matrix, self.centre[groups], self.spread[groups])
        return np.clip(np.einsum("rc,rc->r", inputs, self.weights[groups]), -_MAX_LOG, _MAX_LOG)

    def text(self) -> str:
        """As JSON."""
        parts = {name: getattr(self, name).tolist() for name in ("edges", "centre", "spread", "weights")}
        return json.dumps(parts, allow_nan=False)

    @classmethod
    def from_text(cls, text: str) -> "LinearMedian":
        """What `text` wrote. Raises ValueError when it is anything else."""
        parts = json.loads(text)
        try:
            found = cls(**{name: np.asarray(values, dtype=np.float64) for name, values in parts.items()})
            groups, width = len(_EDGES) + 1, len(_COLUMNS)
            shapes = [found.edges.shape, found.centre.shape, found.spread.shape, found.weights.shape]
        except (TypeError, AttributeError) as error:
            raise ValueError(f"a linear median has edges, centre, spread and weights: {error}") from None
        if shapes != [(groups - 1,), (groups, width), (groups, width), (groups, width + 1)]:
            raise ValueError(f"a linear median of other shapes than this version's: {shapes}")
        return found


def fit_linear(matrix: Matrix, target: FloatArray, weight: FloatArray, step_seconds: int) -> LinearMedian:
    """Least absolute errors, weighted, by reweighted least squares; a group without rows takes the one before it."""
    edges = np.array(_EDGES) * step_seconds / 60
    groups = np.digitize(matrix[:, _HORIZON], edges)
    count = len(_EDGES) + 1
    centre, spread = np.zeros((count, len(_COLUMNS))), np.ones((count, len(_COLUMNS)))
    weights = np.zeros((count, len(_COLUMNS) + 1))
    for group in range(count):
        rows = groups == group
        if rows.any():
            inputs = _inputs(matrix[rows])
            centre[group], spread[group] = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
            weights[group] = _line(_standard(matrix[rows], centre[group], spread[group]), target[rows], weight[rows])
        elif group:
            centre[group], spread[group], weights[group] = centre[group - 1], spread[group - 1], weights[group - 1]
    return LinearMedian(edges, centre, spread, weights)


def _standard(matrix: Matrix, centre: FloatArray, spread: FloatArray) -> FloatArray:
    """Inputs around 0 and at most _MAX_DISTANCE from it, and a column of ones."""
    found = np.ones((len(matrix), len(_COLUMNS) + 1))
    found[:, :-1] = np.clip((_inputs(matrix) - centre) / spread, -_MAX_DISTANCE, _MAX_DISTANCE)
    return found


def _inputs(matrix: Matrix) -> FloatArray:
    """What a line is drawn through; a missing feature is as if nothing differed from the level."""
    chosen = matrix[:, _COLUMNS].astype(np.float64)
    return np.where(np.isfinite(chosen), chosen, 0.0)


def _line(inputs: FloatArray, target: FloatArray, weight: FloatArray) -> FloatArray:
    ridge = _RIDGE * np.eye(inputs.shape[1])
    ridge[-1, -1] = 0.0
    nearness = np.ones(len(target))
    line: FloatArray = np.zeros(inputs.shape[1])
    for _ in range(_PASSES):
        scaled = inputs * (nearness * weight)[:, None]
        line = np.asarray(np.linalg.solve(scaled.T @ inputs + ridge, scaled.T @ target), dtype=np.float64)
        distance = np.abs(target - inputs @ line)
        nearness = 1 / np.maximum(distance / (np.median(distance) + 1e-9), 0.3)
    return line
