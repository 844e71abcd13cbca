"""The newest tuning of each policy, in memory, for reconciliations."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from forecasting.scaling.frontier import Point, Prices, at_target
from forecasting.scaling.tuner import TunerState, update
from predictive_scaling.clock import Clock
from predictive_scaling.decision.formatting import quantile_name
from predictive_scaling.decision.inputs import Observed, Tuned
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.statuses import Advice
from predictive_scaling.storage.tunings import TuningRow
from predictive_scaling.tuning.task import prices_of

log = structlog.get_logger(__name__)

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TunedQuantile:
    """Result of the last study of a policy.

    span: the days that were looked back on. prices: None where the policy stated a quantile. points: over quantiles, at
    the target of then; for new prices. advised: a target.
    """

    tuned_at: datetime
    span: timedelta
    hpa_target: float
    prices: Prices | None
    held: TunerState | None
    points: tuple[Point, ...]
    quantile: float
    advised: float
    hours_saved: float
    message: str
    is_stale: bool = False
    """The policy's prices changed since."""

    @classmethod
    def of(cls, row: TuningRow) -> "TunedQuantile":
        """As the table has it."""
        priced = row.under_provisioned_minute is not None and row.replica_hour is not None
        points = [Point(*map(float, point)) for point in row.points]
        return cls(
            tuned_at=row.tuned_at,
            span=row.until - row.since,
            hpa_target=row.hpa_target,
            prices=Prices(row.under_provisioned_minute or 0.0, row.replica_hour or 0.0) if priced else None,
            held=TunerState(row.quantile, row.moved_at, row.rising, row.turns) if row.moved_at is not None else None,
            points=tuple(at_target(points, row.hpa_target)),
            quantile=row.quantile,
            advised=row.advised_target,
            hours_saved=row.hours_saved,
            message=row.message,
        )

    @property
    def why(self) -> str:
        """Reason for the quantile, to follow its name."""
        if self.prices is None:
            return ""
        days = max(1, round(self.span / _DAY))
        span = f"{days} days" if days > 1 else "day"
        minute, hour = self.prices.under_provisioned_minute, self.prices.replica_hour
        return f"chosen for underProvisionedMinute {minute:g} and replicaHour {hour:g} over the last {span}"

    @property
    def advice(self) -> Advice:
        """For the status."""
        chosen = f"{quantile_name(self.quantile)}, {self.why}; " if self.why else ""
        return Advice(
            quantile=self.quantile,
            target_utilization=round(100 * self.advised),
            replica_hours_saved=round(max(0.0, self.hours_saved), 1),
            message=f"{chosen}{self.message}",
        )

    def priced(self, prices: Prices, now: datetime) -> "TunedQuantile":
        """Return the same study at other prices; the tuner's state for the old prices is dropped."""
        held = update(None, self.points, prices, now)
        return replace(self, prices=prices, held=held, quantile=held.quantile, is_stale=True)


Moved = Callable[[PolicyKey, float | None, TunedQuantile], None]
"""Called with a policy, its previous quantile (None: the first) and the new choice."""


@dataclass(slots=True)
class TuningCache:
    """All policies'."""

    clock: Clock
    moved: list[Moved] = field(default_factory=list[Moved])
    _known: dict[PolicyKey, TunedQuantile] = field(default_factory=dict[PolicyKey, TunedQuantile])

    def tuned(self, policy: ScalingPolicy) -> Tuned | None:
        """The quantile of a policy with an objective at its current prices; None before its first study."""
        prices, tuned = prices_of(policy.spec), self._known.get(policy.key)
        if prices is None or tuned is None or not tuned.points:
            return None
        if tuned.prices != prices:
            tuned = tuned.priced(prices, self.clock.now())
            self.put(policy.key, tuned)
        return Tuned(tuned.quantile, tuned.why)

    def advice(self, policy: ScalingPolicy, observed: Observed) -> Advice | None:
        """Return the advice for the status; None while the study is for other prices or another target."""
        tuned = self._known.get(policy.key)
        if tuned is None or tuned.is_stale or tuned.prices != prices_of(policy.spec):
            return None
        if abs(tuned.hpa_target - target_of(policy, observed)) > 1e-9:
            return None
        return tuned.advice

    def get(self, key: PolicyKey) -> TunedQuantile | None:
        """Return the newest study of a policy."""
        return self._known.get(key)

    def put(self, key: PolicyKey, choice: TunedQuantile) -> None:
        """Store a newer result and notify about a changed quantile."""
        before = self._known.get(key)
        was = before.quantile if before is not None and before.prices is not None else None
        self._known[key] = choice
        if choice.prices is not None and choice.quantile != was:
            log.info("quantile_tuned", policy=str(key), before=was, after=choice.quantile, why=choice.why)
            for notify in self.moved:
                notify(key, was, choice)

    def load(self, rows: Collection[TuningRow]) -> None:
        """Load the rows of the table, without notifications."""
        for row in rows:
            self._known.setdefault(PolicyKey(row.namespace, row.policy), TunedQuantile.of(row))

    def forget(self, kept: Collection[PolicyKey]) -> list[PolicyKey]:
        """Drop deleted policies; return their keys."""
        gone = [key for key in self._known if key not in kept]
        for key in gone:
            del self._known[key]
        return gone


def target_of(policy: ScalingPolicy, observed: Observed) -> float:
    """Target utilization of the target's own autoscaler, as a fraction of a replica."""
    return observed.target_utilization or policy.spec.demand.target_utilization / 100
