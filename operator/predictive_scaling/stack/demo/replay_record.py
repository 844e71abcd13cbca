"""The complete record of a replay, which the report and the terminal show."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from predictive_scaling.stack.demo.measure import Band, Observation
from predictive_scaling.stack.demo.result import Result
from predictive_scaling.stack.demo.scenario import DemoScenario

BIN = timedelta(minutes=5)
"""The bin width of a forecast; a point is drawn in the middle of its bin."""


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """A change of the floor, as its ScalingDecision records it."""

    at: datetime
    before: int
    after: int
    source: str
    message: str
    status: str
    """snake_case, as in the HTTP API."""

    @property
    def ended_well(self) -> bool:
        """A superseded decision is no failure: the newer decision replaces it."""
        return self.status in ("succeeded", "superseded")


@dataclass(frozen=True, slots=True)
class ReplayRecord:
    """A finished replay."""

    scenario: DemoScenario
    rate: float
    observations: tuple[Observation, ...]
    forecasts: tuple[tuple[datetime, Band], ...]
    """The forecast 15 minutes ahead for the bin that begins at each time, oldest first."""
    model: str
    """The model of most of these forecasts; empty where there are none."""
    decisions: tuple[DecisionLine, ...]
    result: Result
