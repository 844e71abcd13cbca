"""The key metrics of the runbook with their thresholds, and their values from the metrics of the processes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

MIN_REQUESTS = 200
"""Fewer requests give no 99th percentile worth a look."""


class Level(StrEnum):
    """How a value compares with its thresholds."""

    GOOD = "good"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


class KeyMetric(msgspec.Struct, frozen=True):
    """A metric of the runbook's table with its present value, in the same unit as the thresholds. None: unknown.

    A threshold below which values are bad is one whose critical value is lower than the warning.
    """

    name: str
    value: float | None
    warning: float
    critical: float
    level: Level
    runbook: str
    """The section of the runbook."""


@dataclass(frozen=True, slots=True)
class Definition:
    """Name, thresholds (ratios, seconds, messages) and section of the runbook of a key metric."""

    name: str
    warning: float
    critical: float
    runbook: str

    def of(self, value: float | None) -> KeyMetric:
        """Return the metric with a value."""
        return KeyMetric(self.name, value, self.warning, self.critical, self._level(value), self.runbook)

    def _level(self, value: float | None) -> Level:
        if value is None:
            return Level.UNKNOWN
        sign = 1 if self.warning < self.critical else -1
        for level, threshold in ((Level.CRITICAL, self.critical), (Level.WARNING, self.warning)):
            if sign * value > sign * threshold:
                return level
        return Level.GOOD


MAPE = Definition("MAPE of the forecasts", 0.15, 0.25, "PoorPredictionAccuracy")
RESPONSE_TIME = Definition("99th percentile of the API's response time", 0.2, 0.5, "RB-005")
SUCCESS_RATE = Definition("scaling decisions that succeed", 0.95, 0.90, "RB-004")
LAG = Definition("consumer lag in messages", 1_000, 5_000, "RB-006")
CONNECTIONS = Definition("connections of a pool in use", 0.80, 0.95, "RB-002")


class ProcessMetrics:
    """The metrics of a process, from the text of its /metrics. Raises ValueError if it cannot be parsed."""

    def __init__(self, text: str) -> None:
        self._families = {family.name: family for family in text_string_to_metric_families(text)}

    def lag(self) -> float | None:
        """Return the messages that wait in Kafka; None without a consumer."""
        samples = self._samples("kafka_consumer_lag")
        return sum(sample.value for sample in samples) if samples else None

    def fullest_pool(self) -> float | None:
        """Return the used share of the fullest pool of connections."""
        used, limit = dict[str, float](), dict[str, float]()
        for sample in self._samples("predictive_scaling_database_connections"):
            purpose, state = sample.labels["purpose"], sample.labels["state"]
            {"in_use": used, "max": limit}.get(state, {})[purpose] = sample.value
        return max((used.get(purpose, 0) / most for purpose, most in limit.items() if most > 0), default=None)

    def response_time(self) -> float | None:
        """Return the 99th percentile of the response time in seconds since the start; None with few requests."""
        counts: dict[float, float] = {}
        for sample in self._samples("predictive_scaling_api_request_duration_seconds"):
            if sample.name.endswith("_bucket"):
                limit = float(sample.labels["le"])
                counts[limit] = counts.get(limit, 0) + sample.value
        return _quantile(sorted(counts.items()), 0.99)

    def _samples(self, name: str) -> Sequence[Sample]:
        family = self._families.get(name)
        return family.samples if family is not None else []


def _quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """Interpolate within the bucket, as Prometheus does. buckets: upper limits with cumulative counts, sorted."""
    total = buckets[-1][1] if buckets else 0
    if total < MIN_REQUESTS:
        return None
    lower, before = 0.0, 0.0
    for limit, count in buckets:
        if count >= share * total:
            position = (share * total - before) / (count - before)
            return lower if math.isinf(limit) else lower + (limit - lower) * position
        lower, before = limit, count
    return lower
