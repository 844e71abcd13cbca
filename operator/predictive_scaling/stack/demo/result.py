"""build/demo/result.json, and whether the replay met its criteria."""

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from predictive_scaling.stack.demo.measure import DemoComparison, ForecastQuality, Performance
from predictive_scaling.stack.demo.same_hours import SimulatedHpa

MIN_SHORT_MINUTES = 10.0
"""A baseline that is hardly ever short of capacity proves nothing."""
MAX_RELATIVE_SHORT_MINUTES = 0.2
MAX_HOURS = 1.08


@dataclass(frozen=True, slots=True)
class LearnedMatch:
    """What earlier matches taught about a match, from the status of its BusinessEvent."""

    match: str
    kick_off: datetime
    multiplier: float
    low: float
    high: float
    """The multiplier with its 80 % range."""
    samples: int
    """The number of earlier matches."""


@dataclass(frozen=True, slots=True)
class Result:
    """The measurements of one replay."""

    trace: str
    minutes: int
    comparison: DemoComparison
    same_hours: SimulatedHpa
    decisions: int
    failed_decisions: int
    forecast: ForecastQuality
    learned: tuple[LearnedMatch, ...]
    """One for each match of the day, by kick-off."""

    def shortcomings(self) -> list[str]:
        """The criteria that the replay missed, a sentence each; empty when it met all."""
        hpa_only, predictive = self.comparison.hpa_only, self.comparison.predictive
        allowed = hpa_only.under_provisioned_minutes * MAX_RELATIVE_SHORT_MINUTES
        verdicts = {
            f"the HPA alone was short for {hpa_only.under_provisioned_minutes:.1f} minutes only, less than "
            f"{MIN_SHORT_MINUTES:g}": hpa_only.under_provisioned_minutes < MIN_SHORT_MINUTES,
            f"the predictive Deployment was short for {predictive.under_provisioned_minutes:.1f} minutes, more than a "
            f"fifth of the HPA's {hpa_only.under_provisioned_minutes:.1f}": predictive.under_provisioned_minutes
            > allowed,
            f"the predictive Deployment used {self.comparison.hours_ratio:.3f} times the replica-hours, more than "
            f"{MAX_HOURS:g}": self.comparison.hours_ratio > MAX_HOURS,
            "no effect of earlier matches was learned": not self.learned,
            "the operator made no decision": self.decisions == 0,
            f"{self.failed_decisions} of {self.decisions} decisions failed": self.failed_decisions > 0,
        }
        return [sentence for sentence, holds in verdicts.items() if holds]

    def as_json(self) -> dict[str, Any]:
        """The document that result.json holds."""
        return {
            "trace": self.trace,
            "minutes": self.minutes,
            "hpa_only": _performance(self.comparison.hpa_only),
            "predictive": _performance(self.comparison.predictive),
            "simulated_hpa_at_same_hours": {name: _rounded(value) for name, value in asdict(self.same_hours).items()},
            "decisions": self.decisions,
            "failed_decisions": self.failed_decisions,
            "forecast": {name: _rounded(value) for name, value in asdict(self.forecast).items()},
            "learned": [{**asdict(learned), "kick_off": learned.kick_off.isoformat()} for learned in self.learned],
        }

    def write(self, path: Path) -> None:
        """Write result.json."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self.as_json()), indent=2) + b"\n")


def _performance(performance: Performance) -> dict[str, float | None]:
    return {
        "under_provisioned_minutes": _rounded(performance.under_provisioned_minutes),
        "replica_hours": _rounded(performance.replica_hours),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
