"""What a policy's next decision has to know of this one."""

import base64
import hashlib

from forecasting.forecast import Forecast
from predictive_scaling.decision.context import Case
from predictive_scaling.decision.inputs import FloorChange, Memory, Source
from predictive_scaling.decision.limits import recent, remember
from predictive_scaling.resources.metadata import LONGEST_NAME


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


_ID_LENGTH = 12


def decision_id(policy_uid: str, generation: int, previous: str | None, before: int, after: int) -> str:
    """A hash of what is decided: letters and digits that may stand in a DNS label.

    previous: the id of the target's previous decision; None for its first.
    """
    said = "\n".join((policy_uid, str(generation), previous or "", str(before), str(after)))
    digest = hashlib.sha256(said.encode()).digest()
    return base64.b32encode(digest).decode().lower()[:_ID_LENGTH]


def decision_name(policy_name: str, identity: str) -> str:
    """Name of the ScalingDecision object: the policy's name, cut where it has to be, and the id.

    >>> decision_name("checkout", "abcdefghijkl")
    'checkout-abcdefghijkl'
    """
    return f"{policy_name[: LONGEST_NAME - len(identity) - 1].rstrip('-.')}-{identity}"
