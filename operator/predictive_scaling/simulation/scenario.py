"""The scenario of a simulation: policy, events, capacity, lead time and HPA."""

from dataclasses import dataclass
from datetime import timedelta

from forecasting.scaling.simulation import AutoscalerRules
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.simulation.workload import STEP


@dataclass(frozen=True, slots=True)
class Scenario:
    """The scenario of a simulation.

    per_replica: demand that one replica serves at 100 % utilization. hpa_target: utilization target of the HPA, a
    fraction.
    """

    policy: ScalingPolicy
    events: tuple[BusinessEvent, ...]
    per_replica: float
    hpa_target: float
    lead_time: timedelta

    @property
    def rules(self) -> AutoscalerRules:
        """The rules of the HPA whose minimum the policy sets."""
        replicas = self.policy.spec.replicas
        return AutoscalerRules(
            target=self.hpa_target,
            start_steps=round(self.lead_time / STEP),
            maximum=replicas.max,
            minimum=max(1, replicas.min),
        )


def bounded(policy: ScalingPolicy, maximum: int | None) -> ScalingPolicy:
    """Return the policy with the lower of its own maximum and that of its target, but at least 1 (semantics 25).

    As live, a minimum above the target's maximum is lowered to it.
    """
    bounds = policy.spec.replicas
    if maximum is None or maximum >= bounds.max:
        return policy
    limit = max(maximum, 1)
    lower = bounds.model_copy(update={"min": min(bounds.min, limit), "max": limit})
    return policy.model_copy(update={"spec": policy.spec.model_copy(update={"replicas": lower})})
