"""Floors over time for many recommendations at once: stabilisation, steps, dead band and bounds of a policy.

The live rules are the operator's decision code; this is their arithmetic in columns, one for each recommendation.
Rules for outages, pauses and fallbacks are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.scaling.chunks import ChunkColumns, Counts, from_chunks, run, select, split_into_chunks, to_chunks

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Stride:
    """The largest move of a floor within `period_steps`: a percentage of the floor, at least 1, or a count."""

    amount: int
    is_percent: bool
    period_steps: int

    def of(self, floors: Counts) -> Counts:
        """Return the largest move from each floor, in replicas."""
        if not self.is_percent:
            return np.full_like(floors, self.amount)
        return np.maximum(1, -(-floors * self.amount // 100))


@dataclass(frozen=True, slots=True)
class FloorRules:
    """The rules of a policy. Times are in steps of the simulation."""

    minimum: int
    maximum: int
    up: Stride
    down: Stride
    window_steps: int
    """The highest recommendation of this many steps limits a decrease."""
    band_replicas: int
    band_percent: int
    """A change smaller than both bands is not made."""


def floors_of(recommended: Counts, needed: Counts, has_data: Mask, rules: FloorRules, initial: int) -> Counts:
    """Return the floors that follow from recommended ones: shape (steps, columns), as `recommended`.

    needed: shape (steps,), replicas that the demand of each step needs; no decrease goes below. has_data: shape
    (steps,), whether there are data that allow a decrease. initial: the floor before the first step.
    """
    steps, columns = recommended.shape
    strongest = np.maximum(recommended, rules.minimum).astype(np.int32)
    lower_limit = np.maximum(_highest_within(strongest, rules.window_steps), needed[:, None]).astype(np.int32)
    memory = max(rules.up.period_steps, rules.down.period_steps)
    chunks, length = split_into_chunks(steps, memory)
    held = np.repeat(_without_full_window(has_data, rules.window_steps)[:, None], columns, axis=1)
    floors = _Floors(
        recommended=to_chunks(np.minimum(strongest, rules.maximum).astype(np.int32), chunks, length),
        lower_limit=to_chunks(lower_limit, chunks, length),
        held=to_chunks(held, chunks, length),
        rules=rules,
        initial=initial,
        columns=columns,
        memory=memory,
    )
    return from_chunks(run(floors, columns, chunks, length), chunks, steps)


def _without_full_window(has_data: Mask, window_steps: int) -> Mask:
    """Whether fewer than `window_steps` consecutive steps of data precede each step."""
    steps = np.arange(len(has_data))
    last_missing = np.maximum.accumulate(np.where(has_data, 0, steps))
    since = np.append(0, last_missing[:-1])
    return ~has_data | (steps - since < window_steps)


@dataclass(frozen=True, slots=True)
class _Floors:
    """The rules of the floor as a recurrence over (floors, moved up within the period, moved down).

    recommended, lower_limit, held: shape (length, chunk columns). held: no decrease is allowed.
    """

    recommended: Counts
    lower_limit: Counts
    held: Mask
    rules: FloorRules
    initial: int
    columns: int
    memory: int

    def guess(self) -> list[Counts]:
        """Return the highest recommendation of the window before each chunk."""
        chunk_columns = self.recommended.shape[1]
        before = np.full(chunk_columns, self.initial, np.int32)
        ends = np.clip(self.lower_limit[-1, : chunk_columns - self.columns], self.rules.minimum, self.rules.maximum)
        before[self.columns :] = ends
        unmoved = np.zeros((1, chunk_columns), np.int32)
        return [np.tile(before, (self.memory, 1)), unmoved, unmoved.copy()]

    def step(self, past: Sequence[Counts], at: int, selected: ChunkColumns | None) -> tuple[Counts, Counts, Counts]:
        floors, (moved_up,), (moved_down,) = past
        rules, before = self.rules, floors[-1]
        recommended, lower_limit = select(self.recommended[at], selected), select(self.lower_limit[at], selected)
        lowest = np.where(select(self.held[at], selected), before, np.maximum(recommended, lower_limit))
        left_down = np.maximum(0, rules.down.of(floors[-rules.down.period_steps]) - moved_down)
        left_up = np.maximum(0, rules.up.of(floors[-rules.up.period_steps]) - moved_up)
        down = np.minimum(before, np.maximum(lowest, before - left_down))
        floor = np.where(recommended < before, down, np.minimum(recommended, before + left_up))
        change = np.abs(floor - before)
        small = (change < rules.band_replicas) & (change * 100 < rules.band_percent * before)
        floor = np.minimum(np.maximum(np.where(small, before, floor), rules.minimum), rules.maximum)
        up = moved_up + np.maximum(floor - before, 0) - _first_move(floors, rules.up, 1, floor)
        down = moved_down + np.maximum(before - floor, 0) - _first_move(floors, rules.down, -1, floor)
        return floor, up, down


def _first_move(floors: Counts, stride: Stride, sign: int, newest: Counts) -> Counts:
    """The replicas moved in the step that leaves the period now."""
    oldest = floors[-stride.period_steps]
    following = floors[-stride.period_steps + 1] if stride.period_steps > 1 else newest
    return np.maximum(sign * (following - oldest), 0)


def _highest_within(values: Counts, width: int) -> Counts:
    """The highest of the last `width` steps, the newest included."""
    highest, covered = values.copy(), 1
    while covered < width:
        shift = min(covered, width - covered)
        highest[shift:] = np.maximum(highest[shift:], highest[:-shift])
        covered += shift
    return highest
