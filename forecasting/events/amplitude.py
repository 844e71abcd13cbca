"""How large the next event of a type will be: recent ones count most, weekends and declared sizes are told apart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from forecasting.series import FloatArray

_HALF_LIVES = (1.5, 3.0, 6.0, math.inf)
"""In events; the one that would have foretold the earlier ones best is used, the longest where they say little."""
_BETTER = 0.97
_SHRINK = 0.5
"""Events without effect that are added in mind, so that one event is not believed in full."""
_KIND_SHRINK = 2.0
_DRIFT_HALF_LIFE, _DRIFT_SHRINK = 4.0, 2.0
_PASSES = 3
_FACTOR = 0.25, 4.0
_BEGINNING = 2
_SPREAD, _SPREAD_WEIGHT, _SPREAD_HALF_LIFE = 0.35, 2.0, 8.0
_TENTH = 1.2816  # the normal distribution's 0.9 quantile


@dataclass(frozen=True, slots=True)
class MeasuredEvent:
    """An event that is over. start, end: epoch seconds. amplitude: log of demand with it over demand without.

    weekend: by the clock of the series' zone. magnitude: what it was said to multiply demand by, None for unsaid.
    """

    start: float
    end: float
    amplitude: float
    weekend: bool = False
    magnitude: float | None = None


@dataclass(frozen=True, slots=True)
class LearnedEffect:
    """What the next event of a type is expected to multiply demand by, and within what in four of five cases."""

    multiplier: float
    low: float
    high: float
    samples: int


@lru_cache(maxsize=4096)
def expected_amplitude(earlier: tuple[MeasuredEvent, ...], weekend: bool, magnitude: float | None) -> float | None:
    """The amplitude to expect after these events, oldest first; None after none."""
    if not earlier:
        return None
    plain = _plain(earlier, weekend, magnitude)
    foretold = [(one.amplitude, told) for one, told in zip(earlier, _foretold(earlier), strict=True) if told]
    if not foretold:
        return plain
    actual, told = np.array(foretold).T
    weights = 0.5 ** (np.arange(len(told))[::-1] / _DRIFT_HALF_LIFE)
    drift = (weights * (actual - told) * told).sum() / ((weights * told**2).sum() + _DRIFT_SHRINK * (told**2).mean())
    return float(plain * (1 + np.clip(drift, -0.5, 1.0)))


def learned_effect(
    earlier: tuple[MeasuredEvent, ...], *, weekend: bool, magnitude: float | None = None
) -> LearnedEffect | None:
    """`expected`, as a multiplier with its range; None after no event."""
    amplitude = expected_amplitude(earlier, weekend, magnitude)
    if amplitude is None:
        return None
    # The first ones were foretold from next to nothing.
    told = list(zip(earlier, _foretold(earlier), strict=True))[_BEGINNING:]
    errors = [(one.amplitude - foretold) / foretold for one, foretold in told if foretold]
    weights = 0.5 ** (np.arange(len(errors))[::-1] / _SPREAD_HALF_LIFE)
    squares = float((weights * np.clip(np.array(errors), -1, 1) ** 2).sum()) if errors else 0.0
    known = float(weights.sum())
    spread = math.sqrt((_SPREAD_WEIGHT * _SPREAD**2 + squares) / (_SPREAD_WEIGHT + known))
    bounds = sorted((amplitude * (1 - _TENTH * spread), amplitude * (1 + _TENTH * spread)))
    return LearnedEffect(math.exp(amplitude), math.exp(bounds[0]), math.exp(bounds[1]), len(earlier))


@lru_cache(maxsize=64)
def _foretold(events: tuple[MeasuredEvent, ...]) -> tuple[float | None, ...]:
    """What `_plain` would have said of each from those that were over by then."""
    found: list[float | None] = []
    for event in events:
        earlier = tuple(other for other in events if other.end <= event.start)
        found.append(_plain(earlier, event.weekend, event.magnitude) if earlier else None)
    return tuple(found)


@lru_cache(maxsize=4096)
def _plain(earlier: tuple[MeasuredEvent, ...], weekend: bool, magnitude: float | None) -> float:
    amplitudes = np.array([one.amplitude for one in earlier])
    sizes = _sizes(earlier)
    kinds = np.array([one.weekend for one in earlier])
    best = min(_runs(amplitudes, sizes, kinds), key=lambda run: run[0])
    _, level, ratio = best
    return float(level * (ratio if weekend else 1.0) * _size(earlier, magnitude))


def _runs(amplitudes: FloatArray, sizes: FloatArray, kinds: FloatArray) -> list[tuple[float, float, float]]:
    """For each half-life its error (the longest is handicapped least), the level, and the weekend's ratio."""
    found: list[tuple[float, float, float]] = []
    for half_life in _HALF_LIVES:
        ratio, levels, error = 1.0, amplitudes, 0.0
        for _ in range(_PASSES):
            factors = sizes * np.where(kinds, ratio, 1.0)
            levels, error = _smoothed(amplitudes, factors, half_life)
            mean = float((levels**2).mean())
            scaled = (levels * sizes)[kinds.astype(bool)]
            told = float((amplitudes[kinds.astype(bool)] * scaled).sum())
            ratio = (told + _KIND_SHRINK * mean) / (float((scaled**2).sum()) + _KIND_SHRINK * mean) if mean else 1.0
        handicap = 1.0 if math.isinf(half_life) else 1 / _BETTER
        found.append((error * handicap, float(levels[-1]), ratio))
    return found


def _smoothed(amplitudes: FloatArray, factors: FloatArray, half_life: float) -> tuple[FloatArray, float]:
    """The level after each event, shrunk towards none, and how far it missed the next ones."""
    decay = 0.5 ** (1 / half_life)
    total = weight = error = 0.0
    levels = np.empty(len(amplitudes))
    for at, (amplitude, factor) in enumerate(zip(amplitudes.tolist(), factors.tolist(), strict=True)):
        if at:
            error += abs(amplitude - factor * levels[at - 1])
        total, weight = total * decay + factor * amplitude, weight * decay + factor**2
        levels[at] = total / (weight + _SHRINK)
    return levels, error


def _sizes(earlier: Sequence[MeasuredEvent]) -> FloatArray:
    return np.array([_size(earlier, one.magnitude) for one in earlier])


def _size(earlier: Sequence[MeasuredEvent], magnitude: float | None) -> float:
    """A declared multiplier relative to those declared before; 1 where either is missing or they point apart."""
    said = [math.log(one.magnitude) for one in earlier if one.magnitude]
    usual = sum(said) / len(said) if said else 0.0
    if not magnitude or not usual or math.log(magnitude) * usual <= 0:
        return 1.0
    low, high = _FACTOR
    return min(max(math.log(magnitude) / usual, low), high)
