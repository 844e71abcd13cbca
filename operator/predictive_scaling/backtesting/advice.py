"""What the HPA beside a policy could be set to: with a floor that looks ahead it may run hotter."""

from dataclasses import dataclass

import numpy as np

from forecasting.frontier import as_safe
from predictive_scaling.backtesting.outcomes import Field, Outcome

_HOTTEST = 0.95
_WORTH_SAYING = 0.005


@dataclass(frozen=True, slots=True)
class Advice:
    """hpa_target: the one that is advised, or the present one. saved: share of replica-hours. message: in words."""

    quantile: float
    hpa_target: float
    saved: float
    message: str


def advise(field: Field, alone: Outcome) -> Advice:
    """The target that costs least while the policy is short for no longer than the HPA alone is today."""
    setting = field.setting
    quantile, target = setting.policy.spec.forecast.effective_quantile, setting.hpa_target
    hotter = np.round(np.arange(target, max(_HOTTEST, target) + 0.001, 0.01), 2)
    points = field.frontier((quantile,), (target, *map(float, hotter[hotter > target])))
    found, present = as_safe(points, alone.minutes), points[0]
    saved = 1 - found.replica_hours / present.replica_hours if found and present.replica_hours else 0.0
    if found is None:
        message = (
            f"with this policy replicas are too few for {_share(present.under_provisioned_share)} of the time, with "
            f"the HPA alone for {_share(alone.under_provisioned_share)}; a higher quantile or a lower target buys more"
        )
        return Advice(quantile, target, 0.0, message)
    if found.hpa_target <= target or saved < _WORTH_SAYING:
        message = (
            f"the HPA's target of {100 * target:.0f} % is right: a hotter one saves nothing that is worth its risk"
        )
        return Advice(quantile, target, 0.0, message)
    message = (
        f"with this policy the HPA's target may go from {100 * target:.0f} % to {100 * found.hpa_target:.0f} %: "
        f"{100 * saved:.0f} % fewer replica-hours at no more risk than the HPA alone has today"
    )
    return Advice(quantile, found.hpa_target, saved, message)


def _share(share: float) -> str:
    return f"{100 * share:.2f} %"
