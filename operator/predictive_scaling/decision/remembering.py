"""What a policy's next decision has to know of this one."""

from forecasting.forecast import Forecast
from predictive_scaling.decision.case import Case
from predictive_scaling.decision.model import FloorChange, Memory, Source
from predictive_scaling.decision.stabilization import remember
from predictive_scaling.decision.steps import recent


def next_memory(case: Case, floor: int) -> Memory:
    """The memory after this decision; bounded by the stabilization window and the longest period."""
    now, memory, spec = case.situation.now, case.situation.memory, case.situation.policy.spec
    changes = recent(memory.changes, now, max(spec.scale_up.period, spec.scale_down.period))
    if floor != case.before:
        changes = (*changes, FloorChange(now, case.before, floor))
    window = spec.scale_down.stabilization_window
    return Memory(
        # While data are missing or demand is out, the window starts anew.
        since=memory.since if _sees(case) else now,
        floor=memory.floor if case.pause.freezes else floor,
        recommendations=remember(memory.recommendations, now, case.strongest.replicas, window),
        changes=changes,
        blind_since=case.sight.blind_since,
        trusted=_trusted(case),
        held_by=_held_by(case, floor),
    )


def _sees(case: Case) -> bool:
    return case.suppressed or case.blind_order or (case.sight.suffices and not case.outage)


def _trusted(case: Case) -> Forecast | None:
    """While demand is out, or missing, the forecast from before stays the yardstick."""
    in_order = case.sight.demand is not None and not case.outage
    return case.sight.forecast or case.situation.memory.trusted if in_order else case.situation.memory.trusted


def _held_by(case: Case, floor: int) -> Source | None:
    if case.pause.pin is not None and not case.pause.freezes:
        return Source.PIN
    asked_for_all = case.strongest.replicas >= floor
    return case.strongest.source if asked_for_all else case.situation.memory.held_by
