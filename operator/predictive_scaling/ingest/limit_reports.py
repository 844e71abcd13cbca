"""Makes limits loud: counted, logged, and shown in /health for as long as something stays out."""

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
"""How long /health shows a limit after the last sample that it kept out, and how often the log repeats it."""
_SETTINGS = {
    Limit.SERVICES: "PREDICTIVE_SCALING_MAX_SERVICES",
    Limit.METRICS: "PREDICTIVE_SCALING_MAX_METRICS_PER_SERVICE",
    Limit.SERIES: "PREDICTIVE_SCALING_MAX_SERIES_PER_SERVICE",
}
_CAUSES = {
    Limit.SERVICES: "services that were active lately; the samples of a new one stay out",
    Limit.METRICS: "metrics that were active lately; the samples of a new one stay out",
    Limit.SERIES: "series that were active lately; the samples of a new one stay out",
}


@dataclass(slots=True)
class LimitReports:
    """What was refused lately, and for which services."""

    _refused_at: dict[Limit, tuple[float, str]] = field(default_factory=dict[Limit, tuple[float, str]])
    _logged_at: dict[Limit, float] = field(default_factory=dict[Limit, float])

    def show_usage(self, register: SeriesRegister, today: date) -> None:
        """After the register changed."""
        for limit, usage in register.usage(today).items():
            LIMIT_USAGE.labels(limit.value).set(usage)

    def report(self, refused: Iterable[tuple[Limit, str]], register: SeriesRegister) -> None:
        """After a batch: the limits that kept its samples out, each with the service of the sample."""
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
            of = "" if limit is Limit.SERVICES else f"service {service} has "
            self._refused_at[limit] = (now, f"{of}{allowed} {_CAUSES[limit]}; raise {_SETTINGS[limit]}")

    def check(self) -> Check:
        """Degraded while a limit keeps samples out."""

        async def probe() -> None:
            now = monotonic()
            shown = [message for at, message in self._refused_at.values() if now - at < SHOWN_SECONDS]
            if shown:
                raise Degraded("; ".join(shown))

        return Check("limits", probe, required=False)
