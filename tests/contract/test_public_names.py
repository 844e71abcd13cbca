"""Names that users, charts, dashboards and checks rely on. More may be added; none may change or go."""

import re
import runpy
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from prometheus_client import REGISTRY

from predictive_scaling import errors
from predictive_scaling.__main__ import COMMANDS, load
from predictive_scaling.api.application import create_app
from predictive_scaling.api.services import Services
from predictive_scaling.commands import check
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.settings import Settings
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.redis_circuit import RedisCircuit

ROOT = Path(__file__).parents[2]
DOCUMENT = create_app(Services(*cast("Any", (None, None, None, None)))).openapi()  # no route is called

PARAMETERS = {
    "/api/v1/predictions/current": {"service"},
    "/api/v1/predictions": {"service", "from", "to"},
    "/api/v1/scaling/decisions": {"limit", "status", "service", "cursor"},
    "/api/v1/scaling/status": set[str](),
    "/api/v1/metrics/accuracy": {"window", "service"},
    "/api/v1/models": set[str](),
    "/api/v1/events": set[str](),
    "/api/v1/policies": set[str](),
}
FIELDS = {
    "HealthResponse": {"status", "checks"},
    "ComponentHealth": {"status", "latency_seconds", "message"},
    "CurrentPredictions": {"predictions"},
    "Forecast": {
        *("service_name", "namespace", "policy", "created_at", "valid_until", "model_name", "model_version"),
        *("source", "points"),
    },
    "Point": {"target_time", "p50", "p90"},
    "Decisions": {"decisions", "next_cursor"},
    "Decision": {
        *("id", "created_at", "service_name", "namespace", "policy", "target", "decision_type", "status"),
        *("from_replicas", "to_replicas", "uncapped_replicas", "source", "reason", "message"),
        *("started_at", "finished_at"),
    },
    "ScalingStatus": {"policies", "summary"},
    "PolicyStatus": {
        *("namespace", "policy", "service_name", "mode", "target", "min_replicas", "max_replicas", "floor"),
        *("current_replicas", "ready_replicas", "source", "limited", "conditions", "last_decision_at", "advice"),
    },
    "Summary": {"policies", "auto", "limited", "fallback", "stuck_decisions", "success_rate_24h"},
    "Cleared": {"cleared"},
    "AccuracyResponse": {"accuracy"},
    "Accuracy": {"window", "mape", "wape", "bias", "coverage", "samples", "services"},
    "ServiceAccuracy": {"service_name", "model_name", "mape", "wape", "coverage"},
    "Reloaded": {"reloaded", "rejected"},
    "RejectedModel": {"file", "reason"},
    "Problem": {"type", "title", "status", "detail", "instance"},
}
COLUMNS = {
    "metrics_raw": {"time", "service_name", "metric_name", "series", "value", "labels"},
    "metrics_1m": {"service_name", "metric_name", "series", "sum", "count", "min", "max", "last"},
    "predictions": {"created_at", "service_name", "target_time", "p50", "p90", "model_name", "model_version"},
    "scaling_decisions": {"created_at", "service_name", "decision_type", "status"},
    "model_performance": {"created_at", "model_name", "service_name", "mape", "wape", "coverage"},
    "business_events": {"name", "type", "start_time", "end_time"},
    "policies": {"namespace", "policy", "service_name", "mode", "floor"},
    "commands": {"id", "kind", "status", "answer"},
    "dead_letters": {"reason"},
    "ingest_offsets": {"topic", "partition"},
}
METRICS = {
    "prediction_latency_seconds": "histogram",
    "prediction_mape": "gauge",
    "scaling_failures": "counter",
    "kafka_consumer_lag": "gauge",
}
ALERTS = {
    "APIDown",
    "HighPredictionLatency",
    "PoorPredictionAccuracy",
    "ScalingFailures",
    "KafkaConsumerLag",
    "DatabaseConnectionsHigh",
}
SUBCOMMANDS = {
    *("operator", "ingest", "api", "train", "migrate", "backtest", "generate-data", "check", "demo"),
}
TARGETS = {
    *("demo", "test", "lint", "bench", "generate-data", "train-models", "demo-check", "crds", "stack-up"),
    *("stack-down", "image"),
}
DEFAULTS: Mapping[str, object] = {
    "api_port": 8000,
    "operator_port": 8001,
    "ingest_port": 8002,
    "trainer_port": 8003,
    "external_metrics_port": 8443,
    "kafka_topic": "metrics.raw",
    "kafka_group": "metrics-processor",
    "kafka_dead_letter_topic": "metrics.dead-letter",
    "retention_raw": timedelta(days=30),
    "retention_rollups": timedelta(days=400),
}


