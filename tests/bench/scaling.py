"""What the forecasts do to scaling: the product's own backtest, tuned on the past only."""

from dataclasses import dataclass

from forecasting.series import Series
from predictive_scaling.backtesting.manifests import default_policy
from predictive_scaling.backtesting.recorded import Trace
from predictive_scaling.backtesting.result import document
from predictive_scaling.backtesting.run import Options, run
from predictive_scaling.errors import InvalidTraceError
from tests.bench.traces import Say

WAYS = ("hpa_only", "predictive", "tuned", "tuned_with_target", "clairvoyant")
PRESENT_TARGET = 0.7
"""Of the HPA beside the policy that is replayed: what `backtest` takes without a policy file."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """Of one series, by WAYS. hours: relative to the HPA alone, whose own are alone_hours. frontier: as `backtest
    --output json` has it.
    """

    short: dict[str, float]
    hours: dict[str, float]
    alone_hours: float
    chosen: dict[str, str]
    frontier: list[dict[str, float]]
    model: str


def scaled(series: Series, refits: int, say: Say) -> Scaled | None:
    """None where a series is too short to be replayed."""
    say(f"{series.name}: replaying the scaling")
    try:
        found = document(run(Trace(series), default_policy(series.name), (), Options(refits=refits), _silent))
    except InvalidTraceError as error:
        say(f"{series.name}: no scaling, {error}")
        return None
    ways = found["simulation"]
    alone = ways["hpa_only"]["replica_hours"]
    return Scaled(
        short={way: ways[way]["under_provisioned_share"] for way in WAYS},
        hours={way: ways[way]["replica_hours"] / alone for way in WAYS},
        alone_hours=alone,
        chosen={
            way: f"p{100 * ways[way]['quantile']:g} at {ways[way]['hpa_target']:.0%}"
            for way in WAYS
            if "quantile" in ways[way]
        },
        frontier=found["frontier"],
        model=found["model"]["chosen"],
    )


def _silent(what: str, done: float) -> None:
    """A line for each series is progress enough."""
