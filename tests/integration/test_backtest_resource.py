"""The run of a ScalingBacktest on a real database: the rows of the command, one result per input, its failures."""

import asyncio
import json
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from predictive_scaling.backtesting import worker
from predictive_scaling.backtesting.assumptions import LiveValues
from predictive_scaling.backtesting.task import BacktestTask, Deferred, Failed, Finished
from predictive_scaling.backtesting.worker import run_task
from predictive_scaling.commands import backtest
from predictive_scaling.control.jobs.backtest_child import run_in_child
from predictive_scaling.resources.vocabulary import BacktestReason
from predictive_scaling.storage.backtests import BacktestResults, BacktestRow, Backtests
from predictive_scaling.storage.database import Database
from tests.support.api_services import UNREACHABLE_DATABASE, api_client, api_services
from tests.support.backtest_scenes import POLICY_SPEC
from tests.support.builders import NOON
from tests.support.demand import record_demand

pytestmark = pytest.mark.integration

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
SPEC = POLICY_SPEC | {"forecast": {"model": "SeasonalNaive", "leadTime": "8m"}, "replicas": {"min": 2, "max": 60}}
BEGIN = NOON - 4 * DAY


def demand_at(at: datetime) -> float:
    """A daily shape with a steep evening, at a resolution that PostgreSQL stores exactly."""
    hours = (at - BEGIN) / timedelta(hours=1)
    peak = 900 * np.exp(-((hours % 24 - 7) ** 2) / 0.02)
    return float(round(300 + 150 * np.sin(hours / 24 * 2 * np.pi) + peak))


def a_task(**changes: Any) -> BacktestTask:
    task = BacktestTask(
        policy={"metadata": {"name": "checkout", "namespace": "shop"}, "spec": SPEC},
        events=(),
        since=BEGIN,
        until=NOON,
        training_share=0.95,
        quantiles=(0.95,),
        prices=((1.0, 0.5),),
        lead_time_seconds=None,
        live=LiveValues(),
        memory_bytes=2**31,
        parent=os.getpid(),
        now=NOON,
    )
    return msgspec.structs.replace(task, **changes)


@pytest.fixture
async def recorded(migrated_database_url: str) -> str:
    """The URL of a database with four days of demand of checkout."""
    await record_demand(migrated_database_url, "checkout", BEGIN, NOON, demand_at)
    return migrated_database_url


