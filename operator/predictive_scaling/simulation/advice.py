"""What the HPA beside a policy could be set to: with a floor that looks ahead it may run hotter. Only advice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.scaling.frontier import MIN_GAIN, Point, as_safe

_MAX_TARGET = 0.95
_WORTH_SAYING = 0.005


@dataclass(frozen=True, slots=True)
class Advice:
    """hpa_target: the one that is advised, or the present one. saved: share of replica-hours. message: in words.

    hours_saved: the same in replica-hours.
    """

    quantile: float
    hpa_target: float
    saved: float
    hours_saved: float
    message: str


def hotter(target: float) -> tuple[float, ...]:
    """The present target and every one above it that may be advised, in steps of a percent."""
    steps = np.round(np.arange(target, max(_MAX_TARGET, target) + 0.001, 0.01), 2)
    return (target, *map(float, steps[steps > target]))


def advise(points: Sequence[Point], hpa_only: Point, state: float | None = None) -> Advice:
    """The target that costs least while the policy is short for no longer than the HPA alone is today.

    points: of one quantile at each target of `hotter`, the present one first. held: what was advised before; it stays
    while it is as safe and another saves no more than chance.
    """
    present, found = points[0], as_safe(points, hpa_only.minutes)
    before = next((point for point in points if state is not None and abs(point.hpa_target - state) < 1e-9), None)
    if found is not None and before is not None and as_safe([before], hpa_only.minutes) is not None:
        found = before if before.replica_hours <= found.replica_hours * (1 + MIN_GAIN) else found
    hours = present.replica_hours - found.replica_hours if found else 0.0
    saved = hours / present.replica_hours if present.replica_hours else 0.0
    if found is None:
        message = (
            f"with this policy replicas are too few for {_share(present.under_provisioned_share)} of the time, with "
            f"the HPA alone for {_share(hpa_only.under_provisioned_share)}; a higher quantile "
            "or a lower target buys more"
        )
        return Advice(present.quantile, present.hpa_target, 0.0, 0.0, message)
    if found.hpa_target <= present.hpa_target or saved < _WORTH_SAYING:
        message = (
            f"the HPA's target of {100 * present.hpa_target:.0f} % is right: a hotter one saves nothing that is worth "
            "its risk"
        )
        return Advice(present.quantile, present.hpa_target, 0.0, 0.0, message)
    message = (
        f"with this policy the HPA's target may go from {100 * present.hpa_target:.0f} % to "
        f"{100 * found.hpa_target:.0f} %: {100 * saved:.0f} % fewer replica-hours at no more risk than the HPA alone "
        "has today"
    )
    return Advice(present.quantile, found.hpa_target, saved, hours, message)


def _share(share: float) -> str:
    return f"{100 * share:.2f} %"
