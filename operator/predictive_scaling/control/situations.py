"""The inputs of a decision about one policy in one tick; data that cannot be used cost only themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from forecasting.series import Outlier
from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.control import conflicts
from predictive_scaling.control.actuation.raise_holds import current_hold
from predictive_scaling.control.capacity import Observation
from predictive_scaling.control.current_forecasts import ForecastProvider, ForecastRequirement, series_key
from predictive_scaling.control.demand_window import DemandWindow
from predictive_scaling.control.guarded_reads import GuardedReads
from predictive_scaling.control.learning import Learning
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.series_suggestions import SeriesSuggestions
from predictive_scaling.control.target_claims import NO_CLAIMS, TargetClaims
from predictive_scaling.control.tuning_cache import TuningCache
from predictive_scaling.decision.events.active_occurrences import (
    KnownEvents,
    active_occurrences,
    known_events_for,
)
from predictive_scaling.decision.events.windows import EventWindow
from predictive_scaling.decision.inputs import Demand, Observed, Situation
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import Mode

_OUTLIERS_SHOWN = timedelta(hours=1)


@dataclass(slots=True)
class Tick:
    """What all reconciliations of one tick share."""

    now: datetime
    held: Mapping[tuple[str, str], PolicyKey]
    events: Mapping[str, Sequence[EventWindow]]
    """Occurrences around now, by namespace: the events of one namespace cost the policies of no other."""
    database_problem: str | None
    """Why the database is unavailable, and so no floor is lowered; None while it answers."""
    known_events: Mapping[str, Sequence[KnownEvents]] = field(default_factory=dict[str, Sequence[KnownEvents]])
    """What forecasts know of events, by namespace."""
    recovering: Mapping[str, str] = field(default_factory=dict[str, str])
    """Policies, by uid, whose unfinished decision is taken up first: why that was not possible yet."""
    claims: TargetClaims = NO_CLAIMS
    """All policies by their targets."""


@dataclass(frozen=True, slots=True)
class SituationReader:
    """Reads situations. All data are in memory: nothing here waits."""

    window: DemandWindow
    forecasts: ForecastProvider
    learning: Learning
    tunings: TuningCache
    metrics_max_age: timedelta
    suggestions: SeriesSuggestions

    def read(
        self,
        record: PolicyRecord,
        policy: ScalingPolicy,
        state: PolicyState,
        observed: Observed,
        tick: Tick,
        conflict: str | None,
    ) -> Situation:
        """Return the situation of a policy, and remember what its observation teaches and requires.

        conflict: the other party that controls the target, as a sentence; None without one. Data that cannot be used
        are left out, and named in forecast_failure.
        """
        if state.decision is None and state.written_status is not None:
            self.learning.restore(record, policy, observed, state.written_status)
        lead_time, attempts = self.learning.lead_time(policy, observed), GuardedReads(str(policy.key))
        namespace = record.key.namespace
        upcoming, known = tick.events.get(namespace, ()), tick.known_events.get(namespace, ())
        occurrences = attempts.of(
            lambda: active_occurrences(policy, upcoming, tick.now, lead_time, self.forecasts.margin + _further(policy)),
            (),
        )
        requirement = ForecastRequirement(
            policy, lead_time, occurrences, attempts.of(lambda: known_events_for(policy, known), ())
        )
        state.require(requirement if policy.spec.mode is not Mode.OFF else None)
        demand = attempts.of(lambda: self._newest_demand(policy), None)
        if conflict is None and demand is not None and tick.now - demand.at <= self.metrics_max_age:
            # Demand per replica is unknown while another party controls the target.
            observation = Observation(
                tick.now, demand.value, demand.at, observed.ready_replicas, observed.utilization, observed.template
            )
            self.learning.observe(record, policy, observed, observation)
        return Situation(
            now=tick.now,
            policy=policy,
            observed=observed,
            state=state.decision_state,
            current_forecast=attempts.of(lambda: self.forecasts.current(requirement, tick.now), None),
            demand=demand,
            events=attempts.of(lambda: self.forecasts.baselines(requirement, tick.now), ()),
            lead_time=lead_time,
            margin=self.forecasts.margin,
            metrics_max_age=self.metrics_max_age,
            per_replica=self.learning.per_replica(policy, observed),
            conflict=conflict,
            tuned=attempts.of(lambda: self.tunings.tuned(policy), None),
            raise_hold=current_hold(state, policy, observed),
            lost_floor=conflicts.lost_floor(observed, state) if policy.spec.mode is Mode.AUTO else None,
            outlier=attempts.of(lambda: self._outlier(policy, tick.now), None),
            suggestion=self.suggestions.suggestion(policy) if demand is None else None,
            forecast_failure=attempts.failure,
        )

    def _newest_demand(self, policy: ScalingPolicy) -> Demand | None:
        key = series_key(policy)
        newest = self.window.newest(key, zero_is_valid=policy.spec.demand.zero_is_valid)
        return newest or self.window.newest(key, zero_is_valid=True)

    def _outlier(self, policy: ScalingPolicy, now: datetime) -> Outlier | None:
        zero_is_valid = policy.spec.demand.zero_is_valid
        return self.window.outlier(series_key(policy), now - _OUTLIERS_SHOWN, zero_is_valid=zero_is_valid)


def _further(policy: ScalingPolicy) -> timedelta:
    """How much further ahead than the floor the node headroom covers."""
    return policy.spec.node_headroom.lead_time if policy.spec.node_headroom else timedelta()
