"""Rows of the table scaling_decisions that a former operator left."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow
from tests.support.builders import NOON

HOUR = timedelta(hours=1)


def a_raise_row(
    name: str = "checkout", number: int = 1, *, phase: DecisionPhase = DecisionPhase.VERIFYING, **fields: Any
) -> ScalingDecisionRow:
    """Return a raise of `a_policy_named(name)` from 2 to 4, an hour ago, with an hour left. fields: of the row."""
    row = ScalingDecisionRow(
        id=f"{name}-{number}",
        created_at=NOON - HOUR,
        service_name=name,
        namespace="shop",
        policy=name,
        policy_uid=f"uid-of-{name}",
        generation=1,
        target=f"hpa/{name}",
        decision_type="scale_up",
        status=phase.stored,
        from_replicas=2,
        to_replicas=4,
        uncapped_replicas=4,
        source="Minimum",
        reason="BoundsChanged",
        message="",
        mode="Auto",
        deadline_at=NOON + HOUR,
    )
    return replace(row, **fields)
