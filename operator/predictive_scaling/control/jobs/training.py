"""Models for the series that policies scale by: trained in child processes, taken up without a restart."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from forecasting.quality.drift import Drift, drift
from predictive_scaling.clock import Clock, has_elapsed
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.cluster.kubernetes_events import EventReason, KubernetesEvents
from predictive_scaling.control.demand_window import DemandWindow
from predictive_scaling.control.jobs.subprocesses import run_child
from predictive_scaling.control.namespace_turns import NamespaceTurns
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.decision.forecast_context import forecast_context
from predictive_scaling.models.manifest import Manifest
from predictive_scaling.resources.series_key import SHARED, SeriesKey
from predictive_scaling.serving.model_store import ReloadReport
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.training.demand_history import PastEvents, event_types
from predictive_scaling.training.reporting import Exit
from predictive_scaling.training.triggers import RetrainPolicy, SeriesState, Trigger, trigger

log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS = 900.0


class Models(Protocol):
    """The part of serving.model_store.ModelStore that is used here."""

    async def refresh(self) -> ReloadReport:
        """Take up what was published since the last call."""
        ...

    def models(self) -> Mapping[SeriesKey, Manifest]:
        """What is in use."""
        ...

    def rolled_back(self) -> Mapping[SeriesKey, datetime]:
        """Return the series whose model a person rolled back, and when."""
        ...


Train = Callable[[SeriesKey, bool], Awaitable[bool]]
"""Trains a series and returns whether a version was published or refused. The flag: whether zeros are valid."""


async def train_in_child(key: SeriesKey, zero_is_valid: bool) -> bool:
    """Run `predictive-scaling train` at low priority; it is killed after a timeout and when the operator ends."""
    series = ["--service", key.service, "--metric", key.metric, "--aggregation", key.aggregation]
    selection = ["--shared-only"] if key == SHARED else series
    zero = ["--zero-is-valid"] if zero_is_valid else []
    command = ["predictive_scaling", "train", *selection, "--output", "json", *zero]
    ended = await run_child(command, timeout_seconds=_TIMEOUT_SECONDS)
    if ended.exit_code not in (Exit.GOOD, Exit.REFUSED):
        log.info("training_failed", series=str(key), exit_code=ended.exit_code, message=ended.stderr_tail)
    return ended.exit_code in (Exit.GOOD, Exit.REFUSED)


@dataclass(slots=True)
class TrainingScheduler:
    """Starts trainings, one at a time and at a lower priority than the operator.

    The rules are in training.triggers; this class collects their inputs.
    """

    store: Models
    window: DemandWindow
    states: PolicyStates
    cache: InformerCache
    events: KubernetesEvents
    past: PastEvents
    clock: Clock
    interval: timedelta
    trains: bool
    """Whether trainings are started here; otherwise models are only reloaded."""
    span: timedelta = timedelta(days=60)
    """Length of the history that trainings use; business events within it count as learned from."""
    train: Train = field(default=train_in_child)
    _turns: NamespaceTurns = field(default_factory=NamespaceTurns)
    _tried: dict[SeriesKey, datetime] = field(default_factory=dict[SeriesKey, datetime])
    _drifts: dict[SeriesKey, tuple[str, datetime, Drift | None]] = field(
        default_factory=dict[SeriesKey, tuple[str, datetime, Drift | None]]
    )

    async def run(self) -> None:
        """Train the most urgent series, if any, and load the result."""
        most_urgent = await self._most_urgent() if self.trains else None
        if most_urgent is None:
            return
        key, why = most_urgent
        log.info("training_started", series=str(key), cause=why.cause, evidence=why.evidence)
        self._tried[key] = self.clock.now()
        if await self.train(key, self._zero_is_valid(key)):
            await self.reload()

    async def reload(self) -> ReloadReport:
        """Load new models and emit Events about them."""
        report = await self.store.refresh()
        for model in report.reloaded:
            back, serves = model.rolled_back_at is not None, model.passed
            event = "model_rolled_back" if back else "model_promoted" if serves else "model_not_promoted"
            log.info(event, series=str(model.key), version=model.version, verdict=model.verdict)
            what = EventReason.MODEL_PROMOTED if back or serves else EventReason.MODEL_REJECTED
            self._emit(model.key, what, f"{model.version}: {model.verdict}")
        for refused in report.rejected:
            log.warning("model_rejected", file=refused.file, reason=refused.reason)
            for key in self._series():
                if refused.file.startswith(key.slug):
                    self._emit(key, EventReason.MODEL_REJECTED, f"{refused.file}: {refused.reason}")
        return report

    async def _most_urgent(self) -> tuple[SeriesKey, Trigger] | None:
        """Return the series to train next; None where none is due.

        Namespaces take turns. Of each, the most urgent cause comes first, then the series whose last training is
        longest ago. The shared model is trained before a series that is no more urgent.
        """
        now, terms, models = self.clock.now(), RetrainPolicy.of(self.interval), self.store.models()
        # A time in the future is from before the clock was stepped back; waiting for it would take as long as the step.
        self._tried = {key: at for key, at in self._tried.items() if at <= now}
        policies, rolled_back = self._policies(), self.store.rolled_back()
        occurrences = await self.past.between(now - self.span, now) if policies else ()
        due: list[tuple[int, datetime, SeriesKey, Trigger]] = []
        for key, states in policies.items():
            try:
                why = self._trigger_for(key, states, models.get(key), rolled_back.get(key), occurrences, terms)
            except Exception:  # a failure of one series affects no other
                log.exception("training_not_judged", series=str(key))
                continue
            if why is not None:
                due.append((why.urgency, self._tried.get(key, _NEVER), key, why))
        due.sort(key=lambda candidate: candidate[:3])
        offers = [
            (namespace, candidate)
            for candidate in due
            for namespace in {state.requirement.key.namespace for state in policies[candidate[2]] if state.requirement}
        ]
        namespace, first = next(iter(self._turns.order(offers, lambda offer: offer[0])), ("", None))
        shared = self._shared_trigger(policies, terms)
        if shared is not None:
            candidate = (shared.urgency - 1, self._tried.get(SHARED, _NEVER), SHARED, shared)
            if first is None or candidate[:3] < first[:3]:
                return SHARED, shared
        if first is None:
            return None
        self._turns.take((namespace,))
        return first[2:]

    def _trigger_for(
        self,
        key: SeriesKey,
        states: Sequence[PolicyState],
        model: Manifest | None,
        rolled_back_at: datetime | None,
        occurrences: Sequence[BusinessEventRow],
        terms: RetrainPolicy,
    ) -> Trigger | None:
        """Return why a series should be trained now; None if it should not."""
        series_state = SeriesState(
            now=self.clock.now(),
            observed=self.window.observed(key),
            model=model,
            attempted_at=self._tried.get(key),
            rolled_back_at=rolled_back_at,
            mape=_lowest([state.accuracy.mape for state in states if state.accuracy is not None]),
            drift=self._drift(key, states, model, terms),
            event_types=event_types(
                occurrences, [state.requirement.key for state in states if state.requirement is not None]
            ),
            calendars=frozenset(
                forecast_context(state.requirement.policy).calendar for state in states if state.requirement is not None
            ),
        )
        return trigger(series_state, terms)

    def _shared_trigger(self, series: Collection[SeriesKey], terms: RetrainPolicy) -> Trigger | None:
        """Return why the shared model should be trained: it is missing or too old. It takes two series."""
        if len(series) < 2:
            return None
        series_state = SeriesState(
            now=self.clock.now(),
            observed=max((self.window.observed(key) for key in series), default=timedelta()),
            model=self.store.models().get(SHARED),
            attempted_at=self._tried.get(SHARED),
            rolled_back_at=self.store.rolled_back().get(SHARED),
        )
        return trigger(series_state, terms)

    def _zero_is_valid(self, key: SeriesKey) -> bool:
        """Whether any of its policies has zeroIsValid; for the shared model, whether all do."""
        requirements = self.states.requirements()
        flags = [
            required.policy.spec.demand.zero_is_valid for required in requirements if key in (required.series, SHARED)
        ]
        return all(flags) if key == SHARED else any(flags)

    def _drift(
        self, key: SeriesKey, states: Sequence[PolicyState], model: Manifest | None, terms: RetrainPolicy
    ) -> Drift | None:
        """Return the drift of a series, measured at most once per `spacing`: it reads a week of demand."""
        now, last = self.clock.now(), self._drifts.get(key)
        if model is None or now - model.trained_until < terms.settling_time:
            return None
        if last is not None and last[0] == model.version and not has_elapsed(terms.spacing, last[1], now):
            return last[2]
        valid = any(
            state.requirement is not None and state.requirement.policy.spec.demand.zero_is_valid for state in states
        )
        series = self.window.series(key, zero_is_valid=valid)
        measured = drift(series, model.trained_until) if series is not None else None
        self._drifts[key] = (model.version, now, measured)
        return measured

    def _policies(self) -> dict[SeriesKey, list[PolicyState]]:
        """Return the states of the policies by their demand series."""
        states: dict[SeriesKey, list[PolicyState]] = {}
        for state in self.states.by_key().values():
            if state.requirement is not None:
                states.setdefault(state.requirement.series, []).append(state)
        for gone in self._drifts.keys() - states.keys():
            del self._drifts[gone]
        return states

    def _series(self) -> set[SeriesKey]:
        return {required.series for required in self.states.requirements()}

    def _emit(self, key: SeriesKey, what: EventReason, note: str) -> None:
        for required in self.states.requirements():
            record = self.cache.policy(required.key) if required.series == key else None
            if record is not None:
                self.events.emit(record, what, note)


def _lowest(values: Sequence[float | None]) -> float | None:
    """Return the lowest value; None without any. It belongs to the shortest lead time, which the gate judged by."""
    return min((value for value in values if value is not None), default=None)


_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
