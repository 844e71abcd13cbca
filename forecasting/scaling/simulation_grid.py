"""Many autoscalers over one demand at once: the arithmetic of `simulation`, a column for each, to the replica."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.scaling.chunks import ChunkColumns, Counts, from_chunks, run, split_into_chunks, taken, to_chunks
from forecasting.scaling.simulation import AutoscalerRules
from forecasting.series import FloatArray


@dataclass(frozen=True, slots=True)
class Grid:
    """What became of each column. All shapes (steps, columns)."""

    existing: Counts
    ready: Counts


def simulate_grid(
    metric: FloatArray, per_replica: float, rules: AutoscalerRules, targets: FloatArray, floors: Counts | None = None
) -> Grid:
    """Run an HPA a column over the same demand.

    metric: shape (steps,), what the HPA sees at each step (already as late as it is), finite. targets: shape
    (columns,), in place of rules.target. floors: shape (steps, columns) or (steps, 1), or None for nobody's.
    """
    steps, columns = len(metric), len(targets)
    wanted = np.ceil(metric[:, None] / (targets * per_replica)).astype(np.int32)
    lowest = max(rules.minimum, 1)
    raised = np.full((steps, 1), lowest, np.int32) if floors is None else np.maximum(floors, lowest)
    begin = np.maximum(wanted[0], 1)
    stretches, length = split_into_chunks(steps, rules.stabilization_steps + 1)
    scaler = _Autoscalers(
        metric=to_chunks(metric[:, None], stretches, length),
        wanted=to_chunks(wanted, stretches, length),
        raised=to_chunks(np.broadcast_to(raised, wanted.shape).astype(np.int32), stretches, length),
        capacity=np.tile(targets * per_replica, stretches),
        stretch=np.repeat(np.arange(stretches), columns),
        rules=rules,
        begin=begin,
    )
    existing = from_chunks(run(scaler, columns, stretches, length), stretches, steps)
    return Grid(existing, ready_of(existing, rules.start_steps, begin))


@dataclass(frozen=True, slots=True)
class _Autoscalers:
    """HPAs as a recurrence over (replicas, what was desired within the stabilisation window before).

    metric: shape (length, stretches). wanted, raised: shape (length, lanes). capacity, stretch: of each lane.
    """

    metric: FloatArray
    wanted: Counts
    raised: Counts
    capacity: FloatArray
    stretch: ChunkColumns
    rules: AutoscalerRules
    begin: Counts

    @property
    def memory(self) -> int:
        return self.rules.stabilization_steps + 1

    def guess(self) -> list[Counts]:
        """A stretch begins with what was wanted, as if no replica had ever been held back."""
        lanes, columns, window = self.wanted.shape[1], len(self.begin), self.rules.stabilization_steps
        ends = np.minimum(np.maximum(self.wanted[-1], self.raised[-1]), self.rules.maximum)[: lanes - columns]
        desired = np.zeros((window, lanes), np.int32)
        if window:
            late = self.wanted[-window:, : lanes - columns]
            desired[-len(late) :, columns:] = late
        return [np.concatenate((self.begin, np.maximum(ends, 1)))[None], desired]

    def step(self, past: Sequence[Counts], at: int, lanes: ChunkColumns | None) -> tuple[Counts, ...]:
        (current,), before = past
        rules, capacity = self.rules, taken(self.capacity, lanes)
        off = np.abs(self.metric[at].take(taken(self.stretch, lanes)) / (capacity * current) - 1)
        desired = np.where(off <= rules.tolerance, current, taken(self.wanted[at], lanes))
        recommended = np.maximum(desired, before.max(axis=0)) if len(before) else desired
        down = np.minimum(current, recommended)
        up = np.minimum(desired, np.maximum(rules.up_factor * current, current + rules.up_pods))
        replicas = np.where(desired < current, down, up)
        return np.minimum(np.maximum(replicas, taken(self.raised[at], lanes)), rules.maximum), desired


def ready_of(existing: Counts, start_steps: int, begin: Counts) -> Counts:
    """Ready replicas where those that are not ready go first, as the controller does it: shape (steps, columns).

    A replica is ready when it has been there for `start_steps`, so there are as many as there were at the fewest
    since then. begin: shape (columns,), those that there were before the first step, all ready.
    """
    ready = existing.copy()
    width, reach = start_steps + 1, 1
    while reach < width:
        shift = min(reach, width - reach)
        ready[shift:] = np.minimum(ready[shift:], ready[:-shift])
        reach += shift
    ready[:start_steps] = np.minimum(ready[:start_steps], begin)
    return ready
