"""Reports reached limits: metrics, logs, and /health while samples are rejected."""

from collections import Counter as Counts
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

import structlog

from predictive_scaling.clock import monotonic
from predictive_scaling.ingest.metrics import LIMIT_REFUSED, LIMIT_USAGE
from predictive_scaling.ingest.series_register import Limit, SeriesRegister
from predictive_scaling.telemetry.checks import Check, Degraded

log = structlog.get_logger(__name__)

SHOWN_SECONDS = 600.0
"""Time that /health shows a limit after the last rejected sample, and the interval of its log messages."""
USAGE_SECONDS = 15.0
"""Interval of the usage gauges while no series becomes active: after a start, known series are loaded bit by bit."""
_SETTINGS = {
    Limit.SERVICES: "PREDICTIVE_SCALING_MAX_SERVICES",
    Limit.METRICS: "PREDICTIVE_SCALING_MAX_METRICS_PER_SERVICE",
    Limit.SERIES: "PREDICTIVE_SCALING_MAX_SERIES_PER_SERVICE",
}
_CAUSES = {
    Limit.SERVICES: "active services, the limit; samples of new services are rejected",
    Limit.METRICS: "active metrics, the limit; samples of new metrics are rejected",
    Limit.SERIES: "active series, the limit; samples of new series are rejected",
}


@dataclass(slots=True)
class LimitReports:
    """The recently reached limits and their services."""

    _refused_at: dict[Limit, tuple[float, str]] = field(default_factory=dict[Limit, tuple[float, str]])
    _logged_at: dict[Limit, float] = field(default_factory=dict[Limit, float])
    _usage_shown_at: float = -USAGE_SECONDS

    def show_usage(self, register: SeriesRegister, today: date, *, changed: bool) -> None:
        """Update the usage gauges after a batch: at once if it made series active, else once per interval."""
        now = monotonic()
        if not changed and now - self._usage_shown_at < USAGE_SECONDS:
            return
        self._usage_shown_at = now
        for limit, usage in register.usage(today).items():
            LIMIT_USAGE.labels(limit.value).set(usage)

    def report(self, refused: Iterable[tuple[Limit, str]], register: SeriesRegister) -> None:
        """Report the limits that rejected samples of a batch, each with the service of the sample."""
        for (limit, service), count in Counts(refused).items():
            LIMIT_REFUSED.labels(limit.value).inc(count)
            allowed, now = register.limits.of(limit), monotonic()
            if now - self._logged_at.get(limit, -SHOWN_SECONDS) >= SHOWN_SECONDS:
                self._logged_at[limit] = now
                log.error(
                    "series_limit_reached",
                    limit=limit.value,
                    service=service,
                    allowed=allowed,
                    refused=count,
                    setting=_SETTINGS[limit],
                )
            scope = "" if limit is Limit.SERVICES else f"service {service} has "
            self._refused_at[limit] = (now, f"{scope}{allowed} {_CAUSES[limit]}; raise {_SETTINGS[limit]}")

    def check(self) -> Check:
        """Return a check that is degraded while a limit rejects samples."""

        async def probe() -> None:
            now = monotonic()
            shown = [message for at, message in self._refused_at.values() if now - at < SHOWN_SECONDS]
            if shown:
                raise Degraded("; ".join(shown))

        return Check("limits", probe, required=False)
