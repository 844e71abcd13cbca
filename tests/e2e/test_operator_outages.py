"""Outages of the API server, the database and the metrics: floors hold, and the operator catches up afterwards."""

from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import LiteralString

import pytest

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import LeadershipLostError
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.storage.database import Database
from tests.support.demand import end_demand, record_demand
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import Manifest, a_business_event, a_scaling_policy
from tests.support.observing import (
    get_decisions,
    get_minimum,
    get_phases,
    get_status,
    record_steady_demand,
    recorded_decisions,
    wait_for_condition,
    wait_for_minimum,
)
from tests.support.operator_process import SHORT_LEASE, OperatorProcess
from tests.support.trace_collector import trace_collector

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("checkout")]

OUTAGE_SECONDS = 30.0


@pytest.fixture(scope="module")
def operator_kubeconfig(cluster: Kubernetes) -> Path:
    """The administrator's: an API server that has just started refuses others until it has read the roles."""
    return cluster.kubeconfig


@pytest.fixture
async def operator(own_operator: OperatorProcess) -> OperatorProcess:
    """Running, with a lease that it loses before the outages end; no demand is recorded yet."""
    own_operator.settings = {**own_operator.settings, **SHORT_LEASE}
    await own_operator.start()
    return own_operator


def an_event_for_twenty(operator: OperatorProcess) -> Manifest:
    """Return an event that has begun and requires twenty replicas."""
    start = operator.clock.now() - timedelta(minutes=1)
    times = {"start": start.isoformat(), "end": (start + timedelta(hours=5)).isoformat()}
    return a_business_event("flash-sale", **times, expect={"minReplicas": 20})


async def assert_each_decision_has_one_row(operator: OperatorProcess, kubectl: Kubectl) -> None:
    """Rows and ScalingDecisions agree, every decision ends, and the executed steps are consecutive and unique."""
    final_phases = {"Succeeded", "Superseded"}
    await eventually(lambda: get_phases(kubectl), lambda phases: set(phases) <= final_phases, seconds=60)
    decisions = [decision["metadata"]["name"] for decision in await get_decisions(kubectl)]

    finished_rows = await eventually(
        lambda: recorded_decisions(operator.database_url),
        lambda rows: all(row.status in ("succeeded", "superseded") for row in rows),
        seconds=30,
    )
    assert {row.id for row in finished_rows} == set(decisions)
    # Pods may become ready late, so that a raise ends Superseded by the next decrease: it was still executed.
    steps = [(row.from_replicas, row.to_replicas) for row in finished_rows if row.attempts]
    assert sorted(steps) == sorted(set(steps))
    assert all(before[1] == after[0] for before, after in pairwise(steps))


async def test_floors_hold_while_the_api_server_is_down_and_change_again_once_it_is_up(
    operator: OperatorProcess, cluster: Kubernetes, kubectl: Kubectl
) -> None:
    await record_steady_demand(operator.database_url, operator.clock, "checkout", 880.0, timedelta(hours=12))
    await kubectl.apply(a_scaling_policy())
    await wait_for_minimum(kubectl, 9)

    await cluster.api_server.stop()
    later = operator.clock.now() + timedelta(minutes=1)
    await end_demand(operator.database_url, "checkout", later)
    await record_demand(operator.database_url, "checkout", later, later + timedelta(hours=12), lambda _: 1480.0)
    stopped_at = monotonic()
    assert await operator.wait_for_exit() == LeadershipLostError.exit_code
    await operator.start()  # as Kubernetes does

    async def outage_is_over() -> bool:
        assert operator.is_running
        return monotonic() - stopped_at > OUTAGE_SECONDS

    await eventually(outage_is_over, seconds=OUTAGE_SECONDS + 10)
    await cluster.api_server.start()

    assert await get_minimum(kubectl) >= 9
    await wait_for_minimum(kubectl, 15, seconds=60)
    assert operator.log.count("leadership_lost") == 1
    assert operator.log.count("telemetry_listening") == 2, "it was on standby until the API server was up"


