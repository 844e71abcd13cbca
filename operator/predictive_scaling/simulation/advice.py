"""Advice on the HPA target: with a predictive floor, a higher target may be as safe. Advice changes nothing itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.scaling.frontier import MIN_GAIN, Point, as_safe

_MAX_TARGET = 0.95
_MIN_SAVED = 0.005


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice for one policy.

    hpa_target: the advised target, or the current target. saved: saving as a share of replica-hours. hours_saved: the
    same saving in replica-hours. message: one sentence.
    """

    quantile: float
    hpa_target: float
    saved: float
    hours_saved: float
    message: str


def higher_targets(target: float) -> tuple[float, ...]:
    """Return the current target and all higher targets that may be advised, in steps of one percent."""
    steps = np.round(np.arange(target, max(_MAX_TARGET, target) + 0.001, 0.01), 2)
    return (target, *map(float, steps[steps > target]))


def advise(points: Sequence[Point], hpa_only: Point, advised_target: float | None = None) -> Advice:
    """Return the cheapest target at which the policy is short for no longer than the HPA alone is now.

    points: one quantile at each of the `higher_targets`, the current target first. advised_target: the previous advice;
    it stays while it is as safe and another target saves less than MIN_GAIN.
    """
    current, best = points[0], as_safe(points, hpa_only.minutes)
    previous = _at_target(points, advised_target)
    if best is not None and previous is not None and as_safe([previous], hpa_only.minutes) is not None:
        best = previous if previous.replica_hours <= best.replica_hours * (1 + MIN_GAIN) else best
    hours = current.replica_hours - best.replica_hours if best else 0.0
    saved = hours / current.replica_hours if current.replica_hours else 0.0
    if best is None:
        message = (
            f"with this policy replicas are too few for {_share(current.under_provisioned_share)} of the time, with "
            f"the HPA alone for {_share(hpa_only.under_provisioned_share)}; a higher quantile "
            "or a lower target is safer"
        )
        return Advice(current.quantile, current.hpa_target, 0.0, 0.0, message)
    if best.hpa_target <= current.hpa_target or saved < _MIN_SAVED:
        message = (
            f"keep the HPA's target of {100 * current.hpa_target:.0f} %: a higher target saves too little for its risk"
        )
        return Advice(current.quantile, current.hpa_target, 0.0, 0.0, message)
    message = (
        f"with this policy the HPA's target can be raised from {100 * current.hpa_target:.0f} % to "
        f"{100 * best.hpa_target:.0f} %: {100 * saved:.0f} % fewer replica-hours at no more risk than the HPA alone "
        "has now"
    )
    return Advice(current.quantile, best.hpa_target, saved, hours, message)


def _at_target(points: Sequence[Point], target: float | None) -> Point | None:
    return next((point for point in points if target is not None and abs(point.hpa_target - target) < 1e-9), None)


def _share(share: float) -> str:
    return f"{100 * share:.2f} %"
