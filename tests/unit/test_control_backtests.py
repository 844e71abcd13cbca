"""ScalingBacktests are run once each, in a fair order, and end with a clear condition, also after a restart."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from predictive_scaling.backtesting.task import Deferred, Failed
from predictive_scaling.control.jobs import backtests
from predictive_scaling.control.jobs.backtest_child import run_in_child
from predictive_scaling.control.jobs.backtests import MAX_ATTEMPTS
from predictive_scaling.resources.vocabulary import BacktestReason
from tests.support.backtest_scenes import POLICY_SPEC, BacktestScene, a_finished

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtests, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(backtests, "POLICY_GRACE_SECONDS", 0.0)


async def test_a_backtest_ends_with_its_rows_and_the_condition_complete() -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put()
    await scene.passes()
    status = scene.status()
    assert (status["phase"], status["attempts"]) == ("Running", 1)
    assert status["span"] == {"from": "2026-06-03T12:00:00Z", "to": "2026-06-17T12:00:00Z"}
    assert scene.condition("Complete")[:2] == ("False", "InProgress")
    assert (scene.condition("Reconciling")[0], scene.condition("Stalled")[0]) == ("True", "False")

    scene.clock.advance(timedelta(minutes=3))
    await scene.end(a_finished())

    status = scene.status()
    assert (status["phase"], status["finishedAt"]) == ("Succeeded", "2026-06-17T12:03:00Z")
    assert status["rows"] == [
        {
            "variant": "Policy",
            "name": "the policy as written",
            "quantile": "0.9",
            "hpaTarget": "0.7",
            "underProvisionedShare": "0.01",
            "underProvisionedMinutes": "12.25",
            "lostDemandShare": "0.002",
            "replicaHours": "104",
            "hoursRatio": "1.04",
        }
    ]
    assert status["report"] == "/api/v1/backtests/shop/release/report"
    assert scene.condition("Complete") == ("True", "Completed", "as expected")
    assert scene.condition("Failed")[0] == "False"
    assert (scene.condition("Reconciling")[0], scene.condition("Stalled")[0]) == ("False", "False")
    (row,) = scene.table.rows.values()
    assert (row.phase, row.input_hash, row.status) == ("Succeeded", "ab" * 32, status)
    await scene.passes(3)
    assert len(scene.runs.begun) == 1, "a finished backtest is not run again"


async def test_namespaces_take_turns_and_one_backtest_runs_at_a_time() -> None:
    scene = BacktestScene()
    for namespace in ("busy", "calm"):
        await scene.put_policy(namespace=namespace)
    for name in ("one", "two", "three"):
        await scene.put(name, "busy")
    await scene.put("only", "calm")
    order: list[str] = []
    for _ in range(4):
        await scene.passes()
        running = [
            f"{namespace}/{name}"
            for namespace, name in (("busy", "one"), ("busy", "two"), ("busy", "three"), ("calm", "only"))
            if scene.status(name, namespace).get("phase") == "Running"
        ]
        order += running
        assert len(running) == 1
        scene.runs.outcomes.put_nowait(a_finished())
        for _ in range(20):
            await asyncio.sleep(0)
    assert order == ["busy/one", "calm/only", "busy/two", "busy/three"]


async def test_a_deleted_backtest_stops_and_is_forgotten() -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put()
    await scene.passes()
    await scene.cluster.delete(scene.path())
    await scene.passes(2)
    assert scene.runs.cancelled == 1
    assert scene.table.rows == {}
    await scene.put("next")
    await scene.passes()
    assert scene.status("next")["phase"] == "Running", "its place in the queue is free again"


async def test_a_new_leader_runs_an_interrupted_backtest_over_the_same_demand() -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put()
    await scene.passes()
    before, span = scene.runs, scene.status()["span"]
    scene.leads = False
    await scene.passes()
    assert before.cancelled == 1

    scene.leads = True
    scene.clock.advance(timedelta(hours=3))
    scene.restart()
    await scene.passes()
    assert (scene.status()["attempts"], scene.status()["span"]) == (2, span)
    await scene.end(a_finished(reused=True))
    assert scene.condition("Complete")[:2] == ("True", "Reused")


async def test_a_backtest_that_never_ends_is_started_a_limited_number_of_times() -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put()
    for attempt in range(MAX_ATTEMPTS):
        await scene.passes()
        assert scene.status()["attempts"] == attempt + 1
        scene.leads = False
        await scene.passes()
        scene.leads = True
        scene.restart()
    await scene.passes(2)
    assert scene.condition("Failed")[:2] == ("True", "Interrupted")
    assert scene.runs.begun == []


async def test_a_standby_starts_nothing() -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put()
    scene.leads = False
    await scene.passes(2)
    assert (scene.status(), scene.runs.begun) == ({}, [])


async def test_an_outage_of_the_database_is_waited_for() -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put()
    await scene.passes()
    for _ in range(MAX_ATTEMPTS + 1):
        scene.runs.outcomes.put_nowait(Deferred("PostgreSQL did not respond"))
        await asyncio.sleep(0)
        await scene.passes(2)
    assert not scene.status()["phase"].startswith("Failed")
    await scene.end(a_finished())
    assert scene.condition("Complete")[0] == "True"


async def test_a_result_is_written_after_an_outage_of_the_api_server_without_another_run() -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put()
    await scene.passes()
    scene.cluster.reachable = False
    scene.runs.outcomes.put_nowait(a_finished())
    for _ in range(20):
        await asyncio.sleep(0)
    scene.cluster.reachable = True
    await scene.passes(2)
    assert scene.status()["phase"] == "Succeeded"
    assert len(scene.runs.begun) == 1


async def test_a_backtest_is_deleted_after_its_time_to_live() -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put(ttlSecondsAfterFinished=600)
    await scene.put("kept")
    for _ in range(2):
        await scene.passes()
        await scene.end(a_finished())
    scene.clock.advance(timedelta(minutes=11))
    await scene.passes(2)
    assert scene.path() not in scene.cluster.objects
    assert [row.name for row in scene.table.rows.values()] == ["kept"]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown policy": ({"policy": "cart"}, "PolicyNotFound", "ScalingPolicy shop/cart does not exist; create it"),
    "invalid inline policy": (
        {"policySpec": POLICY_SPEC | {"replicas": {"min": 50, "max": 40}}},
        "InvalidBacktest",
        "min: must not exceed max",
    ),
    "invalid policy": ({"policy": "broken"}, "InvalidPolicy", "spec.policy: ScalingPolicy shop/broken: spec.replicas"),
    "long span": ({"policy": "checkout", "span": {"last": "2000h"}}, "SpanTooLong", "longer than 60d"),
    "future span": (
        {"policy": "checkout", "span": {"from": "2027-01-01T00:00:00Z"}},
        "NoData",
        "2027-01-01T00:00Z) is in the future",
    ),
    "no policy": ({}, "InvalidBacktest", "either policy or policySpec must be set"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_an_invalid_backtest_fails_with_what_is_wrong(case: str) -> None:
    spec, reason, message = REFUSED[case]
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put_policy("broken", replicas={"max": 0})
    await scene.put(spec=spec)
    await scene.passes(2)
    status, shown, text = scene.condition("Failed")
    assert (status, shown, scene.status()["phase"]) == ("True", reason, "Failed")
    assert message in text
    assert scene.runs.begun == []


async def test_a_policy_may_be_created_just_after_its_backtest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtests, "POLICY_GRACE_SECONDS", 3600.0)
    scene = BacktestScene()
    await scene.put()
    await scene.passes()
    assert scene.condition("Complete")[:2] == ("False", "WaitingForPolicy")
    await scene.put_policy()
    scene.controller._not_before.clear()  # pyright: ignore[reportPrivateUsage]
    await scene.passes()
    assert scene.status()["phase"] == "Running"


async def test_the_failure_of_a_run_is_the_reason_of_the_condition() -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put()
    await scene.passes()
    await scene.end(Failed(BacktestReason.OUT_OF_MEMORY, "the backtest needs more than 2048 MiB"))
    assert scene.condition("Failed") == ("True", "OutOfMemory", "the backtest needs more than 2048 MiB")
    assert scene.status()["summary"] == "OutOfMemory"


async def test_a_run_beyond_the_time_limit_is_killed() -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put()
    await scene.passes()
    outcome = await run_in_child(scene.runs.begun[0], timedelta(seconds=0.05))
    assert isinstance(outcome, Failed)
    assert outcome.reason is BacktestReason.DEADLINE_EXCEEDED


async def test_a_cluster_without_the_custom_resource_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = BacktestScene()

    async def missing(path: str, *, page: int = 500) -> list[dict[str, Any]]:
        raise backtests.ObjectNotFoundError(f"GET {path}: the server could not find the requested resource")

    monkeypatch.setattr(scene.cluster, "metadata", missing)
    await scene.passes(2)
    assert scene.table.rows == {}


async def test_missing_rights_on_backtests_are_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put()
    listed = scene.cluster.metadata

    async def refused(path: str, *, page: int = 500) -> list[dict[str, Any]]:
        raise backtests.ObjectRefusedError(f"GET {path}: scalingbacktests is forbidden")

    monkeypatch.setattr(scene.cluster, "metadata", refused)
    with capture_logs() as logs:
        await scene.passes(3)
    assert [entry["event"] for entry in logs] == ["backtests_not_readable"]
    monkeypatch.setattr(scene.cluster, "metadata", listed)
    await scene.passes()
    assert scene.status()["phase"] == "Running"


async def test_a_frozen_leader_writes_nothing_when_it_thaws() -> None:
    scene = BacktestScene()
    await scene.put_policy()
    await scene.put()
    await scene.passes()
    scene.leads = False
    scene.runs.outcomes.put_nowait(a_finished())
    for _ in range(20):
        await asyncio.sleep(0)
    assert scene.status()["phase"] == "Running"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["policy", "policySpec", "span", "from", "to", "last", "quantiles", "objectives", "demand", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(spec=JSON, status=JSON)
@example(spec={"policy": "checkout", "quantiles": ["0.9"] * 1000}, status={"phase": "Running", "attempts": -1})
@example(spec={"policy": "checkout", "span": {"from": "0001-01-01T00:00:00+23:59"}}, status={"conditions": [1]})
@example(spec=None, status=[])
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)
async def test_a_malformed_backtest_affects_no_other(spec: Any, status: Any) -> None:
    scene = BacktestScene(concurrency=2)
    await scene.put_policy()
    await scene.put("malformed", spec=spec if spec is not None else [])
    scene.cluster.objects[scene.path("malformed")]["status"] = status
    await scene.put()
    await scene.passes(3)
    while scene.status().get("phase") != "Succeeded":
        await scene.end(a_finished())
    malformed = scene.cluster.objects[scene.path("malformed")].get("status")
    assert isinstance(malformed, dict)
    assert malformed["phase"] in {"Running", "Succeeded", "Failed"}
