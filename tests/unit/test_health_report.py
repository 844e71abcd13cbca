"""`predictive-scaling check`: the key metrics with the runbook's thresholds, and what a person on call reads."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from predictive_scaling.commands import health_report, key_metrics
from predictive_scaling.commands.check import Exit, exit_code
from predictive_scaling.commands.health_report import HealthReport
from predictive_scaling.commands.key_metrics import Definition, Level, ProcessMetrics
from predictive_scaling.commands.quality_report import SeriesQuality

RUNBOOK = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
DEFINITIONS = [value for value in vars(key_metrics).values() if isinstance(value, Definition)]
HEALTHY = {"status": "healthy", "checks": {"database": {"status": "healthy"}}}


def a_policy(number: int, **condition: str) -> dict[str, Any]:
    conditions = [condition] if condition else []
    common = {"mode": "Auto", "floor": 4, "ready_replicas": 4, "source": "Forecast"}
    return {"namespace": "shop", "policy": f"p{number}", "conditions": conditions, **common}


def a_report(
    *policies: dict[str, Any],
    mape: float = 0.1,
    stuck: int = 0,
    api: str = "",
    ingest: str = "",
    series: list[SeriesQuality] | None = None,
) -> HealthReport:
    status = {"policies": policies, "summary": {"stuck_decisions": stuck, "success_rate_24h": 1.0}}
    accuracy = {"accuracy": {"mape": mape, "wape": 0.1}}
    return health_report._report(  # pyright: ignore[reportPrivateUsage]
        HEALTHY, status, accuracy, ProcessMetrics(api), ProcessMetrics(ingest), series
    )


def text_of(report: HealthReport) -> str:
    console = Console(width=160, file=StringIO())
    health_report.render(report, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_the_thresholds_and_sections_are_those_of_the_runbook(definition: Definition) -> None:
    (row,) = re.findall(rf"^\| {re.escape(definition.name)} \| (.*?) \| (.*?) \|", RUNBOOK, re.MULTILINE)
    for cell, threshold in zip(row, (definition.warning, definition.critical), strict=True):
        (number, unit) = re.findall(r"([\d,.]+)(?: (%|ms))?", cell)[0]
        assert float(number.replace(",", "")) / {"%": 100, "ms": 1000}.get(unit, 1) == threshold
    assert re.search(rf"^### {definition.runbook}\b", RUNBOOK, re.MULTILINE)


@pytest.mark.parametrize(
    ("definition", "value", "level"),
    [
        (key_metrics.MAPE, 0.15, Level.GOOD),
        (key_metrics.MAPE, 0.16, Level.WARNING),
        (key_metrics.MAPE, 0.26, Level.CRITICAL),
        (key_metrics.MAPE, None, Level.UNKNOWN),
        (key_metrics.SUCCESS_RATE, 0.95, Level.GOOD),
        (key_metrics.SUCCESS_RATE, 0.94, Level.WARNING),
        (key_metrics.SUCCESS_RATE, 0.89, Level.CRITICAL),
    ],
)
def test_a_value_beyond_a_threshold_has_its_level(definition: Definition, value: float | None, level: Level) -> None:
    assert definition.of(value).level is level


def test_response_time_and_connections_come_from_the_metrics_of_the_processes() -> None:
    name = "predictive_scaling_api_request_duration_seconds"
    counts = {"0.1": 980, "0.5": 990, "1.0": 1000, "+Inf": 1000}
    api = [f"# TYPE {name} histogram", *(f'{name}_bucket{{le="{le}"}} {count}' for le, count in counts.items())]
    pool = "predictive_scaling_database_connections"
    api += [
        f"# TYPE {pool} gauge",
        f'{pool}{{purpose="api",state="in_use"}} 7',
        f'{pool}{{purpose="api",state="max"}} 8',
    ]
    ingest = '# TYPE kafka_consumer_lag gauge\nkafka_consumer_lag{topic="t",partition="0"} 1200\n'
    report = a_report(api="\n".join(api) + "\n", ingest=ingest)
    values = {metric.name: metric.value for metric in report.key_metrics}
    assert values[key_metrics.RESPONSE_TIME.name] == pytest.approx(0.5)
    assert values[key_metrics.CONNECTIONS.name] == 0.875
    assert report.lag_messages == 1200
    assert [line.rpartition(" ")[2] for line in report.attention] == ["RB-005", "RB-006", "RB-002"]


def test_few_requests_have_no_percentile() -> None:
    name = "predictive_scaling_api_request_duration_seconds"
    text = f'# TYPE {name} histogram\n{name}_bucket{{le="5.0"}} 10\n{name}_bucket{{le="+Inf"}} 10\n'
    assert ProcessMetrics(text).response_time() is None


def test_what_needs_attention_comes_last_with_its_section_of_the_runbook() -> None:
    report = a_report(a_policy(1), mape=0.3, stuck=2)
    assert exit_code(report) is Exit.ATTENTION
    *_, heading, stuck, accuracy = text_of(report).splitlines()
    assert heading == "2 need attention, with their sections of docs/runbook.md:"
    assert stuck.startswith("- Stuck decisions: 2;")
    assert accuracy == "- critical: MAPE of the forecasts: 30.0%, threshold 25.0%. See PoorPredictionAccuracy"


def test_of_many_policies_only_those_that_need_attention_are_listed() -> None:
    conflict = {"type": "Conflict", "status": "True", "reason": "ForeignWriter", "message": "helm sets minReplicas"}
    report = a_report(*(a_policy(number) for number in range(40)), a_policy(40, **conflict))
    text = text_of(report)
    assert "Policies: 41, of these 1 need attention" in text
    assert "p40" in text
    assert "p17" not in text
    assert text.splitlines()[-1] == "- shop/p40: Conflict=True: helm sets minReplicas"


def test_a_healthy_installation_ends_with_one_sentence() -> None:
    report = a_report(a_policy(1))
    assert exit_code(report) is Exit.GOOD
    assert text_of(report).splitlines()[-1] == "Nothing needs attention."


def test_the_worst_series_of_each_measure_is_named() -> None:
    series = [
        SeriesQuality("cart", "rps", None, 0.02, 0.0, -0.4, 0, 0),
        SeriesQuality("shop", "rps", None, 0.40, None, None, 0, 0),
        SeriesQuality("shop", "hits_total", None, 0.0, 0.05, -75.0, 3, 0),
        SeriesQuality("new", "rps", None, None, None, None, 0, 0),
    ]
    report = a_report(series=series)
    text = text_of(report)
    assert "Quality of the last 24 h: 4 series, 14.0% of the minutes missing, 3 restarts of counters, 0" in text
    assert "  most missing minutes: rps of service shop (40.0%)\n" in text
    assert "  most late samples: hits_total of service shop (5.0%)\n" in text
    assert "  clock furthest ahead: hits_total of service shop (75 s)\n" in text
    assert "  most restarts of counters: hits_total of service shop (3)\n" in text
    assert "outliers set aside: " not in text
    assert report.attention == [
        "rps of service shop: 40% of the minutes of the last 24 h are missing.",
        "hits_total of service shop: the clock of a sender is 75 s ahead.",
    ]
    assert "clock furthest" not in text_of(a_report(series=series[:2]))
