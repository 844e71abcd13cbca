"""Database outages change neither the final rows of decisions nor their order."""

import asyncio
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.control.actuation.decision_log import DecisionLog, Transition
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow
from tests.support.builders import NOON
from tests.support.in_memory_ports import InMemoryDecisions

Step = tuple[str, Any]

IDS = ["a", "b", "c"]
PHASES = [phase for phase in DecisionPhase if phase is not DecisionPhase.RECOMMENDED]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("intend"), st.sampled_from(IDS)),
        st.tuples(st.just("transition"), st.tuples(st.sampled_from(IDS), st.sampled_from(PHASES))),
        st.tuples(st.just("away"), st.booleans()),
        st.tuples(st.just("flush"), st.none()),
    ),
    max_size=40,
)


def a_row(name: str, number: int) -> ScalingDecisionRow:
    return ScalingDecisionRow(
        id=name,
        created_at=NOON + timedelta(minutes=number),
        service_name="checkout",
        namespace="shop",
        policy="checkout",
        policy_uid="uid",
        generation=1,
        target="hpa/checkout",
        decision_type="scale_up",
        status="pending",
        from_replicas=1,
        to_replicas=2,
        uncapped_replicas=2,
        source="Forecast",
        reason="ForecastRose",
        message="",
        mode="Auto",
    )


async def final_table(steps: list[Step], *, outages: bool) -> InMemoryDecisions:
    """The table after these steps and a final flush with an available database."""
    table = InMemoryDecisions()
    log = DecisionLog(table)
    for number, (action, argument) in enumerate(steps):
        now = NOON + timedelta(minutes=number)
        match action:
            case "intend":
                await log.intend(a_row(argument, number), may_wait=True)
            case "transition":
                await log.transition(Transition(argument[0], argument[1], now))
            case "away":
                table.is_away = outages and argument
            case _:
                await log.flush()
    table.is_away = False
    await log.flush()
    assert log.queued == 0
    assert log.unavailable is None
    return table


@given(steps=steps)
def test_an_outage_changes_no_row_and_no_order(steps: list[Step]) -> None:
    with_outages = asyncio.run(final_table(steps, outages=True))
    without_outages = asyncio.run(final_table(steps, outages=False))
    assert with_outages.rows == without_outages.rows
    assert with_outages.inserts == without_outages.inserts
