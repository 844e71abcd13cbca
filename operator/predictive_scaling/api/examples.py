"""The examples of the OpenAPI document: one for each parameter and for each response of each operation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from predictive_scaling.api.example_objects import (
    ACCURACY,
    BACKTEST,
    CURRENT_FORECASTS,
    CURSOR,
    DECISION,
    EVENTS,
    FORECASTS,
    FRONTIER,
    LATER,
    MODELS,
    NOW,
    POLICY,
    POLICY_STATUS,
    QUALITY,
    SHADOW,
    TIMELINE,
    VERSION,
)
from predictive_scaling.api.request_limits import API_V1

Json = dict[str, Any]

PARAMETERS: Mapping[str, Any] = MappingProxyType(
    {
        "namespace": "shop",
        "name": "checkout",
        "policy": "checkout",
        "service": "checkout",
        "search": "check",
        "mode": "Auto",
        "source": "Forecast",
        "limited": False,
        "status": "failed",
        "limit": 5,
        "window": "24h",
        "from": "2026-11-27T06:00:00Z",
        "to": LATER,
        "id": 4711,
    }
)
"""By name of the parameter. A cursor has no example: only that of the previous page is valid."""

_COMMAND = {"command": 4711, "location": f"{API_V1}/commands/4711", "message": "the operator has not responded yet"}

_HEALTHY: Json = {"status": "healthy", "checks": {"database": {"status": "healthy", "latency_seconds": 0.0021}}}
_UNHEALTHY: Json = {
    "status": "unhealthy",
    "checks": {
        "database": {
            "status": "unhealthy",
            "latency_seconds": 1.5,
            "message": "PostgreSQL at db:5432/predictive_scaling: couldn't get a connection after 1.50 sec",
        }
    },
}

_STREAM_EVENT = {"event": "changed", "data": '{"policies": ["shop/checkout"], "decisions": ["shop/checkout"]}'}

_REPORT = "<!doctype html><html lang=en><meta charset=utf-8><title>shop/checkout</title><h1>shop/checkout</h1></html>"

RESPONSES: Mapping[tuple[str, str], Mapping[int, Any]] = MappingProxyType(
    {
        ("get", "/health"): {200: _HEALTHY, 503: _UNHEALTHY},
        ("get", "/health/live"): {200: {"status": "healthy", "checks": {}}},
        ("get", "/health/ready"): {200: _HEALTHY, 503: _UNHEALTHY},
        ("get", "/metrics"): {
            200: "# HELP predictive_scaling_decisions_stuck Unfinished decisions whose deadline has passed.\n"
            "# TYPE predictive_scaling_decisions_stuck gauge\npredictive_scaling_decisions_stuck 0.0\n"
        },
        ("get", f"{API_V1}/scaling/decisions"): {200: {"decisions": [DECISION], "next_cursor": None}},
        ("delete", f"{API_V1}/scaling/decisions/stuck"): {200: {"cleared": 2}, 202: _COMMAND},
        ("get", f"{API_V1}/scaling/status"): {
            200: {
                "policies": [POLICY_STATUS],
                "summary": {
                    "policies": 1,
                    "auto": 1,
                    "limited": 0,
                    "fallback": 0,
                    "stuck_decisions": 0,
                    "success_rate_24h": 0.98,
                },
                "next_cursor": None,
            }
        },
        ("get", f"{API_V1}/predictions/current"): {200: CURRENT_FORECASTS},
        ("get", f"{API_V1}/predictions"): {200: FORECASTS},
        ("get", f"{API_V1}/metrics/accuracy"): {200: ACCURACY},
        ("get", f"{API_V1}/metrics/quality"): {200: QUALITY},
        ("get", f"{API_V1}/models"): {200: MODELS},
        ("post", f"{API_V1}/models/reload"): {
            200: {"reloaded": [f"checkout/{VERSION}"], "rejected": []},
            202: _COMMAND,
        },
        ("get", f"{API_V1}/events"): {200: EVENTS},
        ("get", f"{API_V1}/policies"): {200: {"policies": [POLICY], "next_cursor": CURSOR}},
        ("get", f"{API_V1}/policies/{{namespace}}/{{name}}"): {200: POLICY},
        ("get", f"{API_V1}/policies/{{namespace}}/{{name}}/timeline"): {200: TIMELINE},
        ("get", f"{API_V1}/policies/{{namespace}}/{{name}}/frontier"): {200: FRONTIER},
        ("get", f"{API_V1}/policies/{{namespace}}/{{name}}/shadow"): {200: SHADOW},
        ("get", f"{API_V1}/policies/{{namespace}}/{{name}}/shadow/report"): {200: _REPORT},
        ("get", f"{API_V1}/backtests"): {200: {"backtests": [BACKTEST], "next_cursor": None}},
        ("get", f"{API_V1}/backtests/{{namespace}}/{{name}}"): {200: BACKTEST},
        ("get", f"{API_V1}/backtests/{{namespace}}/{{name}}/report"): {200: _REPORT},
        ("get", f"{API_V1}/commands/{{id}}"): {
            200: {
                "id": 4711,
                "kind": "clear_stuck_decisions",
                "status": "answered",
                "created_at": NOW,
                "answered_at": "2026-11-27T08:00:01Z",
                "answer": {"cleared": 2},
            }
        },
        ("get", f"{API_V1}/changes"): {200: _STREAM_EVENT},
    }
)
"""By method and path, then by status; `problem_example` has those of problems."""

_NOT_FOUND = MappingProxyType(
    {
        f"{API_V1}/policies": "policy shop/checkout is not known; /api/v1/policies lists all policies",
        f"{API_V1}/backtests": "backtest shop/checkout does not exist, or the operator has not seen it yet",
        f"{API_V1}/commands": "command 4711 does not exist",
    }
)
_DETAILS: Mapping[int, tuple[str, str | None]] = MappingProxyType(
    {
        401: ("the request has no token; send Authorization: Bearer TOKEN", "Unauthorized"),
        403: ("ci may not list scalingpolicies.predictive-scaling.io in all namespaces", "Forbidden"),
        408: ("the body did not arrive within 30 s", None),
        413: ("the body is larger than 1048576 bytes", None),
        415: ("the body is text/plain; send application/json or no body", None),
        422: ("staus: is not a known parameter; given 'failed'", "InvalidParameter"),
        429: ("this client sends too many requests; retry later", "TooManyRequests"),
        502: ("the operator failed to execute reload_models: the models directory cannot be read", "OperatorFailed"),
        503: ("PostgreSQL at db:5432/predictive_scaling: the server closed the connection", "DatabaseUnavailable"),
    }
)


def problem_example(status: int, title: str, path: str) -> Json:
    """Return the problem of an operation with this status. path: the template; its parameters have their examples."""
    if status == 404:
        detail, reason = next(text for prefix, text in _NOT_FOUND.items() if path.startswith(prefix)), None
    else:
        detail, reason = _DETAILS[status]
    document: Json = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    document["instance"] = path.format_map(PARAMETERS)
    if reason is not None:
        document["reason"] = reason
    if status == 422:
        document["errors"] = [
            {"parameter": "staus", "location": "query", "message": "is not a known parameter; given 'failed'"}
        ]
    return document
