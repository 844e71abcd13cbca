"""The limits of active services, metrics and series, and how exceeding them is reported."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from predictive_scaling.ingest import limit_reports
from predictive_scaling.ingest.batch import Batch, Message, admit, days_of, read
from predictive_scaling.ingest.limit_reports import LimitReports
from predictive_scaling.ingest.measurement import Window
from predictive_scaling.ingest.metrics import LIMIT_USAGE
from predictive_scaling.ingest.series_register import REMEMBERED, Limit, SeriesLimits, SeriesRegister
from predictive_scaling.telemetry.checks import Health, examine

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Ingestion:
    """Admits samples at a time that a test moves."""

    def __init__(self, services: int = 10, metrics: int = 10, series: int = 10, window: timedelta = DAY) -> None:
        self.register = SeriesRegister(SeriesLimits(services, metrics, series, window))
        self.now = NOW
        self._offset = 0

    def take(
        self, *pods: object, service: str = "checkout", metric: str = "requests", age: timedelta = DAY * 0
    ) -> Batch:
        """The batch of one sample of each pod."""
        messages = [self._message(pod=str(pod), service=service, metric=metric, age=age) for pod in pods]
        window = Window.around(self.now, 400 * DAY, timedelta(minutes=5))
        batch = admit(read(messages, window, self.now), self.register)
        self.register.learn(days_of(batch))
        return batch

    def _message(self, *, pod: str, service: str, metric: str, age: timedelta) -> Message:
        self._offset += 1
        sample: dict[str, Any] = {
            "service_name": service,
            "metric_name": metric,
            "value": 1,
            "timestamp": (self.now - age).isoformat(),
            "labels": {"pod": pod},
        }
        return Message("metrics.raw", 0, self._offset, json.dumps(sample).encode())


def test_pods_of_earlier_rollouts_do_not_count() -> None:
    ingestion = Ingestion(series=10)
    for rollout in range(200):
        ingestion.now = NOW + rollout * DAY
        assert ingestion.take(*(f"{rollout}-{pod}" for pod in range(3))).dead_letters == []
        ingestion.register.advance(ingestion.now.date())


def test_a_service_beyond_the_limit_is_a_dead_letter() -> None:
    ingestion = Ingestion(services=2)
    ingestion.take("a", service="first")
    ingestion.take("a", service="two")
    batch = ingestion.take("a", service="three")
    assert [(letter.reason, batch.refused) for letter in batch.dead_letters] == [
        ("service_limit", [(Limit.SERVICES, "three")])
    ]
    assert "2 services" in batch.dead_letters[0].detail
    assert "service three would exceed" in batch.dead_letters[0].detail
    assert ingestion.take("b", service="first").dead_letters == []
    ingestion.now += 4 * DAY
    assert ingestion.take("a", service="three").dead_letters == []


def test_a_metric_beyond_the_limit_of_its_service_is_a_dead_letter() -> None:
    ingestion = Ingestion(metrics=2)
    for metric in ("cpu", "memory"):
        ingestion.take("a", metric=metric)
    batch = ingestion.take("a", metric="latency")
    assert [letter.reason for letter in batch.dead_letters] == ["metric_limit"]
    assert ingestion.take("a", metric="latency", service="cart").dead_letters == []


def test_active_series_are_admitted_while_new_series_arrive_constantly() -> None:
    ingestion = Ingestion(series=4)
    old = ["a", "b", "c", "d"]
    ingestion.take(*old)
    for hour in range(1, 24 * 10):
        ingestion.now = NOW + timedelta(hours=hour)
        assert len(ingestion.take(*old, *(f"{hour}-{pod}" for pod in range(50))).dead_letters) == 50
        ingestion.register.advance(ingestion.now.date())


def test_a_long_inactive_series_counts_as_new() -> None:
    ingestion = Ingestion(series=2)
    ingestion.take("a", "b")
    ingestion.now = NOW + 5 * DAY
    ingestion.take("c", "d")
    assert [letter.reason for letter in ingestion.take("a").dead_letters] == ["series_limit"]
    ingestion.now = NOW + 10 * DAY
    assert ingestion.take("a").dead_letters == []


def test_past_samples_count_against_the_limit_of_their_own_day() -> None:
    ingestion = Ingestion(series=3)
    ingestion.take("a", "b", "c")
    for days in range(4, 100, 3):
        assert ingestion.take(*(f"{days}-{pod}" for pod in range(3)), age=days * DAY).dead_letters == []
    assert len(ingestion.take(*(f"more-{pod}" for pod in range(9)), age=50 * DAY).dead_letters) == 9


def test_a_longer_window_keeps_series_active_longer() -> None:
    ingestion = Ingestion(series=2, window=timedelta(hours=100))
    ingestion.take("a", "b")
    ingestion.now = NOW + 5 * DAY
    assert len(ingestion.take("c").dead_letters) == 1
    ingestion.now = NOW + 6 * DAY
    assert ingestion.take("c").dead_letters == []


def test_long_inactive_series_are_forgotten() -> None:
    ingestion = Ingestion(series=1000)
    for day in range(60):
        ingestion.now = NOW + day * DAY
        ingestion.register.advance(ingestion.now.date())
        ingestion.take(*(f"{day}-{pod}" for pod in range(5)), service=f"service-{day % 20}")
    scopes = ingestion.register._scopes  # pyright: ignore[reportPrivateUsage]
    kept = sum(len(activity.last) for (limit, _), activity in scopes.items() if limit is Limit.SERIES)
    assert kept == 5 * (REMEMBERED // DAY + 2)
    assert ingestion.register.missing(["service-0", "service-19"]) == {"service-0", "service-19"}


async def test_a_reached_limit_is_logged_counted_and_reported_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = 1000.0
    monkeypatch.setattr(limit_reports, "monotonic", lambda: seconds)
    ingestion, reports = Ingestion(series=1), LimitReports()

    def refused_count() -> float:
        labels = {"limit": "series"}
        return REGISTRY.get_sample_value("predictive_scaling_ingest_series_limit_refused_total", labels) or 0.0

    before = refused_count()
    assert (await examine([reports.check()])).status is Health.HEALTHY
    with capture_logs() as logs:
        for _ in range(3):
            reports.report(ingestion.take("a", "b", "c").refused, ingestion.register)
            reports.show_usage(ingestion.register, ingestion.now.date(), changed=True)
    assert refused_count() - before == 6
    events = [entry for entry in logs if entry["event"] == "series_limit_reached"]
    assert [(entry["limit"], entry["service"], entry["allowed"], entry["log_level"]) for entry in events] == [
        ("series", "checkout", 1, "error")
    ]
    usage = REGISTRY.get_sample_value("predictive_scaling_ingest_series_limit_usage_ratio", {"limit": "series"})
    assert usage == 1.0
    report = await examine([reports.check()])
    assert (report.status, report.http_status) == (Health.DEGRADED, 200)
    message = report.checks["limits"].message or ""
    assert message.startswith("service checkout has 1 active series")
    assert "PREDICTIVE_SCALING_MAX_SERIES_PER_SERVICE" in message
    seconds += limit_reports.SHOWN_SECONDS
    assert (await examine([reports.check()])).status is Health.HEALTHY


def test_usage_is_shown_after_a_start_although_no_series_becomes_active(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 1000.0
    monkeypatch.setattr(limit_reports, "monotonic", lambda: seconds)
    labels = {"limit": "services"}

    def usage() -> float | None:
        return REGISTRY.get_sample_value("predictive_scaling_ingest_series_limit_usage_ratio", labels)

    ingestion, reports = Ingestion(services=4), LimitReports()
    ingestion.take("a")
    reports.show_usage(ingestion.register, ingestion.now.date(), changed=False)
    assert usage() == 0.25
    LIMIT_USAGE.labels("services").set(0.0)
    reports.show_usage(ingestion.register, ingestion.now.date(), changed=False)
    assert usage() == 0.0
    seconds += limit_reports.USAGE_SECONDS
    reports.show_usage(ingestion.register, ingestion.now.date(), changed=False)
    assert usage() == 0.25
