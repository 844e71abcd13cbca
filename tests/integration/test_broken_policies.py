"""A policy without a decision: its status, its row, the API and `check` report the same conditions."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb
from structlog.typing import EventDict

from predictive_scaling.api.services import Services
from predictive_scaling.api.stored_models import Models
from predictive_scaling.clock import WallClock
from predictive_scaling.commands import health_report
from predictive_scaling.commands.check import Exit, exit_code
from predictive_scaling.control.actuation.ownership import path_of
from predictive_scaling.control.policy_publisher import PolicyPublisher
from predictive_scaling.decision.review import Problem, review_policy
from predictive_scaling.errors import RequestFailedError, TargetUnsupportedError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.plain_text import plain
from predictive_scaling.storage.policies import Policies
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.api_services import api_client, api_services
from tests.support.builders import a_policy
from tests.support.control import World
from tests.support.in_memory_ports import NoMetricSink

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("logs")]

MINUTE = timedelta(minutes=1)
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class Failing(InMemoryTarget):
    """A target whose observation raises an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(minimum=2, maximum=40, replicas=2, ready_replicas=2)
        self.error = error

    async def observe(self) -> Any:
        raise self.error


def policy_named(name: str, number: int, **spec: Any) -> ScalingPolicy:
    policy = a_policy(target={"horizontalPodAutoscaler": {"name": name}}, **spec)
    uid = f"8b0c2f3e-0000-4000-8000-{number:012d}"
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"name": name, "uid": uid})})


# By policy name: the target, the reason of Ready=False, and whether the problem is permanent (Stalled).
KINDS: dict[str, tuple[InMemoryTarget, str, bool]] = {
    "gone": (InMemoryTarget(exists=False), "TargetNotFound", False),
    "unsupported": (Failing(TargetUnsupportedError("targets of this kind are not scaled")), "TargetUnsupported", True),
    "faulty": (Failing(OverflowError("date value out of range")), "InternalError", False),
    "webhook": (Failing(RequestFailedError("failed calling webhook")), "RequestFailed", False),
    "unreadable": (InMemoryTarget(), "InvalidTimezone", True),
}


async def test_status_row_api_and_check_agree_on_a_policy_without_a_decision(migrated_database_url: str) -> None:
    world = World(a_policy(), *(policy_named(name, 100 + number) for number, name in enumerate(KINDS)))
    world.targets |= {name: target for name, (target, _, _) in KINDS.items()}
    unreadable = PolicyKey("shop", "unreadable")
    (record,) = world.records[unreadable]
    problem = Problem("InvalidTimezone", "spec.forecast.timezone: Mars is no time zone")
    world.records[unreadable] = [replace(record, policy=None, problem=problem)]

    async with api_services(migrated_database_url, clock=world.clock) as services, api_client(services) as client:
        table = Policies(services.database)
        publisher = PolicyPublisher(
            table, NoMetricSink(), world.clock, 5 * MINUTE, lambda: list(world.records), lambda: True
        )
        world.loop.publisher = publisher
        await world.turn(4)
        await publisher.write()
        rows = {row.policy: row for row in await table.all()}
        status = (await client.get("/api/v1/scaling/status")).json()
        policies = (await client.get("/api/v1/policies")).json()

    status_by_policy = {policy["policy"]: policy for policy in status["policies"]}
    policies_by_name = {policy["policy"]: policy for policy in policies["policies"]}
    healthy = {"status": "healthy", "checks": {}}
    report = health_report._report(healthy, status, {}, api=None, ingest=None, series=None)  # pyright: ignore[reportPrivateUsage]
    assert set(rows) == set(status_by_policy) == set(policies_by_name) == {"checkout", *KINDS}
    assert status["summary"]["policies"] == len(KINDS) + 1
    for name, (_, reason, stalled) in KINDS.items():
        in_cluster = world.cluster.objects[path_of(PolicyKey("shop", name))]["status"]
        assert rows[name].conditions == in_cluster["conditions"]
        for document in (status_by_policy[name], policies_by_name[name]):
            conditions = {condition["type"]: condition for condition in document["conditions"]}
            assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("False", reason)
            assert conditions["Stalled"]["status"] == str(stalled)
            assert document["current_replicas"] is None
        (reported,) = [policy for policy in report.policies if policy.policy == name]
        assert any(call.startswith("Ready=False") for call in reported.calls), name
        assert any(call.startswith("Stalled=True") for call in reported.calls) is stalled
    assert (status_by_policy["unreadable"]["mode"], status_by_policy["unreadable"]["target"]) == (None, None)
    assert (status_by_policy["gone"]["mode"], status_by_policy["gone"]["target"]) == ("Auto", "hpa/gone")
    assert exit_code(report) is Exit.ATTENTION
    assert [policy.calls for policy in report.policies if policy.policy == "checkout"] == [[]]
    health_report.render(report, health_report.Console(width=200, quiet=True))


