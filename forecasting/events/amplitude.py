"""The expected size of the next event of a type, from earlier events, their weekdays and their declared sizes.

Recent events have the largest weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from forecasting.series import FloatArray

_HALF_LIVES = (1.5, 3.0, 6.0, math.inf)
"""Half-lives in events. The one with the smallest error on the earlier events is used; infinity is preferred if the
errors are similar."""
_MAX_ERROR_RATIO = 0.97
_PRIOR_EVENTS = 0.5
"""Weight of a prior without effect, in events, so that a single event does not count in full."""
_PRIOR_WEEKEND_EVENTS = 2.0
_DRIFT_HALF_LIFE, _DRIFT_PRIOR = 4.0, 2.0
_PASSES = 3
_MIN_FACTOR, _MAX_FACTOR = 0.25, 4.0
_UNSCORED_EVENTS = 2
_SPREAD, _SPREAD_WEIGHT, _SPREAD_HALF_LIFE = 0.35, 2.0, 8.0
_NORMAL_SCORE = 1.2816  # the 0.9 quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class MeasuredEvent:
    """A past event with its measured effect.

    start, end: epoch seconds. amplitude: log of demand with the event over demand without. weekend: in the time zone of
    the series. magnitude: the declared multiplier of demand, None if undeclared.
    """

    start: float
    end: float
    amplitude: float
    weekend: bool = False
    magnitude: float | None = None


@dataclass(frozen=True, slots=True)
class LearnedEffect:
    """The expected multiplier of demand of the next event of a type, and its 80 % range.

    samples: number of measured events.
    """

    multiplier: float
    low: float
    high: float
    samples: int


@lru_cache(maxsize=4096)
def expected_amplitude(earlier: tuple[MeasuredEvent, ...], weekend: bool, magnitude: float | None) -> float | None:
    """Return the expected amplitude after events, oldest first; None without events."""
    if not earlier:
        return None
    without_drift = _amplitude_without_drift(earlier, weekend, magnitude)
    scored = [
        (event.amplitude, prediction)
        for event, prediction in zip(earlier, _predictions(earlier), strict=True)
        if prediction
    ]
    if not scored:
        return without_drift
    actual, predicted = np.array(scored).T
    weights = 0.5 ** (np.arange(len(predicted))[::-1] / _DRIFT_HALF_LIFE)
    squares = predicted**2
    drift = (weights * (actual - predicted) * predicted).sum()
    drift /= (weights * squares).sum() + _DRIFT_PRIOR * squares.mean()
    return float(without_drift * (1 + np.clip(drift, -0.5, 1.0)))


def learned_effect(
    earlier: tuple[MeasuredEvent, ...], *, weekend: bool, magnitude: float | None = None
) -> LearnedEffect | None:
    """Return the expected amplitude as a multiplier with its range; None without events."""
    amplitude = expected_amplitude(earlier, weekend, magnitude)
    if amplitude is None:
        return None
    # The predictions of the first events are based on too few earlier events.
    scored = list(zip(earlier, _predictions(earlier), strict=True))[_UNSCORED_EVENTS:]
    errors = [(event.amplitude - prediction) / prediction for event, prediction in scored if prediction]
    weights = 0.5 ** (np.arange(len(errors))[::-1] / _SPREAD_HALF_LIFE)
    squares = float((weights * np.clip(np.array(errors), -1, 1) ** 2).sum()) if errors else 0.0
    weight = float(weights.sum())
    spread = math.sqrt((_SPREAD_WEIGHT * _SPREAD**2 + squares) / (_SPREAD_WEIGHT + weight))
    bounds = sorted((amplitude * (1 - _NORMAL_SCORE * spread), amplitude * (1 + _NORMAL_SCORE * spread)))
    return LearnedEffect(math.exp(amplitude), math.exp(bounds[0]), math.exp(bounds[1]), len(earlier))


@lru_cache(maxsize=64)
def _predictions(events: tuple[MeasuredEvent, ...]) -> tuple[float | None, ...]:
    """Return the predicted amplitude of each event, from the events that ended before it started."""
    predictions: list[float | None] = []
    for event in events:
        earlier = tuple(other for other in events if other.end <= event.start)
        predictions.append(_amplitude_without_drift(earlier, event.weekend, event.magnitude) if earlier else None)
    return tuple(predictions)


@lru_cache(maxsize=4096)
def _amplitude_without_drift(earlier: tuple[MeasuredEvent, ...], weekend: bool, magnitude: float | None) -> float:
    amplitudes = np.array([event.amplitude for event in earlier])
    sizes = _sizes(earlier)
    weekends = np.array([event.weekend for event in earlier])
    _, level, ratio = min(_fits(amplitudes, sizes, weekends), key=lambda fit: fit[0])
    return float(level * (ratio if weekend else 1.0) * _size(earlier, magnitude))


def _fits(amplitudes: FloatArray, sizes: FloatArray, weekends: FloatArray) -> list[tuple[float, float, float]]:
    """Return for each half-life the error (larger for finite half-lives), the level and the weekend ratio."""
    fits: list[tuple[float, float, float]] = []
    for half_life in _HALF_LIVES:
        ratio, levels, error = 1.0, amplitudes, 0.0
        for _ in range(_PASSES):
            factors = sizes * np.where(weekends, ratio, 1.0)
            levels, error = _smoothed(amplitudes, factors, half_life)
            mean = float((levels**2).mean())
            scaled = (levels * sizes)[weekends.astype(bool)]
            covariance = float((amplitudes[weekends.astype(bool)] * scaled).sum())
            prior = _PRIOR_WEEKEND_EVENTS * mean
            ratio = (covariance + prior) / (float((scaled**2).sum()) + prior) if mean else 1.0
        penalty = 1.0 if math.isinf(half_life) else 1 / _MAX_ERROR_RATIO
        fits.append((error * penalty, float(levels[-1]), ratio))
    return fits


def _smoothed(amplitudes: FloatArray, factors: FloatArray, half_life: float) -> tuple[FloatArray, float]:
    """Return the level after each event, shrunk towards zero, and its absolute error on the next events."""
    decay = 0.5 ** (1 / half_life)
    total = weight = error = 0.0
    levels = np.empty(len(amplitudes))
    for index, (amplitude, factor) in enumerate(zip(amplitudes.tolist(), factors.tolist(), strict=True)):
        if index:
            error += abs(amplitude - factor * levels[index - 1])
        total, weight = total * decay + factor * amplitude, weight * decay + factor**2
        levels[index] = total / (weight + _PRIOR_EVENTS)
    return levels, error


def _sizes(earlier: Sequence[MeasuredEvent]) -> FloatArray:
    return np.array([_size(earlier, event.magnitude) for event in earlier])


def _size(earlier: Sequence[MeasuredEvent], magnitude: float | None) -> float:
    """Return a declared multiplier relative to earlier declarations; 1 if either is missing or their signs differ."""
    declared = [math.log(event.magnitude) for event in earlier if event.magnitude]
    usual = sum(declared) / len(declared) if declared else 0.0
    if not magnitude or not usual or math.log(magnitude) * usual <= 0:
        return 1.0
    return min(max(math.log(magnitude) / usual, _MIN_FACTOR), _MAX_FACTOR)
