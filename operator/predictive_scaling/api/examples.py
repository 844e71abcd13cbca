"""The examples of the OpenAPI document: one for each response of each operation, all of one small installation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from predictive_scaling.api.request_limits import API_V1

Json = dict[str, Any]

_NOW, _LATER, _SOON = "2026-11-27T08:00:00Z", "2026-11-27T09:00:00Z", "2026-11-27T08:05:00Z"
_DAY_AGO, _WEEK_AGO, _HOUR_AGO = "2026-11-26T08:00:00Z", "2026-11-20T08:00:00Z", "2026-11-27T07:00:00Z"
_VERSION, _PREVIOUS = "20261127T020000Z-5f0c1d2e", "20261126T020000Z-91ab77c0"
_TARGET = "HorizontalPodAutoscaler/checkout"
_QUANTILES = {"p10": 812.0, "p50": 904.5, "p80": 958.0, "p90": 987.5, "p95": 1015.0}
_REPLICAS = {"current_replicas": 18, "ready_replicas": 18}
_OBJECT = {"namespace": "shop", "policy": "checkout"}
_CURSOR = "WyJzaG9wIiwiY2hlY2tvdXQiXQ"
_MODEL = {"model_name": "LightGBM", "model_version": _VERSION}

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
        "to": _LATER,
        "id": 4711,
    }
)
"""By name of the parameter. A cursor has no example: only that of the previous page is valid."""

_DECISION: Json = {
    "id": "checkout-6d1f0a9c3b7e",
    "created_at": "2026-11-27T07:50:00Z",
    "service_name": "checkout",
    **_OBJECT,
    "target": _TARGET,
    "decision_type": "scale_up",
    "status": "succeeded",
    "from_replicas": 12,
    "to_replicas": 18,
    "uncapped_replicas": 20,
    "source": "Forecast",
    "reason": "ForecastRose",
    "message": "The forecast for 08:03 needs 20 replicas; a step may add 6 at most.",
    "outcome": "18 replicas were ready after 52 s.",
    "cause": None,
    "started_at": "2026-11-27T07:50:00Z",
    "finished_at": "2026-11-27T07:50:52Z",
}

_ACCOUNT: Json = {
    "since": _WEEK_AGO,
    "until": _NOW,
    "covered_hours": 166.5,
    "decisions": 84,
    "minutes_short": 41.0,
    "minutes_short_avoided": 38.0,
    "replica_hours": 1930.5,
    "replica_hours_added": 96.25,
    "largest": [
        {"time": "2026-11-26T18:00:00Z", "minutes_short_avoided": 11.0, "replica_hours_added": 3.5},
    ],
}

_POLICY_STATUS: Json = {
    **_OBJECT,
    "service_name": "checkout",
    "mode": "Auto",
    "target": _TARGET,
    "min_replicas": 2,
    "max_replicas": 40,
    "floor": 18,
    **_REPLICAS,
    "source": "Forecast",
    "limited": False,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Ticked",
            "message": "The floor is 18 replicas.",
            "observed_generation": 3,
            "last_transition_time": _DAY_AGO,
        }
    ],
    "last_decision_at": "2026-11-27T07:50:00Z",
    "advice": {
        "quantile": 0.9,
        "target_utilization": 0.75,
        "replica_hours_saved": 12.5,
        "message": "Raise the target utilization of the HorizontalPodAutoscaler from 70 to 75 percent.",
    },
    "learned": {
        "lead_time": {
            "seconds": 95.0,
            "starts": 42,
            "trusted": True,
            "on_existing_nodes": {"seconds": 48.0, "starts": 37},
            "with_new_node": {"seconds": 161.0, "starts": 5},
        },
        "per_replica": {"value": 49.6, "low": 48.1, "high": 51.0, "samples": 310},
    },
    "shadow": None,
}

_POLICY: Json = {
    **_POLICY_STATUS,
    "metric_name": "requests_per_second",
    "forecast": {"model": "LightGBM", "version": _VERSION, "generatedAt": _NOW, "validUntil": _LATER},
    "updated_at": _NOW,
}

_COST: Json = {
    "under_provisioned_share": 0.0021,
    "under_provisioned_minutes": 21.2,
    "lost_demand_share": 0.0004,
    "replica_hours": 1990.0,
}

_BACKTEST: Json = {
    "namespace": "shop",
    "name": "checkout",
    "policy": "checkout",
    "created_at": _HOUR_AGO,
    "phase": "Succeeded",
    "status": {"phase": "Succeeded", "rows": 40320, "message": "The policy was short for 21 minutes, the HPA for 95."},
    "report": f"{API_V1}/backtests/shop/checkout/report",
}

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
        ("get", f"{API_V1}/scaling/decisions"): {200: {"decisions": [_DECISION], "next_cursor": None}},
        ("delete", f"{API_V1}/scaling/decisions/stuck"): {200: {"cleared": 2}, 202: _COMMAND},
        ("get", f"{API_V1}/scaling/status"): {
            200: {
                "policies": [_POLICY_STATUS],
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
        ("get", f"{API_V1}/predictions/current"): {
            200: {
                "predictions": [
                    {
                        "service_name": "checkout",
                        **_OBJECT,
                        "created_at": _NOW,
                        "valid_until": _LATER,
                        **_MODEL,
                        "source": "FreshForecast",
                        "points": [{"target_time": time, **_QUANTILES} for time in (_NOW, _SOON)],
                    }
                ],
                "next_cursor": _CURSOR,
            }
        },
        ("get", f"{API_V1}/predictions"): {
            200: {
                "predictions": [
                    {
                        "service_name": "checkout",
                        **_OBJECT,
                        "points": [
                            {
                                "target_time": _SOON,
                                **_QUANTILES,
                                "created_at": _NOW,
                                **_MODEL,
                                "source": "FreshForecast",
                            }
                        ],
                    }
                ],
                "next_cursor": None,
            }
        },
        ("get", f"{API_V1}/metrics/accuracy"): {
            200: {
                "accuracy": {
                    "window": "1d",
                    "mape": 0.081,
                    "wape": 0.074,
                    "bias": 0.012,
                    "coverage": {"0.5": 0.52, "0.8": 0.81, "0.9": 0.91, "0.95": 0.96},
                    "samples": 288,
                    "services": [
                        {
                            "service_name": "checkout",
                            "model_name": "LightGBM",
                            "mape": 0.081,
                            "wape": 0.074,
                            "coverage": {"0.5": 0.52, "0.8": 0.81, "0.9": 0.91, "0.95": 0.96},
                        }
                    ],
                }
            }
        },
        ("get", f"{API_V1}/metrics/quality"): {
            200: {
                "series": [
                    {
                        "service_name": "checkout",
                        "metric_name": "requests_per_second",
                        "last": "2026-11-27T07:59:45Z",
                        "missing_ratio": 0.004,
                        "late_ratio": 0.0,
                        "min_delay_seconds": 0.6,
                        "resets": 1,
                        "outliers": 0,
                    }
                ],
                "next_cursor": None,
            }
        },
        ("get", f"{API_V1}/models"): {
            200: {
                "models": [
                    {
                        "service_name": "checkout",
                        "metric_name": "requests_per_second",
                        "version": _VERSION,
                        "folder": f"checkout/{_VERSION}",
                        "trained_from": "2026-09-28T02:00:00Z",
                        "trained_until": "2026-11-27T02:00:00Z",
                        "acting": "LightGBM",
                        "evidence": "LightGBM costs 0.71 of SeasonalNaive on the last seven days.",
                        "horizons": [{"minutes": 60.0, "model": "LightGBM"}],
                        "scores": [
                            {
                                "model": "LightGBM",
                                "wape": 0.074,
                                "mape": 0.081,
                                "coverage": 0.91,
                                "cost": 0.021,
                                "short": 0.004,
                                "hours": 1.08,
                            }
                        ],
                        "history": [
                            {
                                "at": "2026-11-27T02:10:00Z",
                                "outcome": "promoted",
                                "version": _VERSION,
                                "previous": _PREVIOUS,
                                "evidence": "It costs 0.97 of the previous version.",
                            }
                        ],
                    }
                ],
                "rejected": [{"file": f"cart/{_VERSION}", "reason": "model.txt has 7 bytes, its manifest says 48120"}],
            }
        },
        ("post", f"{API_V1}/models/reload"): {
            200: {"reloaded": [f"checkout/{_VERSION}"], "rejected": []},
            202: _COMMAND,
        },
        ("get", f"{API_V1}/events"): {
            200: {
                "events": [
                    {
                        "namespace": "shop",
                        "name": "black-friday",
                        "type": "flash-sale",
                        "start_time": "2026-11-27T18:00:00Z",
                        "end_time": "2026-11-27T22:00:00Z",
                        "multiplier": 2.5,
                        "min_replicas": None,
                        "priority": 0,
                        "policies": ["checkout"],
                        "observed_multiplier": None,
                        "multiplier_verdict": None,
                        "learned_multiplier": None,
                    }
                ],
                "next_cursor": None,
            }
        },
        ("get", f"{API_V1}/policies"): {200: {"policies": [_POLICY], "next_cursor": _CURSOR}},
        ("get", f"{API_V1}/policies/{{namespace}}/{{name}}"): {200: _POLICY},
        ("get", f"{API_V1}/policies/{{namespace}}/{{name}}/timeline"): {
            200: {
                **_OBJECT,
                "service_name": "checkout",
                "metric_name": "requests_per_second",
                "since": "2026-11-27T06:00:00Z",
                "until": _LATER,
                "now": _NOW,
                "step_seconds": 60,
                "min_replicas": 2,
                "max_replicas": 40,
                "demand": [{"time": "2026-11-27T07:59:00Z", "value": 871.0}],
                "forecast": [{"time": _SOON, **_QUANTILES}],
                "replicas": [{"time": "2026-11-27T07:50:00Z", "floor": 18, **_REPLICAS}],
            }
        },
        ("get", f"{API_V1}/policies/{{namespace}}/{{name}}/frontier"): {
            200: {
                **_OBJECT,
                "tuned_at": "2026-11-27T03:00:00Z",
                "since": _WEEK_AGO,
                "until": "2026-11-27T03:00:00Z",
                "prices": {"under_provisioned_minute": 1.0, "replica_hour": 0.5},
                "quantile": 0.9,
                "hpa_target": 0.7,
                "advised_hpa_target": 0.75,
                "replica_hours_saved": 12.5,
                "message": "Raise the target utilization of the HorizontalPodAutoscaler from 70 to 75 percent.",
                "recorded_share": 0.97,
                "hpa_only": {**_COST, "under_provisioned_minutes": 95.0, "under_provisioned_share": 0.0094},
                "points": [
                    {
                        **_COST,
                        "quantile": 0.9,
                        "hpa_target": 0.75,
                        "in_use": False,
                        "recommended": True,
                        "efficient": True,
                    }
                ],
            }
        },
        ("get", f"{API_V1}/policies/{{namespace}}/{{name}}/shadow"): {
            200: {
                **_OBJECT,
                "target": _TARGET,
                **_ACCOUNT,
                "hours": [
                    {
                        "time": _HOUR_AGO,
                        "covered_minutes": 2,
                        "per_replica": 49.6,
                        "lead_time_seconds": 95.0,
                        "minutes_short": 1.0,
                        "auto_minutes_short": 0.0,
                        "replica_hours": 0.43,
                        "auto_replica_hours": 0.5,
                        "demand": [610.0, 655.0],
                        "replicas": [13, 13],
                        "ready": [12, 13],
                        "auto_replicas": [15, 15],
                        "auto_ready": [15, 15],
                    }
                ],
            }
        },
        ("get", f"{API_V1}/policies/{{namespace}}/{{name}}/shadow/report"): {200: _REPORT},
        ("get", f"{API_V1}/backtests"): {200: {"backtests": [_BACKTEST], "next_cursor": None}},
        ("get", f"{API_V1}/backtests/{{namespace}}/{{name}}"): {200: _BACKTEST},
        ("get", f"{API_V1}/backtests/{{namespace}}/{{name}}/report"): {200: _REPORT},
        ("get", f"{API_V1}/commands/{{id}}"): {
            200: {
                "id": 4711,
                "kind": "clear_stuck_decisions",
                "status": "answered",
                "created_at": _NOW,
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
