"""The health report: collects it from the HTTP API and renders it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from predictive_scaling.commands.key_metrics import (
    CONNECTIONS,
    LAG,
    MAPE,
    RESPONSE_TIME,
    SUCCESS_RATE,
    Definition,
    KeyMetric,
    Level,
    ProcessMetrics,
)
from predictive_scaling.commands.quality_report import SeriesQuality, quality_lines, quality_problems
from predictive_scaling.errors import SettingsError

MAX_POLICIES_SHOWN = 20
"""With more policies, only those that need attention are listed."""

# Conditions of a policy that need attention, with the status in which they do.
_ATTENTION_STATUSES = {
    "Ready": "False",
    "MetricsFresh": "False",
    "Fallback": "True",
    "Conflict": "True",
    "Stalled": "True",
    "ScalingLimited": "True",
}

_SECTIONS = {"database": "RB-002", "redis": "RB-005", "kafka": "RB-006", "models": "RB-003", "sources": "SourceStale"}
"""Sections of the runbook by component."""


class Component(msgspec.Struct, frozen=True):
    """The health of a dependency."""

    name: str
    status: str
    message: str | None


class Policy(msgspec.Struct, frozen=True):
    """A policy. calls: its conditions that need attention."""

    namespace: str
    policy: str
    mode: str | None
    floor: int | None
    ready_replicas: int | None
    source: str | None
    calls: list[str]


class HealthReport(msgspec.Struct, frozen=True):
    """The state of the installation. attention: sentences on what needs attention. None: unknown."""

    reachable: bool
    health: str
    parts: list[Component]
    policies: list[Policy]
    stuck_decisions: int | None
    success_rate_24h: float | None
    mape: float | None
    wape: float | None
    lag_messages: int | None
    attention: list[str]
    data_quality: list[SeriesQuality] | None = None
    key_metrics: list[KeyMetric] = []


async def fetch_report(api_url: str, ingest_url: str, limit_seconds: float, token: str | None = None) -> HealthReport:
    """Fetch the report from the API, and the lag from `ingest`. Unreachable servers are part of the report.

    token: of a caller of the API; `ingest` does not receive it. Raises SettingsError if the API refuses the caller.
    """
    timeout = aiohttp.ClientTimeout(total=limit_seconds)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
        aiohttp.ClientSession(timeout=timeout) as ingest_session,
    ):
        health, status, accuracy, quality, api_metrics, ingest_metrics = await asyncio.gather(
            _json(session, f"{api_url}/health"),
            _pages(session, f"{api_url}/api/v1/scaling/status?limit=500", "policies"),
            _json(session, f"{api_url}/api/v1/metrics/accuracy?window=24h"),
            _pages(session, f"{api_url}/api/v1/metrics/quality?limit=100", "series"),
            _metrics(session, f"{api_url}/metrics"),
            _metrics(ingest_session, f"{ingest_url}/metrics"),
        )
    if health is None:
        return _unreachable(api_url, ingest_metrics)
    series = None if quality is None else msgspec.convert(quality["series"], list[SeriesQuality])
    return _report(health, status or {}, accuracy or {}, api_metrics, ingest_metrics, series)


def render(report: HealthReport, console: Console) -> None:
    """Print a report as text; what needs attention is at the end, where it is read first."""
    console.print(f"Health: {report.health}")
    for component in report.parts:
        console.print(
            f"  {component.name}: {component.status}{f' ({escape(component.message)})' if component.message else ''}"
        )
    if report.key_metrics:
        console.print(_key_metrics(report.key_metrics))
    console.print(f"Stuck decisions: {_count(report.stuck_decisions)}")
    if report.data_quality:
        totals, *worst = quality_lines(report.data_quality)
        console.print(f"Quality of the last 24 h: {totals}")
        for line in worst:
            console.print(f"  {escape(line)}")
    shown = report.policies
    if len(shown) > MAX_POLICIES_SHOWN:
        shown = [policy for policy in report.policies if policy.calls]
        console.print(f"Policies: {len(report.policies)}, of these {len(shown)} need attention")
    if shown:
        console.print(_table(shown))
    if not report.attention:
        console.print("Nothing needs attention.")
        return
    console.print(f"{len(report.attention)} need attention, with their sections of docs/runbook.md:")
    for line in report.attention:
        console.print(f"- {escape(line)}")


async def _pages(session: aiohttp.ClientSession, url: str, rows: str) -> dict[str, Any] | None:
    """Return all pages merged; None when a page fails, because a part of the rows would be mistaken for all."""
    first = page = await _json(session, url)
    merged: list[Any] = []
    while page is not None:
        merged += page.get(rows, [])
        if (cursor := page.get("next_cursor")) is None:
            return {**first, rows: merged} if first else None
        page = await _json(session, f"{url}&cursor={cursor}")
    return None


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any] | None:
    try:
        async with session.get(url) as response:
            body = msgspec.json.decode(await response.read(), type=dict[str, Any])
            if response.status in (401, 403):
                raise SettingsError(f"{url}: {body.get('detail', response.status)}; see --token-file")
            # /health returns its own document with 503 as well; the other routes return a problem.
            return body if response.status == 200 or "checks" in body else None
    except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
        return None


async def _metrics(session: aiohttp.ClientSession, url: str) -> ProcessMetrics | None:
    try:
        async with session.get(url) as response:
            return ProcessMetrics(await response.text()) if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


def _unreachable(api_url: str, ingest: ProcessMetrics | None) -> HealthReport:
    lag = ingest.lag() if ingest else None
    attention = [f"The HTTP API at {api_url} does not respond; check that `predictive-scaling api` runs. See RB-001"]
    return HealthReport(
        reachable=False,
        health="unknown",
        parts=[],
        policies=[],
        stuck_decisions=None,
        success_rate_24h=None,
        mape=None,
        wape=None,
        lag_messages=_whole(lag),
        attention=attention,
        key_metrics=[LAG.of(lag)],
    )


def _report(
    health: dict[str, Any],
    status: dict[str, Any],
    accuracy: dict[str, Any],
    api: ProcessMetrics | None,
    ingest: ProcessMetrics | None,
    series: list[SeriesQuality] | None,
) -> HealthReport:
    parts = [Component(name, part["status"], part.get("message")) for name, part in health.get("checks", {}).items()]
    policies = [_policy(policy) for policy in status.get("policies", [])]
    summary, scores = status.get("summary", {}), accuracy.get("accuracy", {})
    pools = [process.fullest_pool() for process in (api, ingest) if process is not None]
    lag = ingest.lag() if ingest else None
    values: dict[Definition, float | None] = {
        MAPE: scores.get("mape"),
        RESPONSE_TIME: api.response_time() if api else None,
        SUCCESS_RATE: summary.get("success_rate_24h"),
        LAG: lag,
        CONNECTIONS: max((pool for pool in pools if pool is not None), default=None),
    }
    key_metrics = [definition.of(value) for definition, value in values.items()]
    return HealthReport(
        reachable=True,
        health=health["status"],
        parts=parts,
        policies=policies,
        stuck_decisions=summary.get("stuck_decisions"),
        success_rate_24h=values[SUCCESS_RATE],
        mape=values[MAPE],
        wape=scores.get("wape"),
        lag_messages=_whole(lag),
        attention=[
            *_component_problems(parts),
            *_stuck_problems(summary.get("stuck_decisions")),
            *_threshold_problems(key_metrics),
            *_policy_problems(policies),
            *quality_problems(series or ()),
        ],
        data_quality=series,
        key_metrics=key_metrics,
    )


def _policy(document: dict[str, Any]) -> Policy:
    conditions = document.get("conditions", [])
    calls = [
        f"{condition['type']}={condition['status']}: {condition['message'] or condition['reason']}"
        for condition in conditions
        if _ATTENTION_STATUSES.get(condition["type"]) == condition["status"]
    ]
    return Policy(
        namespace=document["namespace"],
        policy=document["policy"],
        mode=document["mode"],
        floor=document["floor"],
        ready_replicas=document["ready_replicas"],
        source=document["source"],
        calls=calls,
    )


def _component_problems(parts: Sequence[Component]) -> list[str]:
    return [
        f"{component.name} is {component.status}: {component.message}. See {_SECTIONS.get(component.name, 'RB-001')}"
        for component in parts
        if component.status != "healthy"
    ]


def _policy_problems(policies: Sequence[Policy]) -> list[str]:
    return [f"{policy.namespace}/{policy.policy}: {call}" for policy in policies for call in policy.calls]


def _stuck_problems(stuck: int | None) -> list[str]:
    if stuck is None:
        return ["The state of the policies is unknown: the API cannot read its database. See RB-002"]
    if stuck == 0:
        return []
    return [f"Stuck decisions: {stuck}; DELETE /api/v1/scaling/decisions/stuck clears them. See DecisionsStuck"]


def _threshold_problems(metrics: Sequence[KeyMetric]) -> list[str]:
    return [
        f"{level.value}: {metric.name}: {_value(metric, metric.value)}, threshold {_value(metric, threshold)}. "
        f"See {metric.runbook}"
        for level in (Level.CRITICAL, Level.WARNING)
        for metric in metrics
        if metric.level is level
        for threshold in [metric.critical if level is Level.CRITICAL else metric.warning]
    ]


def _table(policies: Sequence[Policy]) -> Table:
    table = Table("namespace", "policy", "mode", "floor", "ready", "source", "needs attention")
    for policy in policies:
        calls = "; ".join(call.partition(":")[0] for call in policy.calls)
        cells = (
            policy.namespace,
            policy.policy,
            policy.mode,
            _count(policy.floor),
            _count(policy.ready_replicas),
            policy.source,
        )
        table.add_row(*(escape(cell or "-") for cell in (*cells, calls)))
    return table


def _key_metrics(metrics: Sequence[KeyMetric]) -> Table:
    table = Table("key metric", "now", "warning", "critical", "")
    for metric in metrics:
        values = (_value(metric, value) for value in (metric.value, metric.warning, metric.critical))
        table.add_row(metric.name, *values, "" if metric.level is Level.GOOD else metric.level.value)
    return table


def _value(metric: KeyMetric, value: float | None) -> str:
    if value is None:
        return "-"
    if metric.name == LAG.name:
        return f"{value:,.0f}"
    return f"{value * 1000:.0f} ms" if metric.name == RESPONSE_TIME.name else f"{value:.1%}"


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _count(value: int | None) -> str:
    return "unknown" if value is None else str(value)
