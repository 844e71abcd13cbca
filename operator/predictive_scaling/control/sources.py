"""Between the loop's own terms and those of the rooms that it reads from and shows to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from predictive_scaling.control.reconciler import ReconcileOutcome
from predictive_scaling.external_metrics.values import ExternalMetricStore, Reading
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.vocabulary import Aggregation
from predictive_scaling.storage.demand import Demand, DemandKey


@dataclass(frozen=True, slots=True)
class RollupDemand:
    """The rollups as a source of the demand window."""

    demand: Demand

    async def minutes(
        self, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> dict[SeriesKey, npt.NDArray[np.float64]]:
        """The demand of each key in every minute of [since, until)."""
        requested = {DemandKey(key.service, key.metric, Aggregation(key.aggregation)): key for key in keys}
        demand = await self.demand.minutes(list(requested), since, until)
        return {requested[key]: values for key, values in demand.items()}


@dataclass(frozen=True, slots=True)
class ExternalMetricSink:
    """The board that external metrics are served from."""

    store: ExternalMetricStore

    def publish(self, policy: PolicyKey, visited: ReconcileOutcome, max_age: timedelta) -> None:
        """Replace the metrics of a policy. An untrusted zero is missing, not low demand."""
        situation, decision = visited.situation, visited.decision
        if situation is None or decision is None:
            return  # what was shown before becomes stale by itself
        seen, current_forecast = situation.demand, situation.current_forecast
        trusted = seen is not None and (seen.value > 0 or situation.policy.spec.demand.zero_is_valid)
        demand = Reading(seen.value, seen.at, seen.at + max_age) if seen is not None and trusted else None
        forecast = None
        if current_forecast is not None and decision.forecast_value is not None:
            forecast = Reading(decision.forecast_value, current_forecast.forecast.origin, current_forecast.valid_until)
        self.store.publish(policy.namespace, policy.name, situation.policy.service, demand=demand, forecast=forecast)

    def remove(self, policy: PolicyKey) -> None:
        """Show a policy no more."""
        self.store.forget(policy.namespace, policy.name)
