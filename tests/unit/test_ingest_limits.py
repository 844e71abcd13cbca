"""How many services, metrics and series may be active at a time, and what is said when that is too many."""

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
from predictive_scaling.ingest.series_register import REMEMBERED, Limit, SeriesLimits, SeriesRegister
from predictive_scaling.telemetry.checks import Health, examine

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Taking:
    """Samples that come in, at a time that moves."""

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


def test_pods_of_earlier_rollouts_take_no_place() -> None:
    taking = Taking(series=10)
    for rollout in range(200):
        taking.now = NOW + rollout * DAY
        assert taking.take(*(f"{rollout}-{pod}" for pod in range(3))).dead_letters == []
        taking.register.advance(taking.now.date())


def test_a_service_beyond_the_limit_is_a_dead_letter_that_says_so() -> None:
    taking = Taking(services=2)
    taking.take("a", service="one")
    taking.take("a", service="two")
    batch = taking.take("a", service="three")
    assert [(letter.reason, batch.refused) for letter in batch.dead_letters] == [
        ("service_limit", [(Limit.SERVICES, "three")])
    ]
    assert "2 services that were active within 2 days, the limit; service three would exceed it" in (
        batch.dead_letters[0].detail
    )
    assert taking.take("b", service="one").dead_letters == []
    taking.now += 4 * DAY
    assert taking.take("a", service="three").dead_letters == []


def test_a_metric_beyond_the_limit_of_its_service_is_a_dead_letter_that_says_so() -> None:
    taking = Taking(metrics=2)
    for metric in ("cpu", "memory"):
        taking.take("a", metric=metric)
    batch = taking.take("a", metric="latency")
    assert [letter.reason for letter in batch.dead_letters] == ["metric_limit"]
    assert taking.take("a", metric="latency", service="cart").dead_letters == []


def test_what_is_active_goes_on_while_new_series_come_without_end() -> None:
    taking = Taking(series=4)
    old = ["a", "b", "c", "d"]
    taking.take(*old)
    for hour in range(1, 24 * 10):
        taking.now = NOW + timedelta(hours=hour)
        assert len(taking.take(*old, *(f"{hour}-{pod}" for pod in range(50))).dead_letters) == 50
        taking.register.advance(taking.now.date())


def test_a_series_that_rested_for_long_comes_back_as_a_new_one() -> None:
    taking = Taking(series=2)
    taking.take("a", "b")
    taking.now = NOW + 5 * DAY
    taking.take("c", "d")
    assert [letter.reason for letter in taking.take("a").dead_letters] == ["series_limit"]
    taking.now = NOW + 10 * DAY
    assert taking.take("a").dead_letters == []


def test_samples_of_the_past_count_among_the_series_of_their_own_days() -> None:
    taking = Taking(series=3)
    taking.take("a", "b", "c")
    for days in range(4, 100, 3):
        assert taking.take(*(f"{days}-{pod}" for pod in range(3)), age=days * DAY).dead_letters == []
    assert len(taking.take(*(f"more-{pod}" for pod in range(9)), age=50 * DAY).dead_letters) == 9


def test_a_longer_window_counts_longer() -> None:
    taking = Taking(series=2, window=timedelta(hours=100))
    taking.take("a", "b")
    taking.now = NOW + 5 * DAY
    assert len(taking.take("c").dead_letters) == 1
    taking.now = NOW + 6 * DAY
    assert taking.take("c").dead_letters == []


def test_what_is_long_inactive_is_forgotten() -> None:
    taking = Taking(series=1000)
    for day in range(60):
        taking.now = NOW + day * DAY
        taking.register.advance(taking.now.date())
        taking.take(*(f"{day}-{pod}" for pod in range(5)), service=f"service-{day % 20}")
    kept = sum(len(activity.last) for (limit, _), activity in taking.register._scopes.items() if limit is Limit.SERIES)  # pyright: ignore[reportPrivateUsage]
    assert kept == 5 * (REMEMBERED // DAY + 2)
    assert taking.register.missing(["service-0", "service-19"]) == {"service-0", "service-19"}


async def test_a_limit_that_is_reached_is_logged_counted_and_shown_until_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = 1000.0
    monkeypatch.setattr(limit_reports, "monotonic", lambda: seconds)
    taking, reports = Taking(series=1), LimitReports()

    def refused() -> float:
        labels = {"limit": "series"}
        return REGISTRY.get_sample_value("predictive_scaling_ingest_series_limit_refused_total", labels) or 0.0

    before = refused()
    assert (await examine([reports.check()])).status is Health.HEALTHY
    with capture_logs() as logs:
        for _ in range(3):
            reports.report(taking.take("a", "b", "c").refused, taking.register)
            reports.show_usage(taking.register, taking.now.date())
    assert refused() - before == 6
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