async def test_floors_rise_and_do_not_fall_while_postgresql_is_down_and_each_decision_gets_its_row(
    operator: OperatorProcess, postgres: PostgreSQL, kubectl: Kubectl
) -> None:
    await record_steady_demand(operator.database_url, operator.clock, "checkout", 880.0, timedelta(hours=12))
    await kubectl.apply(a_scaling_policy())
    await wait_for_minimum(kubectl, 9)

    postgres.kill()
    try:
        await wait_for_condition(kubectl, "Ready", "True", "DatabaseUnavailable", seconds=60)
        await kubectl.apply(an_event_for_twenty(operator))
        await wait_for_minimum(kubectl, 20, seconds=60)
        await eventually(lambda: operator.metric("predictive_scaling_decision_writes_queued"), (0.0).__lt__)
        await kubectl.apply(a_scaling_policy(maximum=5))
        await operator.wait_for_ticks(4)
        assert await get_minimum(kubectl) == 20
    finally:
        await postgres.start()

    await wait_for_condition(kubectl, "Ready", "True", "TargetObserved", seconds=60)
    await wait_for_minimum(kubectl, 5, seconds=60)
    await assert_each_decision_has_one_row(operator, kubectl)
    await eventually(
        lambda: kubectl.items("events.events.k8s.io"),
        lambda events: {"DatabaseUnavailable", "DatabaseAvailable"} <= {event["reason"] for event in events},
    )


async def test_an_operator_started_without_postgresql_raises_for_events_and_writes_its_rows_later(
    own_operator: OperatorProcess, postgres: PostgreSQL, kubectl: Kubectl
) -> None:
    postgres.kill()
    try:
        await own_operator.start()
        await kubectl.apply(a_scaling_policy(), an_event_for_twenty(own_operator))
        await wait_for_minimum(kubectl, 20, seconds=60)
        await own_operator.kill()
        await own_operator.start_after_crash(kubectl)
        await own_operator.wait_for_ticks(2)
        assert await get_minimum(kubectl) == 20
    finally:
        await postgres.start()
    await wait_for_condition(kubectl, "Ready", "True", "TargetObserved", seconds=60)
    await assert_each_decision_has_one_row(own_operator, kubectl)
    assert await get_minimum(kubectl) == 20


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ("delete from schema_migrations where version > 1", "run `predictive-scaling migrate`"),
        (
            "insert into schema_migrations values (9999, 'later', '', '2026-06-17')",
            "run the release that ran `predictive-scaling migrate`, or a newer release",
        ),
    ],
    ids=["upgrade", "down-grade"],
)
async def test_the_operator_exits_when_the_schema_version_does_not_match(
    own_operator: OperatorProcess, change: LiteralString, remedy: str
) -> None:
    async with (
        Database(own_operator.database_url, purpose="tests", max_size=1) as database,
        database.connection() as connection,
    ):
        await connection.execute(change)
    with suppress(AssertionError):  # it may exit before its first response
        await own_operator.start()
    assert await own_operator.wait_for_exit() == 78
    assert remedy in own_operator.log


async def test_the_floor_is_never_lowered_without_data(operator: OperatorProcess, kubectl: Kubectl) -> None:
    await record_steady_demand(operator.database_url, operator.clock, "checkout", 880.0, timedelta(hours=12))
    await kubectl.apply(a_scaling_policy(forecast={"horizon": "10m", "leadTime": "1m"}))
    await wait_for_minimum(kubectl, 9)
    lowest, stops_at = 9, operator.clock.now()
    await end_demand(operator.database_url, "checkout", stops_at)

    async def last_forecast_and_last_weeks_demand_have_expired() -> bool:
        nonlocal lowest
        lowest = min(lowest, await get_minimum(kubectl))
        return operator.clock.now() > stops_at + timedelta(minutes=30)

    await eventually(last_forecast_and_last_weeks_demand_have_expired, seconds=90, interval_seconds=0.5)
    assert lowest == 9
    await wait_for_condition(kubectl, "MetricsFresh", "False")
    assert (await get_status(kubectl))["floor"] == 9


async def test_a_trace_collector_that_does_not_answer_delays_no_raise_and_later_gets_the_spans(
    own_operator: OperatorProcess, kubectl: Kubectl
) -> None:
    await record_steady_demand(own_operator.database_url, own_operator.clock, "checkout", 880.0, timedelta(hours=6))
    with trace_collector() as collector:
        collector.answers.clear()
        await own_operator.start(**collector.environment())
        await kubectl.apply(a_scaling_policy())
        await wait_for_minimum(kubectl, 9)
        assert collector.spans == []
        collector.answers.set()
        for decision in await get_decisions(kubectl):
            name = decision["metadata"]["name"]
            span = await collector.received("carry out decision", predictive_scaling_decision_id=name)
            assert span.resource["service.name"] == "predictive-scaling-operator"
            lines = [entry for entry in own_operator.log_entries() if entry.get("decision") == name]
            logged = {line["span_id"] for line in lines if line["event"] == "floor_decided"}
            assert span.span_id in logged