async def test_a_row_that_the_database_refuses_does_not_affect_the_others(
    database: Database, logs: list[EventDict]
) -> None:
    names = [f"policy-{number}" for number in range(5)]
    world = World(*(policy_named(name, 200 + number) for number, name in enumerate(names)))
    world.targets |= {name: InMemoryTarget(minimum=2, maximum=40, replicas=2, ready_replicas=2) for name in names}
    table = Policies(database)
    publisher = PolicyPublisher(
        table, NoMetricSink(), world.clock, 5 * MINUTE, lambda: list(world.records), lambda: True
    )
    world.loop.publisher = publisher
    await world.turn(2)
    changed = publisher._changed  # pyright: ignore[reportPrivateUsage]
    key = PolicyKey("shop", "policy-2")
    changed[key] = replace(changed[key], ready_replicas=2**40, advice={"hours": float("nan")})
    await publisher.write()
    assert [row.policy for row in await table.all()] == [name for name in names if name != "policy-2"]
    (logged,) = [log for log in logs if log["event"] == "row_refused"]
    assert logged["row"] == "shop/policy-2"
    await world.turn(1)
    await publisher.write()
    assert len([log for log in logs if log["event"] == "row_refused"]) == 1, "not tried again until it changes"


characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=30)
"""Any characters that JSON from the API server can contain, including NUL and other control characters."""
annotation_names = st.sampled_from(["paused", "pin", "direction", "until", "resume"])
annotations = st.dictionaries(annotation_names.map(lambda name: f"predictive-scaling.io/{name}"), texts, max_size=5)
services = st.text(characters, min_size=1, max_size=40)


@given(
    annotations=annotations | st.dictionaries(texts, texts, max_size=3),
    labels=st.dictionaries(texts, texts, max_size=3),
    service=services,
    message=texts,
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_any_metadata_is_written_to_the_status_the_table_and_the_api(
    database: Database, annotations: dict[str, str], labels: dict[str, str], service: str, message: str
) -> None:
    result = review_policy(a_manifest(annotations, labels, service))
    policy = a_policy(annotations=annotations, labels=labels)
    if isinstance(result, ScalingPolicy):
        policy = result
    world = World(policy, policy_named("broken", 300))
    world.targets["broken"] = Failing(ValueError(message))
    table = Policies(database)
    publisher = PolicyPublisher(
        table, NoMetricSink(), world.clock, 5 * MINUTE, lambda: list(world.records), lambda: True
    )
    world.loop.publisher = publisher
    await world.turn(1)
    await publisher.write()
    async with api_over(database) as client:
        response = await client.get("/api/v1/scaling/status")
        assert response.status_code == 200
    rows = {row.policy: row for row in await table.all()}
    assert set(rows) == {"checkout", "broken"}, "no row was refused"
    assert rows["checkout"].service_name == plain(policy.service)
    assert not CONTROL.search(response.json()["policies"][0]["conditions"][0]["message"])


@asynccontextmanager
async def api_over(database: Database) -> AsyncGenerator[httpx.AsyncClient]:
    """Return a client of the API over the same database."""
    models = Models(models=[], rejected=[])
    commands = Commands(database)
    services = Services(clock=WallClock(), database=database, commands=commands, stored_models=lambda: models)
    async with api_client(services) as client:
        yield client


def a_manifest(annotations: dict[str, str], labels: dict[str, str], service: str) -> dict[str, Any]:
    policy = a_policy()
    metadata = policy.metadata
    return {
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
            "generation": 1,
            "annotations": annotations,
            "labels": labels,
        },
        "spec": {
            "mode": "Auto",
            "target": {"horizontalPodAutoscaler": {"name": "checkout"}},
            "demand": {"metric": "requests_per_second", "perReplica": "100", "service": service},
            "replicas": {"min": 1, "max": 40},
        },
    }


@given(text=st.text(st.characters()))
def test_plain_text_can_be_stored_in_postgresql(text: str) -> None:
    stored = plain(text)
    stored.encode()
    assert not CONTROL.search(stored)
    assert plain(stored) == stored
    if text.isprintable():
        assert stored == text


@given(
    value=st.recursive(
        st.none() | st.booleans() | texts, lambda values: st.lists(values) | st.dictionaries(texts, values)
    )
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_any_text_and_document_can_be_stored(database: Database, value: Any) -> None:
    async with database.connection() as connection:
        query = "select %(text)s::text, %(document)s::jsonb, %(list)s::text[]"
        values = {"text": str(value), "document": Jsonb(value), "list": [str(value)]}
        (row,) = await (await connection.execute(query, values)).fetchall()
    assert row[0] == plain(str(value)) == row[2][0]
