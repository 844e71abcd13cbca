"""What was learned about a target, as the HTTP API shows it: durations in seconds."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from predictive_scaling.api.fields import Number, ResponseModel
from predictive_scaling.resources.learned_status import LearnedCapacity, LearnedLeadTime, LearnedStarts
from predictive_scaling.resources.statuses import parse_policy_status


class Starts(ResponseModel):
    """Durations of starts, from raising the floor to ready replicas."""

    seconds: Number = Field(description="0.9 quantile.")
    starts: int = Field(description="Number of starts.")


class LeadTime(Starts):
    """Lead time of the target."""

    trusted: bool = Field(description="Whether there are enough starts; until then it only lengthens the default.")
    on_existing_nodes: Starts | None = Field(description="Starts in which no replica waited for a node.")
    with_new_node: Starts | None = Field(description="Starts in which a replica waited for a node.")


class Capacity(ResponseModel):
    """Demand that one ready replica serves at full utilization, with its 95 % interval."""

    value: Number
    low: Number
    high: Number
    samples: int = Field(description="Number of observations.")


class Learned(ResponseModel):
    """What was learned about the target. Configured values take precedence."""

    lead_time: LeadTime | None
    per_replica: Capacity | None


def learned_of_status(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the fields of Learned from status.learned as stored; None if nothing was learned."""
    learned = parse_policy_status({"learned": stored}).learned if stored else None
    if learned is None:
        return None
    return {"lead_time": _lead_time(learned.lead_time), "per_replica": _capacity(learned.per_replica)}


def _lead_time(lead_time: LearnedLeadTime | None) -> dict[str, Any] | None:
    if lead_time is None:
        return None
    parts = {"on_existing_nodes": lead_time.on_existing_nodes, "with_new_node": lead_time.with_new_node}
    return {
        **_starts(lead_time),
        "trusted": lead_time.trusted,
        **{name: None if part is None else _starts(part) for name, part in parts.items()},
    }


def _starts(starts: LearnedStarts) -> dict[str, Any]:
    return {"seconds": starts.value.total_seconds(), "starts": starts.starts}


def _capacity(capacity: LearnedCapacity | None) -> dict[str, Any] | None:
    if capacity is None:
        return None
    return {name: getattr(capacity, name) for name in Capacity.model_fields}
