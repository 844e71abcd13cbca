"""A floor over time, for many wishes at once: stabilisation, steps, dead band and bounds as a policy states them.

The live rules are the operator's decision code; this is their arithmetic, a column for each wish, for whole grids.
Rules for outages, pauses and fallbacks are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.scaling.chunks import ChunkColumns, Counts, from_chunks, run, split_into_chunks, taken, to_chunks

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
    strongest = np.maximum(wishes, rules.minimum).astype(np.int32)
    least = np.maximum(_highest_within(strongest, rules.window_steps), needed[:, None]).astype(np.int32)
    memory = max(rules.up.period_steps, rules.down.period_steps)
    stretches, length = split_into_chunks(steps, memory)
    blind = np.repeat(_blind(sees, rules.window_steps)[:, None], columns, axis=1)
    floors = _Floors(
        wish=to_chunks(np.minimum(strongest, rules.maximum).astype(np.int32), stretches, length),
        least=to_chunks(least, stretches, length),
        blind=to_chunks(blind, stretches, length),
        rules=rules,
        begin=begin,
        columns=columns,
        memory=memory,
    )
    return from_chunks(run(floors, columns, stretches, length), stretches, steps)


def _blind(sees: Mask, window_steps: int) -> Mask:
    """Whether a full window of data has not been seen yet at each step."""
    steps = np.arange(len(sees))
    unseen = np.maximum.accumulate(np.where(sees, 0, steps))
    since = np.append(0, unseen[:-1])
    return ~sees | (steps - since < window_steps)


@dataclass(frozen=True, slots=True)
class _Floors:
    """The rules of the floor as a recurrence over (floors, moved up within the period, moved down).

    wish, least, blind: shape (length, lanes).
    """

    wish: Counts
    least: Counts
    blind: Mask
    rules: FloorRules
    begin: int
    columns: int
    memory: int

    def guess(self) -> list[Counts]:
        """A stretch begins where the strongest wish of late was."""
        lanes = self.wish.shape[1]
        before = np.full(lanes, self.begin, np.int32)
        ends = np.clip(self.least[-1, : lanes - self.columns], self.rules.minimum, self.rules.maximum)
        before[self.columns :] = ends
        return [np.tile(before, (self.memory, 1)), np.zeros((1, lanes), np.int32), np.zeros((1, lanes), np.int32)]

    def step(self, past: Sequence[Counts], at: int, lanes: ChunkColumns | None) -> tuple[Counts, Counts, Counts]:
        floors, (moved_up,), (moved_down,) = past
        rules, before = self.rules, floors[-1]
        wish, least = taken(self.wish[at], lanes), taken(self.least[at], lanes)
        lowest = np.where(taken(self.blind[at], lanes), before, np.maximum(wish, least))
        left_down = np.maximum(0, rules.down.of(floors[-rules.down.period_steps]) - moved_down)
        left_up = np.maximum(0, rules.up.of(floors[-rules.up.period_steps]) - moved_up)
        down = np.minimum(before, np.maximum(lowest, before - left_down))
        floor = np.where(wish < before, down, np.minimum(wish, before + left_up))
        change = np.abs(floor - before)
        small = (change < rules.band_replicas) & (change * 100 < rules.band_percent * before)
        floor = np.minimum(np.maximum(np.where(small, before, floor), rules.minimum), rules.maximum)
        up = moved_up + np.maximum(floor - before, 0) - _first_move(floors, rules.up, 1, floor)
        down = moved_down + np.maximum(before - floor, 0) - _first_move(floors, rules.down, -1, floor)
        return floor, up, down


def _first_move(floors: Counts, stride: Stride, sign: int, newest: Counts) -> Counts:
    """What was moved in the step that leaves the period now."""
    oldest = floors[-stride.period_steps]
    following = floors[-stride.period_steps + 1] if stride.period_steps > 1 else newest
    return np.maximum(sign * (following - oldest), 0)


def _highest_within(values: Counts, width: int) -> Counts:
    """The highest of the last `width` steps, the newest included."""
    highest, reach = values.copy(), 1
    while reach < width:
        shift = min(reach, width - reach)
        highest[shift:] = np.maximum(highest[shift:], highest[:-shift])
        reach += shift
    return highest
