"""What the morning health check asks and says."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.markup import escape
from rich.table import Table

WORST_MAPE = 0.20
"""As the alert PoorPredictionAccuracy has it."""

MAX_LAG = 10_000
"""As the alert KafkaConsumerLag has it."""

# Conditions of a policy that call for a person, with the status that does.
_CALLS = {"Ready": "False", "MetricsFresh": "False", "Fallback": "True", "Conflict": "True", "Stalled": "True",
          "ScalingLimited": "True"}  # fmt: skip


class Part(msgspec.Struct, frozen=True):
    """One part of the health."""

    name: str
    status: str
    message: str | None


class Policy(msgspec.Struct, frozen=True):
    """One policy; calls: its conditions that need attention."""

    namespace: str
    policy: str
    mode: str | None
    floor: int | None
    ready_replicas: int | None
    source: str | None
    calls: list[str]


class DailyReport(msgspec.Struct, frozen=True):
    """Everything at a glance. attention: what a person should look at, in sentences. None: not known."""

    reachable: bool
    health: str
    parts: list[Part]
    policies: list[Policy]
    stuck_decisions: int | None
    success_rate_24h: float | None
    mape: float | None
    wape: float | None
    lag_messages: int | None
    attention: list[str]


async def ask_api(api_url: str, ingest_url: str, limit_seconds: float) -> DailyReport:
    """Ask the API, and `ingest` for its lag. Never raises for what does not answer: the report says so."""
    limit = aiohttp.ClientTimeout(total=limit_seconds)
    async with aiohttp.ClientSession(timeout=limit) as session:
        health, status, accuracy, lag = await asyncio.gather(
            _json(session, f"{api_url}/health"),
            _status(session, f"{api_url}/api/v1/scaling/status?limit=500"),
            _json(session, f"{api_url}/api/v1/metrics/accuracy?window=24h"),
            _lag(session, f"{ingest_url}/metrics"),
        )
    if health is None:
        return _unreachable(api_url, lag)
    return _report(health, status or {}, accuracy or {}, lag)


def render(report: DailyReport, console: Console) -> None:
    """For people."""
    console.print(f"Health: {report.health}")
    for part in report.parts:
        console.print(f"  {part.name}: {part.status}{f' ({escape(part.message)})' if part.message else ''}")
    console.print(f"Stuck decisions: {_shown(report.stuck_decisions)}")
    console.print(f"Success of the last 24 h: {_percent(report.success_rate_24h)}")
    console.print(f"Accuracy of the last 24 h: MAPE {_percent(report.mape)}, WAPE {_percent(report.wape)}")
    console.print(f"Messages waiting in Kafka: {_shown(report.lag_messages)}")
    if report.policies:
        console.print(_table(report.policies))
    for line in report.attention or ["Nothing needs attention."]:
        console.print(escape(line))


async def _status(session: aiohttp.ClientSession, url: str) -> dict[str, Any] | None:
    """All pages as one. None where a page is missing: a part of the policies would read as all of them."""
    first = page = await _json(session, url)
    policies: list[Any] = []
    while page is not None:
        policies += page.get("policies", [])
        if (cursor := page.get("next_cursor")) is None:
            return {**first, "policies": policies} if first else None
        page = await _json(session, f"{url}&cursor={cursor}")
    return None


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any] | None:
    try:
        async with session.get(url) as response:
            body = msgspec.json.decode(await response.read(), type=dict[str, Any])
            # Health answers in its own shape when it is unhealthy, the others with a problem.
            return body if response.status == 200 or "checks" in body else None
    except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
        return None


async def _lag(session: aiohttp.ClientSession, url: str) -> int | None:
    try:
        async with session.get(url) as response:
            families = list(text_string_to_metric_families(await response.text()))
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    lags = [sample.value for family in families if family.name == "kafka_consumer_lag" for sample in family.samples]
    return round(sum(lags)) if lags else None


def _unreachable(api_url: str, lag: int | None) -> DailyReport:
    attention = [f"The HTTP API at {api_url} does not answer; is `predictive-scaling api` running?"]
    return DailyReport(
        reachable=False,
        health="unknown",
        parts=[],
        policies=[],
        stuck_decisions=None,
        success_rate_24h=None,
        mape=None,
        wape=None,
        lag_messages=lag,
        attention=attention,
    )


def _report(health: dict[str, Any], status: dict[str, Any], accuracy: dict[str, Any], lag: int | None) -> DailyReport:
    parts = [Part(name, part["status"], part.get("message")) for name, part in health.get("checks", {}).items()]
    policies = [_policy(each) for each in status.get("policies", [])]
    summary, scores = status.get("summary", {}), accuracy.get("accuracy", {})
    stuck, mape = summary.get("stuck_decisions"), scores.get("mape")
    return DailyReport(
        reachable=True,
        health=health["status"],
        parts=parts,
        policies=policies,
        stuck_decisions=stuck,
        success_rate_24h=summary.get("success_rate_24h"),
        mape=mape,
        wape=scores.get("wape"),
        lag_messages=lag,
        attention=[*_of_parts(parts), *_of_policies(policies), *_of_numbers(stuck, mape, lag)],
    )


def _policy(shown: dict[str, Any]) -> Policy:
    conditions = shown.get("conditions", [])
    calls = [
        f"{condition['type']}={condition['status']}: {condition['message'] or condition['reason']}"
        for condition in conditions
        if _CALLS.get(condition["type"]) == condition["status"]
    ]
    return Policy(
        namespace=shown["namespace"],
        policy=shown["policy"],
        mode=shown["mode"],
        floor=shown["floor"],
        ready_replicas=shown["ready_replicas"],
        source=shown["source"],
        calls=calls,
    )


def _of_parts(parts: Sequence[Part]) -> list[str]:
    return [f"{part.name} is {part.status}: {part.message}" for part in parts if part.status != "healthy"]


def _of_policies(policies: Sequence[Policy]) -> list[str]:
    return [f"{policy.namespace}/{policy.policy}: {call}" for policy in policies for call in policy.calls]


def _of_numbers(stuck: int | None, mape: float | None, lag: int | None) -> list[str]:
    lines: list[str] = []
    if stuck is None:
        lines.append("Where policies stand is not known: the API could not read its database.")
    elif stuck:
        lines.append(f"{stuck} decisions are stuck; DELETE /api/v1/scaling/decisions/stuck clears them.")
    if mape is not None and mape > WORST_MAPE:
        lines.append(f"Forecasts are off by {mape:.0%} on average; above {WORST_MAPE:.0%} is poor.")
    if lag is not None and lag > MAX_LAG:
        lines.append(f"{lag} messages wait in Kafka; above {MAX_LAG} is too many.")
    return lines


def _table(policies: Sequence[Policy]) -> Table:
    table = Table("namespace", "policy", "mode", "floor", "ready", "source", "needs attention")
    for policy in policies:
        calls = "; ".join(call.partition(":")[0] for call in policy.calls)
        cells = (
            policy.namespace,
            policy.policy,
            policy.mode,
            _shown(policy.floor),
            _shown(policy.ready_replicas),
            policy.source,
        )
        table.add_row(*(escape(cell or "-") for cell in (*cells, calls)))
    return table


def _shown(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _percent(ratio: float | None) -> str:
    return "unknown" if ratio is None else f"{ratio:.1%}"
