"""The expected size of the next event of a type: from earlier events, their weekdays, hours and declared sizes.

Recent events have the largest weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from forecasting.series import FloatArray

_HALF_LIVES = (1.5, 3.0, 6.0, math.inf)
"""Half-lives in events. The one with the smallest error on the earlier events is used; infinity is preferred if the
errors are similar."""
_MAX_ERROR_RATIO = 0.97
_PRIOR_EVENTS = 0.5
"""Weight of a prior without effect, in events, so that a single event does not count in full."""
_PRIOR_WEEKEND_EVENTS = 2.0
_PRIOR_HOUR_EVENTS = 1.0
_HOURS_APART = 2.0
"""Standard deviation of the weights by which events at other hours of the day count for an hour."""
_DRIFT_HALF_LIFE, _DRIFT_PRIOR = 4.0, 2.0
_PASSES = 3
_MIN_FACTOR, _MAX_FACTOR = 0.25, 4.0
_UNSCORED_EVENTS = 2
_SPREAD, _SPREAD_WEIGHT, _SPREAD_HALF_LIFE = 0.35, 2.0, 8.0
_NORMAL_SCORE = 1.2816  # the 0.9 quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known about an event before it takes place.

    weekend: whether it starts on a Saturday or Sunday. hour: of the day at which it starts, 0 <= hour < 24; None if
    unknown. Both are in the time zone of the series. magnitude: the declared multiplier of demand, None if undeclared.
    """

    weekend: bool = False
    hour: float | None = None
    magnitude: float | None = None


@dataclass(frozen=True, slots=True)
class MeasuredEvent:
    """A past event with its measured effect.

    start, end: epoch seconds. amplitude: log of demand with the event over demand without.
    """

    start: float
    end: float
    amplitude: float
    traits: Traits = Traits()


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
def expected_amplitude(earlier: tuple[MeasuredEvent, ...], traits: Traits) -> float | None:
    """Return the expected amplitude of an event after others, oldest first; None without others."""
    if not earlier:
        return None
    without_drift = _amplitude_without_drift(earlier, traits)
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


def learned_effect(earlier: tuple[MeasuredEvent, ...], traits: Traits) -> LearnedEffect | None:
    """Return the expected amplitude as a multiplier with its range; None without events."""
    amplitude = expected_amplitude(earlier, traits)
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
        predictions.append(_amplitude_without_drift(earlier, event.traits) if earlier else None)
    return tuple(predictions)


class _Fit(NamedTuple):
    """A level that fits the earlier events, and the factors of its amplitude.

    error: of its predictions of the next events, increased for each choice that adds freedom. usual: the amplitude of
    each event that the fit expects, but for the hour; shape (events,). with_hours: whether hours have a factor.
    """

    error: float
    level: float
    weekend_ratio: float
    usual: FloatArray
    with_hours: bool


@lru_cache(maxsize=4096)
def _amplitude_without_drift(earlier: tuple[MeasuredEvent, ...], traits: Traits) -> float:
    amplitudes, hours = np.array([event.amplitude for event in earlier]), _hours(earlier)
    weekends = np.array([event.traits.weekend for event in earlier])
    fit = min(_fits(amplitudes, _sizes(earlier), weekends, hours), key=lambda fit: fit.error)
    expected = fit.level * (fit.weekend_ratio if traits.weekend else 1.0) * _size(earlier, traits.magnitude)
    if fit.with_hours and traits.hour is not None:
        expected *= _hour_factors(np.array([traits.hour]), hours, amplitudes, fit.usual)[0]
    return float(expected)


def _fits(amplitudes: FloatArray, sizes: FloatArray, weekends: FloatArray, hours: FloatArray) -> list[_Fit]:
    """Return a fit for each half-life, without and with factors of the hours."""
    fits: list[_Fit] = []
    for half_life, with_hours in product(_HALF_LIVES, (False, True)):
        ratio, levels, error = 1.0, amplitudes, 0.0
        by_hour = np.ones(len(amplitudes))
        for _ in range(_PASSES):
            levels, error = _smoothed(amplitudes, sizes * np.where(weekends, ratio, 1.0) * by_hour, half_life)
            mean = float((levels**2).mean())
            scaled = (levels * sizes * by_hour)[weekends.astype(bool)]
            covariance = float((amplitudes[weekends.astype(bool)] * scaled).sum())
            prior = _PRIOR_WEEKEND_EVENTS * mean
            ratio = (covariance + prior) / (float((scaled**2).sum()) + prior) if mean else 1.0
            if with_hours:
                by_hour = _hour_factors(hours, hours, amplitudes, levels * sizes * np.where(weekends, ratio, 1.0))
        choices = (not math.isinf(half_life)) + with_hours
        usual = levels * sizes * np.where(weekends, ratio, 1.0)
        fits.append(_Fit(error / _MAX_ERROR_RATIO**choices, float(levels[-1]), ratio, usual, with_hours))
    return fits


def _hour_factors(at: FloatArray, hours: FloatArray, amplitudes: FloatArray, usual: FloatArray) -> FloatArray:
    """Return the factor of the amplitude at some hours of the day, 1 for unknown hours: shape (at,).

    It is the ratio of measured to usual amplitudes of the events at about that hour, relative to that of all events,
    and shrunk towards 1. hours, amplitudes, usual: of the events, shape (events,).
    """
    apart = np.abs((at[:, None] - hours + 12) % 24 - 12)
    weights = np.nan_to_num(np.exp(-0.5 * (apart / _HOURS_APART) ** 2))
    prior, overall = _PRIOR_HOUR_EVENTS * float((usual**2).mean()), float((amplitudes * usual).sum())
    if not prior or not overall:
        return np.ones(len(at))
    measured = amplitudes * usual * float((usual**2).sum()) / overall
    return (weights @ measured + prior) / (weights @ usual**2 + prior)


def _hours(earlier: Sequence[MeasuredEvent]) -> FloatArray:
    hours = [event.traits.hour for event in earlier]
    return np.array([math.nan if hour is None else hour for hour in hours])


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
    return np.array([_size(earlier, event.traits.magnitude) for event in earlier])


def _size(earlier: Sequence[MeasuredEvent], magnitude: float | None) -> float:
    """Return a declared multiplier relative to earlier declarations; 1 if either is missing or their signs differ."""
    declared = [math.log(event.traits.magnitude) for event in earlier if event.traits.magnitude]
    usual = sum(declared) / len(declared) if declared else 0.0
    if not magnitude or not usual or math.log(magnitude) * usual <= 0:
        return 1.0
    return min(max(math.log(magnitude) / usual, _MIN_FACTOR), _MAX_FACTOR)
