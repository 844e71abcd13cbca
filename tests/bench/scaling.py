"""What the forecasts do to scaling: the product's own backtest, tuned on the past only."""

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
"""Of the HPA beside the policy that is replayed: what `backtest` takes without a policy file."""


@dataclass(frozen=True, slots=True)
class SameHours:
    """The HPA alone at the replica-hours of a policy. target: chosen with hindsight, a fraction. hours: relative."""

    target: float
    short: float
    minutes: float
    hours: float


@dataclass(frozen=True, slots=True)
class Scaled:
    """One series. short, minutes, hours: by WAYS; same_hours: by POLICY_WAYS.

    hours: replica-hours relative to the HPA alone, whose own are alone_hours. frontier: as `backtest --output json`
    has it.
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
        """Times fewer minutes short than the HPA alone at the same replica-hours.

        1 where neither is short, infinite where only the policy never is.
        """
        own, other = self.minutes[way], self.same_hours[way].minutes
        if own > 0:
            return other / own
        return float("inf") if other > 0 else 1.0


def scaled(trace: Trace, refits: int, say: Say) -> Scaled | None:
    """None where a series is too short to be replayed."""
    say(f"{trace.name}: replaying the scaling")
    try:
        found = document(run(trace, default_policy(trace.name), (), Options(refits=refits), _silent))
    except InvalidTraceError as error:
        say(f"{trace.name}: no scaling, {error}")
        return None
    ways = found["simulation"]
    alone = ways["hpa_only"]["replica_hours"]
    return Scaled(
        short={way: ways[way]["under_provisioned_share"] for way in WAYS},
        minutes={way: ways[way]["under_provisioned_minutes"] for way in WAYS},
        hours={way: ways[way]["replica_hours"] / alone for way in WAYS},
        same_hours={way: _same_hours(ways[way]["hpa_at_same_hours"], alone) for way in POLICY_WAYS},
        alone_hours=alone,
        chosen={way: _setting(ways[way]) for way in WAYS if "hpa_target" in ways[way]},
        frontier=found["frontier"],
        model=found["model"]["chosen"],
    )


def _same_hours(found: dict[str, Any], alone: float) -> SameHours:
    return SameHours(
        target=found["hpa_target"],
        short=found["under_provisioned_share"],
        minutes=found["under_provisioned_minutes"],
        hours=found["replica_hours"] / alone,
    )


def _setting(way: dict[str, Any]) -> str:
    target = f"{100 * way['hpa_target']:.3g}%"
    return f"p{100 * way['quantile']:g} at {target}" if "quantile" in way else f"target {target}"


def _silent(what: str, done: float) -> None:
    """A line for each series is progress enough."""
