"""A policy and what it stands beside, for a simulation."""

from dataclasses import dataclass
from datetime import timedelta

from forecasting.scaling.simulation import AutoscalerRules
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.simulation.workload import STEP


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a simulation is of.

    per_replica: demand that one serves at 100 %. hpa_target: what the HPA aims at, a fraction.
    """

    policy: ScalingPolicy
    events: tuple[BusinessEvent, ...]
    per_replica: float
    hpa_target: float
    lead_time: timedelta

    @property
    def rules(self) -> AutoscalerRules:
        """The HPA beside the policy."""
        replicas = self.policy.spec.replicas
        return AutoscalerRules(
            target=self.hpa_target,
            start_steps=round(self.lead_time / STEP),
            maximum=replicas.max,
            minimum=max(1, replicas.min),
        )
