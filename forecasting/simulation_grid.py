"""Many autoscalers over one demand at once: the arithmetic of `simulation`, a column for each, to the replica."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.series import FloatArray
from forecasting.simulation import AutoscalerRules

Counts = npt.NDArray[np.int32]


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
    capacity = targets * per_replica
    wanted = np.ceil(metric[:, None] / capacity).astype(np.int32)
    lowest = max(rules.minimum, 1)
    raised = np.full((steps, 1), lowest, np.int32) if floors is None else np.maximum(floors, lowest)
    existing = np.empty((steps, columns), np.int32)
    recommended = np.zeros((rules.stabilization_steps + 1, columns), np.int32)
    begin = current = np.maximum(wanted[0], 1)
    for step in range(steps):
        off = np.abs(metric[step] / (capacity * current) - 1)
        desired = np.where(off <= rules.tolerance, current, wanted[step])
        recommended[step % len(recommended)] = desired
        down = np.minimum(current, recommended.max(axis=0))
        up = np.minimum(desired, np.maximum(rules.up_factor * current, current + rules.up_pods))
        current = np.minimum(np.maximum(np.where(desired < current, down, up), raised[step]), rules.maximum)
        existing[step] = current
    return Grid(existing, ready_of(existing, rules.start_steps, begin))


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
