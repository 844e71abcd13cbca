"""Models for the series that policies scale by: trained in child processes, taken up without a restart."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from forecasting.drift import Drift, drift
from predictive_scaling.clock import Clock
from predictive_scaling.control.children import run_child
from predictive_scaling.control.demand_window import DemandWindow
from predictive_scaling.control.events import Events, Happened
from predictive_scaling.control.state import PolicyState, States
from predictive_scaling.handlers.inventory import Inventory
from predictive_scaling.training.event_types import PastEvents, event_types
from predictive_scaling.training.manifest import Manifest
from predictive_scaling.training.reload import ReloadReport
from predictive_scaling.training.series_keys import SeriesKey
from predictive_scaling.training.triggers import Standing, Terms, Trigger, trigger

log = structlog.get_logger(__name__)

_PATIENCE_SECONDS = 900.0


class Shelf(Protocol):
    """The part of training.reload.ModelShelf that is used here."""

    async def refresh(self) -> ReloadReport:
        """Take up what was published since the last call."""
        ...

    def models(self) -> Mapping[SeriesKey, Manifest]:
        """What is in use."""
        ...

    def turned_back(self) -> Mapping[SeriesKey, datetime]:
        """The series whose model in use is one that a person went back to, and when."""
        ...


Train = Callable[[SeriesKey, bool], Awaitable[bool]]
"""Trains a series, whose zeros are demand or not, and says whether a version was published."""


async def train_in_child(key: SeriesKey, zero_is_valid: bool) -> bool:
    """`predictive-scaling train`, below our priority; killed when it takes too long or we end."""
    chosen = ["--service", key.service, "--metric", key.metric, "--aggregation", key.aggregation, "--output", "json"]
    zero = ["--zero-is-valid"] if zero_is_valid else []
    ended = await run_child(["predictive_scaling", "train", *chosen, *zero], patience_seconds=_PATIENCE_SECONDS)
    if ended.exit_code:
        log.info("training_failed", series=str(key), exit_code=ended.exit_code, message=ended.complaint)
    return ended.exit_code == 0


@dataclass(slots=True)
class ModelDesk:
    """Keeps models coming. Trainings run one at a time, below the operator's own priority.

    When a series is trained, and why, is for training.triggers to say; here is what it goes by.
    """

    shelf: Shelf
    window: DemandWindow
    states: States
    inventory: Inventory
    events: Events
    past: PastEvents
    clock: Clock
    interval: timedelta
    trains: bool
    """Whether trainings are started here; otherwise models come from elsewhere, and are only taken up."""
    span: timedelta = timedelta(days=60)
    """What trainings learn from: business events within it count as seen."""
    train: Train = field(default=train_in_child)
    _tried: dict[SeriesKey, datetime] = field(default_factory=dict[SeriesKey, datetime])
    _drifts: dict[SeriesKey, tuple[str, datetime, Drift | None]] = field(
        default_factory=dict[SeriesKey, tuple[str, datetime, Drift | None]]
    )

    async def turn(self) -> None:
        """Train the series that needs it most, if any does, and take up what came of it."""
        wanted = await self._most_wanted() if self.trains else None
        if wanted is None:
            return
        key, why = wanted
        log.info("training_started", series=str(key), cause=why.cause, evidence=why.evidence)
        self._tried[key] = self.clock.now()
        valid = any(need.policy.spec.demand.zero_is_valid for need in self.states.needs() if need.series == key)
        if await self.train(key, valid):
            await self.take_up()

    async def take_up(self) -> ReloadReport:
        """Load what is new in the models folder, and tell of it."""
        report = await self.shelf.refresh()
        for model in report.reloaded:
            log.info(
                "model_rolled_back" if model.turned_back_at else "model_promoted",
                series=str(model.key),
                version=model.version,
                verdict=model.verdict,
            )
            self._tell(model.key, Happened.MODEL_PROMOTED, f"{model.version}: {model.verdict}")
        for refused in report.rejected:
            log.warning("model_rejected", file=refused.file, reason=refused.reason)
            for key in self._series():
                if refused.file.startswith(key.slug):
                    self._tell(key, Happened.MODEL_REJECTED, f"{refused.file}: {refused.reason}")
        return report

    async def _most_wanted(self) -> tuple[SeriesKey, Trigger] | None:
        """The most urgent cause first, then the series whose last training is longest ago; None where none is due."""
        now, terms, models = self.clock.now(), Terms.of(self.interval), self.shelf.models()
        policies, turned_back = self._policies(), self.shelf.turned_back()
        past = await self.past.between(now - self.span, now) if policies else ()
        due: list[tuple[int, datetime, SeriesKey, Trigger]] = []
        for key, states in policies.items():
            standing = Standing(
                now=now,
                observed=self.window.observed(key),
                model=models.get(key),
                tried_at=self._tried.get(key),
                turned_back_at=turned_back.get(key),
                mape=_least([state.accuracy.mape for state in states if state.accuracy is not None]),
                drift=self._drift(key, states, models.get(key), terms),
                event_types=event_types(past, [state.need.key for state in states if state.need is not None]),
            )
            if (why := trigger(standing, terms)) is not None:
                due.append((why.urgency, self._tried.get(key, _NEVER), key, why))
        return min(due, key=lambda one: one[:3])[2:] if due else None

    def _drift(
        self, key: SeriesKey, states: Sequence[PolicyState], model: Manifest | None, terms: Terms
    ) -> Drift | None:
        """Measured afresh only every now and then: it needs a week of demand."""
        now, known = self.clock.now(), self._drifts.get(key)
        if model is None or now - model.trained_until < terms.settling:
            return None
        if known is not None and known[0] == model.version and now - known[1] < terms.spacing:
            return known[2]
        valid = any(state.need is not None and state.need.policy.spec.demand.zero_is_valid for state in states)
        series = self.window.series(key, zero_is_valid=valid)
        found = drift(series, model.trained_until) if series is not None else None
        self._drifts[key] = (model.version, now, found)
        return found

    def _policies(self) -> dict[SeriesKey, list[PolicyState]]:
        """The states of the policies, by what they scale by."""
        found: dict[SeriesKey, list[PolicyState]] = {}
        for state in self.states.by_key().values():
            if state.need is not None:
                found.setdefault(state.need.series, []).append(state)
        for gone in self._drifts.keys() - found.keys():
            del self._drifts[gone]
        return found

    def _series(self) -> set[SeriesKey]:
        return {need.series for need in self.states.needs()}

    def _tell(self, key: SeriesKey, what: Happened, note: str) -> None:
        for need in self.states.needs():
            record = self.inventory.policy(need.key) if need.series == key else None
            if record is not None:
                self.events.about(record, what, note)


def _least(values: Sequence[float | None]) -> float | None:
    """Each policy looks at another lead time; the shortest one is nearest to what the gate judged."""
    return min((value for value in values if value is not None), default=None)


_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
