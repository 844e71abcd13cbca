"""Many autoscalers over one demand at once: the arithmetic of `simulation` in columns, equal to the replica."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.scaling.chunks import ChunkColumns, Counts, from_chunks, run, select, split_into_chunks, to_chunks
from forecasting.scaling.simulation import AutoscalerRules
from forecasting.series import FloatArray


@dataclass(frozen=True, slots=True)
class Grid:
    """The replicas of each column over time. All shapes (steps, columns)."""

    existing: Counts
    ready: Counts


def simulate_grid(
    metric: FloatArray, per_replica: float, rules: AutoscalerRules, targets: FloatArray, floors: Counts | None = None
) -> Grid:
    """Run one HPA for each column over the same demand.

    metric: shape (steps,), the metric that the HPA reads at each step, its delay included; finite. targets: shape
    (columns,), in place of rules.target. floors: shape (steps, columns) or (steps, 1); None for no floors.
    """
    steps, columns = len(metric), len(targets)
    desired = np.ceil(metric[:, None] / (targets * per_replica)).astype(np.int32)
    lowest = max(rules.minimum, 1)
    minimums = np.full((steps, 1), lowest, np.int32) if floors is None else np.maximum(floors, lowest)
    initial = np.maximum(desired[0], 1)
    chunks, length = split_into_chunks(steps, rules.stabilization_steps + 1)
    scaler = _Autoscalers(
        metric=to_chunks(metric[:, None], chunks, length),
        desired=to_chunks(desired, chunks, length),
        minimums=to_chunks(np.broadcast_to(minimums, desired.shape).astype(np.int32), chunks, length),
        capacity=np.tile(targets * per_replica, chunks),
        chunk=np.repeat(np.arange(chunks), columns),
        rules=rules,
        initial=initial,
    )
    existing = from_chunks(run(scaler, columns, chunks, length), chunks, steps)
    return Grid(existing, ready_of(existing, rules.start_steps, initial))


@dataclass(frozen=True, slots=True)
class _Autoscalers:
    """HPAs as a recurrence over (replicas, desired replicas within the stabilisation window before).

    metric: shape (length, chunks). desired, minimums: shape (length, chunk columns). capacity, chunk: shape (chunk
    columns,), the demand at the HPA's target for one replica, and the index of the chunk. initial: shape (columns,).
    """

    metric: FloatArray
    desired: Counts
    minimums: Counts
    capacity: FloatArray
    chunk: ChunkColumns
    rules: AutoscalerRules
    initial: Counts

    @property
    def memory(self) -> int:
        return self.rules.stabilization_steps + 1

    def guess(self) -> list[Counts]:
        """Return the desired replicas before each chunk, as if the HPA had reached them at once."""
        chunk_columns, columns, window = self.desired.shape[1], len(self.initial), self.rules.stabilization_steps
        ends = np.minimum(np.maximum(self.desired[-1], self.minimums[-1]), self.rules.maximum)[
            : chunk_columns - columns
        ]
        desired = np.zeros((window, chunk_columns), np.int32)
        if window:
            newest = self.desired[-window:, : chunk_columns - columns]
            desired[-len(newest) :, columns:] = newest
        return [np.concatenate((self.initial, np.maximum(ends[: chunk_columns - columns], 1)))[None], desired]

    def step(self, past: Sequence[Counts], at: int, selected: ChunkColumns | None) -> tuple[Counts, ...]:
        (current,), earlier = past
        rules, capacity = self.rules, select(self.capacity, selected)
        deviation = np.abs(self.metric[at].take(select(self.chunk, selected)) / (capacity * current) - 1)
        desired = np.where(deviation <= rules.tolerance, current, select(self.desired[at], selected))
        recommended = np.maximum(desired, earlier.max(axis=0)) if len(earlier) else desired
        down = np.minimum(current, recommended)
        up = np.minimum(desired, np.maximum(rules.up_factor * current, current + rules.up_pods))
        replicas = np.where(desired < current, down, up)
        return np.minimum(np.maximum(replicas, select(self.minimums[at], selected)), rules.maximum), desired


def ready_of(existing: Counts, start_steps: int, initial: Counts) -> Counts:
    """Return the ready replicas: shape (steps, columns).

    The controller deletes replicas that are not ready first. A replica is ready `start_steps` after its creation, so
    the ready ones are the minimum of the existing ones since then. initial: shape (columns,), the replicas before the
    first step, all ready.
    """
    ready = existing.copy()
    width, covered = start_steps + 1, 1
    while covered < width:
        shift = min(covered, width - covered)
        ready[shift:] = np.minimum(ready[shift:], ready[:-shift])
        covered += shift
    ready[:start_steps] = np.minimum(ready[:start_steps], initial)
    return ready
