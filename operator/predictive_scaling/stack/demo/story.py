"""One replay, from its first observation to its verdict: what the report and the terminal tell."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from predictive_scaling.stack.demo.measure import Band, Observation
from predictive_scaling.stack.demo.result import Result
from predictive_scaling.stack.demo.scenario import DemoScenario

BIN = timedelta(minutes=5)
"""The bins of a forecast; it is drawn in their middle."""


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """One change that the operator decided, as its ScalingDecision says."""

    at: datetime
    before: int
    after: int
    source: str
    message: str
    status: str
    """snake_case, as in the HTTP API."""

    @property
    def ended_well(self) -> bool:
        """Overtaken by a newer decision is no failure: the newer one carries on from there."""
        return self.status in ("succeeded", "superseded")


@dataclass(frozen=True, slots=True)
class Story:
    """A replay that came to its end."""

    scenario: DemoScenario
    rate: float
    observations: tuple[Observation, ...]
    forecasts: tuple[tuple[datetime, Band], ...]
    """What was forecast 15 minutes ahead for the bin that begins at each time, in the order of time."""
    model: str
    """What made most of these forecasts; empty where there are none."""
    decisions: tuple[DecisionLine, ...]
    result: Result
