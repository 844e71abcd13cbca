"""The effect of the forecasts on scaling: the product's backtest, tuned on the past only."""

from dataclasses import dataclass
from typing import Any

from predictive_scaling.backtesting.manifests import default_policy
from predictive_scaling.backtesting.reporting.document import document
from predictive_scaling.backtesting.run import Options, run
from predictive_scaling.backtesting.traces.recorded import Trace
from predictive_scaling.errors import InvalidTraceError
from tests.bench.traces import Say

POLICY_WAYS = ("predictive", "tuned", "tuned_with_target")
WAYS = ("hpa_only", "hpa_tuned", *POLICY_WAYS, "clairvoyant")
PRESENT_TARGET = 0.7
"""Target of the HPA that is simulated with the policy: the default of `backtest` without a policy file."""


@dataclass(frozen=True, slots=True)
class SameHours:
    """The HPA alone at the replica-hours of a policy. target: chosen with hindsight, a fraction. hours: relative."""

    target: float
    short: float
    minutes: float
    hours: float


@dataclass(frozen=True, slots=True)
class ScalingResult:
    """The results of one series. short, minutes, hours: by WAYS; same_hours: by POLICY_WAYS.

    hours: relative to the replica-hours of the HPA alone, which are alone_hours. frontier: as in
    `backtest --output json`.
    """

    short: dict[str, float]
    minutes: dict[str, float]
    hours: dict[str, float]
    same_hours: dict[str, SameHours]
    alone_hours: float
    chosen: dict[str, str]
    frontier: list[dict[str, float]]
    model: str

    def gain(self, way: str) -> float:
        """Return the minutes short of the HPA alone at the same replica-hours over those of the policy.

        1 if both have none, infinite if only the policy has none.
        """
        policy_minutes, hpa_minutes = self.minutes[way], self.same_hours[way].minutes
        if policy_minutes > 0:
            return hpa_minutes / policy_minutes
        return float("inf") if hpa_minutes > 0 else 1.0


def simulate_scaling(trace: Trace, refits: int, say: Say) -> ScalingResult | None:
    """Simulate a trace. Returns None if the series is too short."""
    say(f"{trace.name}: replaying the scaling")
    try:
        result = document(run(trace, default_policy(trace.name), (), Options(refits=refits), _silent))
    except InvalidTraceError as error:
        say(f"{trace.name}: no scaling, {error}")
        return None
    simulation = result["simulation"]
    alone = simulation["hpa_only"]["replica_hours"]
    return ScalingResult(
        short={way: simulation[way]["under_provisioned_share"] for way in WAYS},
        minutes={way: simulation[way]["under_provisioned_minutes"] for way in WAYS},
        hours={way: simulation[way]["replica_hours"] / alone for way in WAYS},
        same_hours={way: _same_hours(simulation[way]["hpa_at_same_hours"], alone) for way in POLICY_WAYS},
        alone_hours=alone,
        chosen={way: _setting(simulation[way]) for way in WAYS if "hpa_target" in simulation[way]},
        frontier=result["frontier"],
        model=result["model"]["chosen"],
    )


def _same_hours(outcome: dict[str, Any], alone: float) -> SameHours:
    return SameHours(
        target=outcome["hpa_target"],
        short=outcome["under_provisioned_share"],
        minutes=outcome["under_provisioned_minutes"],
        hours=outcome["replica_hours"] / alone,
    )


def _setting(way: dict[str, Any]) -> str:
    target = f"{100 * way['hpa_target']:.3g}%"
    return f"p{100 * way['quantile']:g} at {target}" if "quantile" in way else f"target {target}"


def _silent(what: str, done: float) -> None:
    """Ignore the progress within a series."""
