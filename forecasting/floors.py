"""A floor over time, for many wishes at once: stabilisation, steps, dead band and bounds as a policy states them.

The live rules are the operator's decision code; this is their arithmetic, a column for each wish, for whole grids.
Rules for outages, pauses and fallbacks are left out.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.simulation_grid import Counts

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Stride:
    """The most that a floor moves within `period_steps`: a percentage of it, rounded up to one, or a count."""

    amount: int
    is_percent: bool
    period_steps: int

    def of(self, floors: Counts) -> Counts:
        """In replicas."""
        if not self.is_percent:
            return np.full_like(floors, self.amount)
        return np.maximum(1, -(-floors * self.amount // 100))


@dataclass(frozen=True, slots=True)
class FloorRules:
    """A policy's rules. Times are in steps of the simulation."""

    minimum: int
    maximum: int
    up: Stride
    down: Stride
    window_steps: int
    """The highest wish of this many steps holds on the way down."""
    band_replicas: int
    band_percent: int
    """A change smaller than both is not made."""


def floors_of(wishes: Counts, needed: Counts, sees: Mask, rules: FloorRules, begin: int) -> Counts:
    """The floors that follow from wishes: shape (steps, columns), as `wishes`.

    needed: shape (steps,), replicas that the demand of each step needs; no decrease goes below. sees: shape (steps,),
    whether there are data to sink on. begin: the floor before the first step.
    """
    steps, columns = wishes.shape
    strongest = np.maximum(wishes, rules.minimum)
    highest = _highest_within(strongest, rules.window_steps)
    floors = np.empty_like(wishes)
    before = np.full(columns, begin, np.int32)
    ups, downs = (_Moved(stride, before) for stride in (rules.up, rules.down))
    seen_since = 0
    for step in range(steps):
        wish = np.minimum(strongest[step], rules.maximum)
        blind = not sees[step] or step - seen_since < rules.window_steps
        least = before if blind else np.maximum(np.maximum(wish, highest[step]), needed[step])
        down = np.maximum(np.minimum(before, least), before - downs.left(before))
        up = np.minimum(wish, before + ups.left(before))
        floor = np.where(wish < before, down, up)
        change = np.abs(floor - before)
        small = (change < rules.band_replicas) & (change * 100 < rules.band_percent * before)
        floor = np.clip(np.where(small, before, floor), rules.minimum, rules.maximum).astype(np.int32)
        ups.add(np.maximum(floor - before, 0), before)
        downs.add(np.maximum(before - floor, 0), before)
        seen_since = seen_since if sees[step] else step
        floors[step] = before = floor
    return floors


class _Moved:
    """How far floors have moved one way within the period that ends now."""

    def __init__(self, stride: Stride, begin: Counts) -> None:
        self._stride = stride
        slots = max(0, stride.period_steps - 1)
        self._moves = np.zeros((slots, len(begin)), np.int32)
        self._befores = np.tile(begin, (slots, 1))
        self._total = np.zeros(len(begin), np.int32)
        self._at = 0

    def left(self, before: Counts) -> Counts:
        at_start = self._befores[self._at] if len(self._befores) else before
        return np.maximum(0, self._stride.of(at_start) - self._total)

    def add(self, move: Counts, before: Counts) -> None:
        if len(self._moves):
            self._total = self._total + move - self._moves[self._at]
            self._moves[self._at], self._befores[self._at] = move, before
            self._at = (self._at + 1) % len(self._moves)


def _highest_within(values: Counts, width: int) -> Counts:
    """The highest of the last `width` steps, the newest included."""
    highest, reach = values.copy(), 1
    while reach < width:
        shift = min(reach, width - reach)
        highest[shift:] = np.maximum(highest[shift:], highest[:-shift])
        reach += shift
    return highest
