"""Traces of ticks and of API requests: what a collector receives, what logs show, and that neither delays work."""

import io
import json
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import structlog

from predictive_scaling.clock import WallClock
from predictive_scaling.errors import SettingsError
from predictive_scaling.telemetry import tracing
from predictive_scaling.telemetry.logs import configure_logs
from predictive_scaling.telemetry.tracing import sent_traces, span
from tests.support.api_services import UNREACHABLE_DATABASE, api_client, api_services
from tests.support.builders import a_policy
from tests.support.control import World
from tests.support.trace_collector import TraceCollector, trace_collector

log = structlog.get_logger("tests")

LONG = 60.0
"""Enough for the last export on any machine."""
SERVER = 2
"""The kind of span in OTLP."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[TraceCollector]:
    with trace_collector() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@contextmanager
def sending(process: str = "operator") -> Generator[None]:
    with sent_traces(process, enabled=True, last_export_seconds=LONG):
        yield


@pytest.mark.usefixtures("logs")
async def test_a_tick_is_a_trace_of_its_reconciliations_and_decisions(collector: TraceCollector) -> None:
    world = World()
    with sending():
        await world.turn(20)
    ticks = {tick.span_id: tick for tick in collector.named("tick")}
    reconciliations = {reconcile.span_id: reconcile for reconcile in collector.named("reconcile")}
    assert len(ticks) == len(reconciliations) >= 20
    for reconcile in reconciliations.values():
        assert ticks[reconcile.parent_id].trace_id == reconcile.trace_id
        assert reconcile.attributes["k8s.namespace.name"] == "shop"
        assert reconcile.attributes["predictive_scaling.policy"] == "checkout"
    last = list(reconciliations.values())[-1].attributes
    assert (last["predictive_scaling.floor"], last["predictive_scaling.mode"]) == (9, "Auto")
    assert {observe.parent_id for observe in collector.named("observe target")} == reconciliations.keys()
    decisions = collector.named("carry out decision")
    assert [decision.attributes["predictive_scaling.decision.id"] for decision in decisions] == list(
        world.decisions.rows
    )
    assert [decision.attributes["predictive_scaling.decision.to"] for decision in decisions] == [4, 8, 9]
    assert {decision.attributes["predictive_scaling.decision.outcome"] for decision in decisions} == {"applied"}
    assert {decision.parent_id for decision in decisions} < reconciliations.keys()


@pytest.mark.usefixtures("logs")
async def test_a_failed_reconciliation_names_its_error(collector: TraceCollector) -> None:
    world = World(a_policy(target={"horizontalPodAutoscaler": {"name": "broken"}}))
    with sending():
        await world.turn(1)
    (reconcile,) = collector.named("reconcile")
    assert reconcile.failed
    assert reconcile.attributes["error.type"] == "KeyError"


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "predictive-scaling-operator"),
        ({"OTEL_SERVICE_NAME": "scaler"}, "scaler"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=other,team=platform"}, "other"),
    ],
)
def test_the_variables_of_the_sdk_describe_the_process(
    collector: TraceCollector, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=platform")
    with sending(), span("tick"):
        pass
    (tick,) = collector.spans
    assert tick.resource["service.name"] == name
    assert tick.resource["service.version"]
    assert collector.headers[0]["x-tenant"] == "platform"


def test_the_sampler_of_the_sdk_decides_what_is_sent(
    collector: TraceCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with sending(), span("tick"):
        pass
    assert collector.spans == []


def test_no_password_of_an_error_is_sent(collector: TraceCollector) -> None:
    with sending(), pytest.raises(ConnectionError), span("reconcile"):
        raise ConnectionError("cannot reach postgresql://app:hunter2@db:5432/x")
    (failed,) = collector.spans
    assert failed.failed
    assert failed.message == "cannot reach postgresql://app:…@db:5432/x"
    assert b"hunter2" not in b"".join(collector.bodies)


def test_log_lines_of_a_span_have_its_ids_and_others_have_none(collector: TraceCollector) -> None:
    before = structlog.get_config()
    output = io.StringIO()
    try:
        configure_logs(WallClock(), stream=output)
        with sending():
            with span("tick"):
                log.info("inside")
                with span("reconcile"):
                    log.info("below")
                log.info("inside_again")
            log.info("outside")
    finally:
        structlog.configure(**before)
    lines: dict[str, dict[str, Any]] = {line["event"]: line for line in map(json.loads, output.getvalue().splitlines())}
    (tick,), (reconcile,) = collector.named("tick"), collector.named("reconcile")
    for event, expected in (("inside", tick), ("below", reconcile), ("inside_again", tick)):
        assert (lines[event]["trace_id"], lines[event]["span_id"]) == (expected.trace_id, expected.span_id)
    assert "trace_id" not in lines["outside"]


@pytest.mark.usefixtures("logs")
async def test_ticks_continue_while_the_collector_does_not_answer(
    collector: TraceCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    collector.answers.clear()
    world = World()
    with sent_traces("operator", enabled=True, last_export_seconds=0):
        await world.turn(1)
        assert collector.asked.wait(LONG)
        await world.turn(19)  # returns although the export still waits for its answer, with a full queue
        assert collector.spans == []
    assert world.target.minimum == 9


async def test_a_request_is_a_span_below_that_of_its_client(collector: TraceCollector) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace}-{parent}-01", "X-Request-Id": "from-the-client", "Authorization": "Bearer t"}
    with sending("api"):
        async with api_services(UNREACHABLE_DATABASE) as services, api_client(services) as client:
            assert (await client.get("/api/v1/models?secret=hunter2", headers=headers)).status_code == 422
            await probes(client)
    (request,) = collector.spans
    assert (request.name, request.kind, request.failed) == ("GET /api/v1/models", SERVER, False)
    assert (request.trace_id, request.parent_id) == (trace, parent)
    assert request.attributes == {
        "http.request.method": "GET",
        "http.route": "/api/v1/models",
        "http.response.status_code": 422,
        "predictive_scaling.request_id": "from-the-client",
    }
    assert request.resource["service.name"] == "predictive-scaling-api"
    assert b"hunter2" not in b"".join(collector.bodies)


async def probes(client: httpx.AsyncClient) -> None:
    """Requests that have no span."""
    assert (await client.get("/health/live")).status_code == 200


async def test_a_request_without_a_database_fails_and_one_without_a_route_is_not_named_by_its_path(
    collector: TraceCollector,
) -> None:
    with sending("api"):
        async with api_services(UNREACHABLE_DATABASE) as services, api_client(services) as client:
            assert (await client.get("/api/v1/scaling/status", headers={"traceparent": "nonsense"})).status_code == 503
            assert (await client.get("/api/v1/unheard-of")).status_code == 404
    failed, missing = collector.spans
    assert (failed.name, failed.failed, failed.parent_id) == ("GET /api/v1/scaling/status", True, "")
    assert failed.attributes["error.type"] == "503"
    assert (missing.name, missing.failed) == ("GET", False)
    assert "http.route" not in missing.attributes


def test_while_off_neither_tracer_nor_exporter_is_imported_and_spans_record_nothing() -> None:
    program = """
import sys
import predictive_scaling.commands.api, predictive_scaling.commands.operate
from predictive_scaling.telemetry.tracing import sent_traces, span
with sent_traces("operator", enabled=False), span("tick", {"a": 1}) as tick, span("reconcile") as below:
    assert tick is below
    tick.annotate({"b": 2}), tick.rename("x"), tick.fail("KeyError")
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))])
"""
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "[]"


def test_missing_packages_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with (
        pytest.raises(SettingsError, match=r"PREDICTIVE_SCALING_TRACES: .*pip install 'predictive-scaling\[tracing\]'"),
        sending(),
    ):
        pass
    assert tracing.span("tick") is tracing.span("reconcile")
