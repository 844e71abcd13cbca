"""A robust linear median in addition to the trees, which can only approximate smooth relations in steps."""

import json
from dataclasses import dataclass

import numpy as np

from forecasting.features import FEATURES, Matrix
from forecasting.series import FloatArray

_HORIZON = next(at for at, feature in enumerate(FEATURES) if feature.name == "horizon")
# Cyclic features and the days around a holiday have no linear effect.
_CYCLIC = ("minute_of_day", "minute_of_hour", "weekday", "days_since_holiday", "days_until_holiday")
_COLUMNS = tuple(at for at, feature in enumerate(FEATURES) if feature.name not in _CYCLIC)
_EDGES = (1.5, 2.5, 3.5, 5.5, 8.5, 12.5, 20.5)
"""The borders of the groups of horizons, in bins ahead; each group has its own line."""
_RIDGE = 10.0
_PASSES = 6
_MAX_DISTANCE = 6.0
_MAX_LOG = 3.0


@dataclass(frozen=True, slots=True)
class LinearMedian:
    """One line for each group of horizons, between `edges` in minutes.

    centre, spread: shape (groups, columns). weights: shape (groups, columns + 1), the constant last.
    """

    edges: FloatArray
    centre: FloatArray
    spread: FloatArray
    weights: FloatArray

    def predict(self, matrix: Matrix) -> FloatArray:
        """Return logs relative to the level for rows of features: shape (rows,)."""
        groups = np.digitize(matrix[:, _HORIZON], self.edges)
        inputs = _standard(matrix, self.centre[groups], self.spread[groups])
        return np.clip(np.einsum("rc,rc->r", inputs, self.weights[groups]), -_MAX_LOG, _MAX_LOG)

    def text(self) -> str:
        """Return the lines as JSON."""
        parts = {name: getattr(self, name).tolist() for name in ("edges", "centre", "spread", "weights")}
        return json.dumps(parts, allow_nan=False)

    @classmethod
    def from_text(cls, text: str) -> "LinearMedian":
        """Return the lines from the result of `text`. Raises ValueError for any other text."""
        parts = json.loads(text)
        try:
            median = cls(**{name: np.asarray(values, dtype=np.float64) for name, values in parts.items()})
            groups, width = len(_EDGES) + 1, len(_COLUMNS)
            shapes = [median.edges.shape, median.centre.shape, median.spread.shape, median.weights.shape]
        except (TypeError, AttributeError) as error:
            raise ValueError(f"a linear median needs edges, centre, spread and weights: {error}") from None
        expected = [(groups - 1,), (groups, width), (groups, width), (groups, width + 1)]
        if shapes != expected:
            raise ValueError(f"the linear median has shapes {shapes}; this version needs {expected}")
        return median


def fit_linear(matrix: Matrix, target: FloatArray, weight: FloatArray, step_seconds: int) -> LinearMedian:
    """Return the lines of least absolute errors, weighted, by iteratively reweighted least squares.

    A group without rows gets the line of the group before it.
    """
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
    """Inputs standardized and clipped at _MAX_DISTANCE, and a column of ones."""
    inputs = np.ones((len(matrix), len(_COLUMNS) + 1))
    inputs[:, :-1] = np.clip((_inputs(matrix) - centre) / spread, -_MAX_DISTANCE, _MAX_DISTANCE)
    return inputs


def _inputs(matrix: Matrix) -> FloatArray:
    """The features of the linear median; a missing one is 0, the value of the level itself."""
    chosen = matrix[:, _COLUMNS].astype(np.float64)
    return np.where(np.isfinite(chosen), chosen, 0.0)


def _line(inputs: FloatArray, target: FloatArray, weight: FloatArray) -> FloatArray:
    ridge = _RIDGE * np.eye(inputs.shape[1])
    ridge[-1, -1] = 0.0
    closeness = np.ones(len(target))
    line: FloatArray = np.zeros(inputs.shape[1])
    for _ in range(_PASSES):
        scaled = inputs * (closeness * weight)[:, None]
        line = np.asarray(np.linalg.solve(scaled.T @ inputs + ridge, scaled.T @ target), dtype=np.float64)
        distance = np.abs(target - inputs @ line)
        closeness = 1 / np.maximum(distance / (np.median(distance) + 1e-9), 0.3)
    return line
