"""What one small installation answers: the documents that the examples of the OpenAPI document consist of.

Sentences are as the product writes them.
"""

from typing import Any

from predictive_scaling.api.request_limits import API_V1

Json = dict[str, Any]

NOW, LATER, _SOON = "2026-11-27T08:00:00Z", "2026-11-27T09:00:00Z", "2026-11-27T08:05:00Z"
_DAY_AGO, _WEEK_AGO, _HOUR_AGO = "2026-11-26T08:00:00Z", "2026-11-20T08:00:00Z", "2026-11-27T07:00:00Z"
VERSION, _PREVIOUS = "20261127T020000Z-5f0c1d2e", "20261126T020000Z-91ab77c0"
_ADVICE = (
    "with this policy the HPA's target can be raised from 70 % to 75 %: 6 % fewer replica-hours at no more risk than "
    "the HPA alone has now"
)
_EVIDENCE = (
    "LightGBM acts: it costs 0.021 against 0.03 of SeasonalNaive, WAPE 0.074 against 0.102, and 91 % of the demand was "
    "below its 0.9 quantile; a floor at that quantile is too low for 0.4 % of the time, with 1.08 of the replicas "
    "needed"
)
_TARGET = "HorizontalPodAutoscaler/checkout"
_QUANTILES = {"p10": 812.0, "p50": 904.5, "p80": 958.0, "p90": 987.5, "p95": 1015.0}
_REPLICAS = {"current_replicas": 18, "ready_replicas": 18}
OBJECT = {"namespace": "shop", "policy": "checkout"}
CURSOR = "WyJzaG9wIiwiY2hlY2tvdXQiXQ"
_MODEL = {"model_name": "LightGBM", "model_version": VERSION}

DECISION: Json = {
    "id": "checkout-6d1f0a9c3b7e",
    "created_at": "2026-11-27T07:50:00Z",
    "service_name": "checkout",
    **OBJECT,
    "target": _TARGET,
    "decision_type": "scale_up",
    "status": "succeeded",
    "from_replicas": 12,
    "to_replicas": 18,
    "uncapped_replicas": 20,
    "source": "Forecast",
    "reason": "ForecastRose",
    "message": f"Raise from 12 to 18: a peak of 988 requests_per_second until 08:10 (p90, LightGBM {VERSION}) requires "
    "20 replicas at 50 per replica; 20 recommended, limited by StepUp.",
    "outcome": "18 replicas were ready after 52 s.",
    "cause": None,
    "started_at": "2026-11-27T07:50:00Z",
    "finished_at": "2026-11-27T07:50:52Z",
}

_ACCOUNT: Json = {
    "since": _WEEK_AGO,
    "until": NOW,
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

POLICY_STATUS: Json = {
    **OBJECT,
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
            "reason": "TargetObserved",
            "message": "the policy is accepted and its target was observed",
            "observed_generation": 3,
            "last_transition_time": _DAY_AGO,
        }
    ],
    "last_decision_at": "2026-11-27T07:50:00Z",
    "advice": {
        "quantile": 0.9,
        "target_utilization": 0.75,
        "replica_hours_saved": 12.5,
        "message": _ADVICE,
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

POLICY: Json = {
    **POLICY_STATUS,
    "metric_name": "requests_per_second",
    "forecast": {"model": "LightGBM", "version": VERSION, "generatedAt": NOW, "validUntil": LATER},
    "updated_at": NOW,
}

_COST: Json = {
    "under_provisioned_share": 0.0021,
    "under_provisioned_minutes": 21.2,
    "lost_demand_share": 0.0004,
    "replica_hours": 1990.0,
}

BACKTEST: Json = {
    "namespace": "shop",
    "name": "checkout",
    "policy": "checkout",
    "created_at": _HOUR_AGO,
    "phase": "Succeeded",
    "status": {
        "phase": "Succeeded",
        "observedGeneration": 1,
        "attempts": 1,
        "startedAt": _HOUR_AGO,
        "finishedAt": "2026-11-27T07:04:00Z",
        "span": {"from": "2026-11-13T07:00:00Z", "to": _HOUR_AGO},
        "inputHash": "4a53c3b6247de50a46716d6f518e60ed528c6af6e7ced43dfb279a7a4a626e4c",
        "summary": "21 min short (HPA 95) at 1.08 of its hours",
        "rows": [
            {
                "variant": "Policy",
                "name": "the policy as written",
                "quantile": "0.9",
                "hpaTarget": "0.7",
                "underProvisionedShare": "0.0011",
                "underProvisionedMinutes": "21",
                "lostDemandShare": "0.0004",
                "replicaHours": "1990",
                "hoursRatio": "1.08",
            }
        ],
        "report": f"{API_V1}/backtests/shop/checkout/report",
    },
    "report": f"{API_V1}/backtests/shop/checkout/report",
}

CURRENT_FORECASTS: Json = {
    "predictions": [
        {
            "service_name": "checkout",
            **OBJECT,
            "created_at": NOW,
            "valid_until": LATER,
            **_MODEL,
            "source": "FreshForecast",
            "points": [{"target_time": time, **_QUANTILES} for time in (NOW, _SOON)],
        }
    ],
    "next_cursor": CURSOR,
}

FORECASTS: Json = {
    "predictions": [
        {
            "service_name": "checkout",
            **OBJECT,
            "points": [
                {
                    "target_time": _SOON,
                    **_QUANTILES,
                    "created_at": NOW,
                    **_MODEL,
                    "source": "FreshForecast",
                }
            ],
        }
    ],
    "next_cursor": None,
}

ACCURACY: Json = {
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

QUALITY: Json = {
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

MODELS: Json = {
    "models": [
        {
            "service_name": "checkout",
            "metric_name": "requests_per_second",
            "version": VERSION,
            "folder": f"checkout/{VERSION}",
            "trained_from": "2026-09-28T02:00:00Z",
            "trained_until": "2026-11-27T02:00:00Z",
            "acting": "LightGBM",
            "evidence": _EVIDENCE,
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
                    "version": VERSION,
                    "previous": _PREVIOUS,
                    "evidence": "replaces the previous version: cost 0.021 against 0.022, WAPE 0.074 against 0.076",
                }
            ],
        }
    ],
    "rejected": [{"file": f"cart/{VERSION}", "reason": "model.txt has 7 bytes, its manifest says 48120"}],
}

EVENTS: Json = {
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

TIMELINE: Json = {
    **OBJECT,
    "service_name": "checkout",
    "metric_name": "requests_per_second",
    "since": "2026-11-27T06:00:00Z",
    "until": LATER,
    "now": NOW,
    "step_seconds": 60,
    "min_replicas": 2,
    "max_replicas": 40,
    "demand": [{"time": "2026-11-27T07:59:00Z", "value": 871.0}],
    "forecast": [{"time": _SOON, **_QUANTILES}],
    "replicas": [{"time": "2026-11-27T07:50:00Z", "floor": 18, **_REPLICAS}],
}

FRONTIER: Json = {
    **OBJECT,
    "tuned_at": "2026-11-27T03:00:00Z",
    "since": _WEEK_AGO,
    "until": "2026-11-27T03:00:00Z",
    "prices": {"under_provisioned_minute": 1.0, "replica_hour": 0.5},
    "quantile": 0.9,
    "hpa_target": 0.7,
    "advised_hpa_target": 0.75,
    "replica_hours_saved": 12.5,
    "message": _ADVICE,
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

SHADOW: Json = {
    **OBJECT,
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