def run_command(folder: Path) -> dict[str, Any]:
    """Run the command on the same demand as CSV."""
    trace, policy = folder / "checkout.csv", folder / "policy.yaml"
    moments = [BEGIN + index * MINUTE for index in range((NOON - BEGIN) // MINUTE)]
    rows = [f"{at:%Y-%m-%dT%H:%M:%SZ},{demand_at(at)}" for at in moments]
    trace.write_text("\n".join(["timestamp,value", *rows]))
    manifest = {"apiVersion": "predictive-scaling.io/v1alpha1", "kind": "ScalingPolicy"}
    policy.write_text(yaml.safe_dump(manifest | {"metadata": {"name": "checkout", "namespace": "shop"}, "spec": SPEC}))
    options = ["--quantiles", "0.95", "--prices", "1:0.5", "--split", "0.8", "--output", "json"]
    result = CliRunner().invoke(backtest.app, ["--trace", str(trace), "--policy", str(policy), *options])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["simulation"]


async def test_the_rows_are_those_of_the_command_on_the_exported_demand(recorded: str, tmp_path: Path) -> None:
    outcome = await asyncio.to_thread(run_task, a_task(training_share=0.8), recorded)
    assert isinstance(outcome, Finished)
    command = await asyncio.to_thread(run_command, tmp_path)
    expected = [
        ("HpaAlone", command["hpa_only"]),
        ("HpaTuned", command["hpa_tuned"]),
        ("SeasonalNaive", command["seasonal_naive"]),
        ("Policy", command["predictive"]),
        ("HpaAtSameHours", command["predictive"]["hpa_at_same_hours"]),
        ("PolicyTuned", command["tuned"]),
        ("HpaAtSameHours", command["tuned"]["hpa_at_same_hours"]),
        ("PolicyAndHpaTuned", command["tuned_with_target"]),
        ("HpaAtSameHours", command["tuned_with_target"]["hpa_at_same_hours"]),
        ("Quantile", command["variants"][0]),
        ("HpaAtSameHours", command["variants"][0]["hpa_at_same_hours"]),
        ("Prices", command["variants"][1]),
        ("HpaAtSameHours", command["variants"][1]["hpa_at_same_hours"]),
        ("Oracle", command["clairvoyant"]),
    ]
    alone = command["hpa_only"]["replica_hours"]
    shown = [
        (
            row.variant.value,
            round(row.under_provisioned_share, 6),
            round(row.under_provisioned_minutes, 6),
            round(row.lost_demand_share, 6),
            round(row.replica_hours, 6),
        )
        for row in outcome.result.rows
    ]
    assert shown == [
        (
            variant,
            row["under_provisioned_share"],
            row["under_provisioned_minutes"],
            row["lost_demand_share"],
            row["replica_hours"],
        )
        for variant, row in expected
    ]
    for row, (_, numbers) in zip(outcome.result.rows, expected, strict=True):
        assert row.hours_ratio == pytest.approx(numbers["replica_hours"] / alone, abs=1e-6)
        assert row.quantile == numbers.get("quantile", row.quantile)
        assert row.hpa_target == numbers.get("hpa_target", row.hpa_target)
    assert alone > 0
    assert command["hpa_only"]["under_provisioned_minutes"] > 0, "a comparison of zeros would show nothing"
    assert command["variants"][0]["quantile"] == 0.95


async def test_the_same_input_is_run_once_and_has_one_report(recorded: str) -> None:
    first = await asyncio.to_thread(run_task, a_task(), recorded)
    again = await asyncio.to_thread(run_task, a_task(now=NOON + DAY, until=NOON + DAY, parent=1), recorded)
    other = await asyncio.to_thread(run_task, a_task(quantiles=(0.8,)), recorded)
    assert isinstance(first, Finished)
    assert isinstance(again, Finished)
    assert isinstance(other, Finished)
    assert (first.reused, again.reused, other.reused) == (False, True, False)
    assert again.result == first.result
    assert len({first.input_hash, again.input_hash, other.input_hash}) == 2
    async with api_services(recorded) as services, api_client(services) as client:
        rows = [
            BacktestRow("1", "shop", "release", "checkout", NOON, "Succeeded", first.input_hash, {"summary": "well"}),
            BacktestRow("2", "shop", "waiting", None, NOON, "Pending", None, {}),
        ]
        await services.backtests.record(rows, ["1", "2"])
        report = await client.get("/api/v1/backtests/shop/release/report")
        assert (report.status_code, report.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "the policy as written" in report.text
        assert "the policy at p95" in report.text
        missing = await client.get("/api/v1/backtests/shop/waiting/report")
        assert (missing.status_code, "its phase is Pending" in missing.json()["detail"]) == (404, True)
        shown = (await client.get("/api/v1/backtests/shop/release")).json()
        assert (shown["phase"], shown["report"]) == ("Succeeded", "/api/v1/backtests/shop/release/report")
        assert shown["status"] == {"summary": "well"}
        assert (await client.get("/api/v1/backtests/shop/unknown")).status_code == 404
        page = (await client.get("/api/v1/backtests?limit=1")).json()
        rest = (await client.get(f"/api/v1/backtests?limit=1&cursor={page['next_cursor']}")).json()
        assert [item["name"] for item in (*page["backtests"], *rest["backtests"])] == ["release", "waiting"]
        assert rest["next_cursor"] is None
        assert (await client.get("/api/v1/backtests?namespace=other")).json()["backtests"] == []
        await services.backtests.record([], ["2"])
        assert (await client.get("/api/v1/backtests/shop/release/report")).status_code == 404


async def test_rows_of_other_namespaces_stay(database: Database) -> None:
    everything, watched = Backtests(database), Backtests(database, ["shop"])
    rows = [
        BacktestRow("1", "shop", "release", None, NOON, "Pending", None, {}),
        BacktestRow("2", "other", "release", None, NOON, "Pending", None, {}),
    ]
    await everything.record(rows, ["1", "2"])
    await watched.record([], [])
    assert [row.uid for row in (await everything.page(10)).backtests] == ["2"]


async def test_a_service_without_demand_fails_with_what_to_check(recorded: str) -> None:
    spec = SPEC | {"demand": SPEC["demand"] | {"service": "nobody"}}
    policy = {"metadata": {"name": "checkout", "namespace": "shop"}, "spec": spec}
    outcome = await asyncio.to_thread(run_task, a_task(policy=policy), recorded)
    assert isinstance(outcome, Failed)
    assert outcome.reason is BacktestReason.NO_DATA
    assert "nobody requests_per_second" in outcome.message.replace("/", " ")


async def test_a_span_that_is_too_short_fails(recorded: str) -> None:
    outcome = await asyncio.to_thread(run_task, a_task(since=NOON - timedelta(hours=3)), recorded)
    assert isinstance(outcome, Failed)
    assert outcome.reason is BacktestReason.INVALID_TRACE


async def test_a_database_that_is_away_defers_the_run() -> None:
    outcome = await asyncio.to_thread(run_task, a_task(), UNREACHABLE_DATABASE)
    assert isinstance(outcome, Deferred)
    assert "hunter2" not in outcome.message


async def test_a_child_process_runs_the_task(
    recorded: str, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setenv("DATABASE_URL", recorded)
    outcome = await run_in_child(a_task(), timedelta(minutes=5))
    assert isinstance(outcome, Finished)
    assert outcome.result.rows[0].name == "HPA alone"
    assert await BacktestResults(database).report(outcome.input_hash) is not None


async def test_a_run_that_needs_too_much_memory_fails(recorded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(worker, "run", exhausted)
    outcome = await asyncio.to_thread(run_task, a_task(), recorded)
    assert isinstance(outcome, Failed)
    assert outcome.reason is BacktestReason.OUT_OF_MEMORY
    assert "more than 2048 MiB" in outcome.message
    assert "PREDICTIVE_SCALING_BACKTEST_MEMORY_MIB" in outcome.message


async def test_the_memory_of_the_process_is_limited() -> None:
    code = "from predictive_scaling.backtesting.worker import limit_memory; limit_memory(2**29); bytearray(2**30)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().strip().endswith("MemoryError")
