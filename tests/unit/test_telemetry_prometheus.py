"""config/alerts.yml and config/prometheus.yml: the names that dashboards and the runbook use."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from predictive_scaling.settings import Settings

CONFIG = Path(__file__).parents[2] / "config"
SOURCES = (Path(__file__).parents[2] / "operator").rglob("*.py")


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((CONFIG / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_the_alerts_have_the_names_of_the_runbook() -> None:
    assert set(rules()) == {
        "APIDown",
        "HighPredictionLatency",
        "PoorPredictionAccuracy",
        "TicksFailing",
        "ScalingFailures",
        "KafkaConsumerLag",
        "DatabaseConnectionsHigh",
        "RetentionFails",
        "IngestSeriesLimit",
        "DeadLetters",
        "DecisionWritesQueued",
        "DemandStale",
        "SourceStale",
        "ForecastStale",
        "FallbackActive",
        "DecisionsStuck",
    }


def test_each_alert_has_a_severity_annotations_and_a_duration() -> None:
    for name, rule in rules().items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, name
        assert re.fullmatch(r"\d+m", rule["for"]), name


@pytest.mark.parametrize(
    ("alert", "metric"),
    [
        ("APIDown", 'up{job="predictive-scaling-api"}'),
        ("HighPredictionLatency", "prediction_latency_seconds_bucket"),
        ("PoorPredictionAccuracy", "prediction_mape > 0.20"),
        ("TicksFailing", "predictive_scaling_ticks_failed_total"),
        ("ScalingFailures", "scaling_failures_total"),
        ("KafkaConsumerLag", "kafka_consumer_lag"),
        ("DatabaseConnectionsHigh", "predictive_scaling_database_connections"),
        ("RetentionFails", "predictive_scaling_retention_failures_total"),
        ("IngestSeriesLimit", "predictive_scaling_ingest_series_limit_refused_total"),
        ("DeadLetters", "predictive_scaling_ingest_dead_letters_total"),
        ("DecisionWritesQueued", "predictive_scaling_decision_writes_queued"),
        ("DemandStale", "predictive_scaling_demand_age_seconds"),
        ("SourceStale", "predictive_scaling_source_age_seconds"),
        ("ForecastStale", "predictive_scaling_forecast_fresh"),
        ("FallbackActive", "predictive_scaling_fallback_active"),
        ("DecisionsStuck", "predictive_scaling_decisions_stuck"),
    ],
)
def test_each_alert_uses_its_metric(alert: str, metric: str) -> None:
    assert metric in rules()[alert]["expr"]


def test_every_metric_of_an_alert_is_declared_in_the_code() -> None:
    declared = "".join(path.read_text() for path in SOURCES)
    for rule in rules().values():
        for metric in re.findall(r"\b(?:prediction|scaling|kafka|predictive_scaling)_\w+", rule["expr"]):
            assert f'"{metric.removesuffix("_bucket")}"' in declared, metric


def test_prometheus_scrapes_the_default_port_of_each_process() -> None:
    jobs = yaml.safe_load((CONFIG / "prometheus.yml").read_text())["scrape_configs"]
    ports = {job["job_name"]: int(job["static_configs"][0]["targets"][0].partition(":")[2]) for job in jobs}
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert ports == {
        "predictive-scaling-api": defaults["api_port"],
        "predictive-scaling-operator": defaults["operator_port"],
        "predictive-scaling-ingest": defaults["ingest_port"],
        "predictive-scaling-trainer": defaults["trainer_port"],
    }