@pytest.mark.parametrize("path", PARAMETERS)
def test_lists_have_their_parameters(path: str) -> None:
    named = {parameter["name"] for parameter in DOCUMENT["paths"][path]["get"].get("parameters", [])}
    assert named >= PARAMETERS[path]


def test_health_docs_and_commands_have_their_paths() -> None:
    operations = {(method, path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert operations >= {
        ("get", "/health"),
        ("get", "/health/live"),
        ("get", "/health/ready"),
        ("get", "/metrics"),
        ("delete", "/api/v1/scaling/decisions/stuck"),
        ("post", "/api/v1/models/reload"),
    }


@pytest.mark.parametrize("model", FIELDS)
def test_responses_have_their_fields(model: str) -> None:
    assert DOCUMENT["components"]["schemas"][model]["properties"].keys() >= FIELDS[model]


def test_statuses_and_types_are_in_snake_case() -> None:
    assert [phase.stored for phase in DecisionPhase] == [
        *("pending", "executing", "verifying", "succeeded", "failed", "rolled_back", "recommended", "superseded"),
        "cancelled",
    ]


@pytest.mark.integration
async def test_tables_have_their_columns(database: Database) -> None:
    async with database.connection() as connection:
        rows = await (
            await connection.execute(
                "select table_name, column_name from information_schema.columns where table_schema = 'public'"
            )
        ).fetchall()
    columns: dict[str, set[str]] = {}
    for table, column in rows:
        columns.setdefault(table, set()).add(column)
    missing = {table: names - columns.get(table, set()) for table, names in COLUMNS.items()}
    assert not any(missing.values()), missing


def test_metrics_have_their_names_and_types() -> None:
    for module in COMMANDS:
        load(module)
    types = {family.name: family.type for family in REGISTRY.collect()}
    assert {name: types.get(name) for name in METRICS} == METRICS
    ours = {name for name in types if not name.startswith(("python_", "process_"))}
    assert {name for name in ours - METRICS.keys() if not name.startswith("predictive_scaling_")} == set()


def test_alerts_have_their_names() -> None:
    groups = yaml.safe_load((ROOT / "config" / "alerts.yml").read_text())["groups"]
    assert {rule.get("alert") for group in groups for rule in group["rules"]} >= ALERTS


def test_subcommands_have_their_names_and_a_help_text() -> None:
    assert COMMANDS.keys() >= SUBCOMMANDS
    assert all(help_text for _, help_text in COMMANDS.values())
    assert set(load("ingest").commands) == {"rewind"}


def test_make_has_its_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) >= TARGETS


def test_exit_codes_keep_their_meaning() -> None:
    codes = {code.name: int(code) for code in check.Exit}
    assert codes == {"GOOD": 0, "ATTENTION": 1, "UNHEALTHY": 2, "UNREACHABLE": 69}
    causes = {
        "SettingsError": 78,
        "SchemaError": 78,
        "DatabaseUnavailableError": 75,
        "ClusterUnavailableError": 75,
        "LeadershipLostError": 79,
        "TaskEndedError": 70,
    }
    assert {name: getattr(errors, name).exit_code for name in causes} == causes


@pytest.mark.parametrize("name", DEFAULTS)
def test_settings_have_their_defaults(name: str) -> None:
    assert Settings.model_fields[name].default == DEFAULTS[name]


def test_settings_have_the_names_of_the_environment() -> None:
    aliases = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert aliases >= {"DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS"}
    assert Settings.model_config.get("env_prefix") == "PREDICTIVE_SCALING_"
    assert "FEATURE_COUNT" in runpy.run_path(str(ROOT / "config" / "settings.py"))


def test_keys_in_redis_have_our_prefix() -> None:
    assert RedisCircuit(None, "features", "")._name("x") == "predictive-scaling:features:x"  # pyright: ignore[reportPrivateUsage]
