"""A backtest for people at a terminal."""

import math
from collections.abc import Iterator
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from predictive_scaling.backtesting.run import Backtest
from predictive_scaling.simulation.outcomes import HpaOnly, Outcome


def summary(backtest: Backtest) -> Group:
    """What was replayed, how each way of scaling did, how good the forecasts were, and what to do about it."""
    return Group(*_parts(backtest))


def ways(backtest: Backtest) -> list[tuple[str, str, Outcome]]:
    """Every way of setting replicas with what it is, best known first."""
    comparison, scenario = backtest.comparison, backtest.scenario
    target, quantile = scenario.hpa_target, scenario.policy.spec.forecast.effective_quantile
    tuned, both = comparison.tuned, comparison.tuned_with_target
    return [
        ("HPA alone", f"target {_percent(target)}", comparison.hpa_only),
        ("HPA alone, tuned by the same prices", _target(comparison.hpa_tuned.target), comparison.hpa_tuned.outcome),
        ("yesterday as a floor", f"{_quantile(quantile)}, target {_percent(target)}", comparison.seasonal_naive),
        ("the policy as written", f"{_quantile(quantile)}, target {_percent(target)}", comparison.predictive),
        _at_same_hours(comparison.same_hours.predictive),
        ("the policy, tuned", f"{_quantile(tuned.quantile)}, target {_percent(target)}", tuned.outcome),
        _at_same_hours(comparison.same_hours.tuned),
        (
            "the policy and the HPA, tuned",
            f"{_quantile(both.quantile)}, target {_percent(both.hpa_target)}",
            both.outcome,
        ),
        _at_same_hours(comparison.same_hours.tuned_with_target),
        ("one who knows the future", f"target {_percent(target)}", comparison.oracle),
    ]


def gain(backtest: Backtest) -> str:
    """What the policy as written is worth, with its cost, in one sentence."""
    comparison = backtest.comparison
    hpa_only, predictive, same = comparison.hpa_only, comparison.predictive, comparison.same_hours.predictive
    return (
        f"{predictive.minutes:,.0f} minutes short with the policy at {relative_hours(backtest, predictive):.2f} of the "
        f"HPA's replica-hours; {hpa_only.minutes:,.0f} with the HPA alone, {same.outcome.minutes:,.0f} with the HPA at "
        f"the same hours ({_target(same.target)})"
    )


def relative_hours(backtest: Backtest, one: Outcome) -> float:
    """Replica-hours over those of the HPA alone, a ratio; 1 where that spent none."""
    hpa_only = backtest.comparison.hpa_only.replica_hours
    return one.replica_hours / hpa_only if hpa_only else 1.0


def heading(backtest: Backtest) -> str:
    """What was replayed, in one sentence."""
    series, scenario, forecasts = backtest.series, backtest.scenario, backtest.forecasts
    split = forecasts.moment(forecasts.plan.split)
    return (
        f"{series.name}: {len(series.values):,} bins of {series.step.total_seconds() / 60:g} min from "
        f"{series.start:%Y-%m-%d} to {series.end:%Y-%m-%d}; replayed from {split:%Y-%m-%d %H:%M} UTC with a lead time "
        f"of {scenario.lead_time.total_seconds() / 60:g} min, {scenario.per_replica:,.4g} a replica"
    )


def constants(backtest: Backtest) -> str:
    """What the numbers rest on besides the demand: whoever changes one of these gets others."""
    scenario = backtest.scenario
    fleet = (
        f"{scenario.per_replica:,.4g} a replica, as the policy says"
        if backtest.policy.spec.demand.per_replica
        else f"{scenario.per_replica:,.4g} a replica (so that the 99.9th percentile of the past needs 20 of them)"
    )
    width = backtest.demand_step.total_seconds() / 60
    return (
        f"a lead time of {scenario.lead_time.total_seconds() / 60:g} min, {fleet}, "
        f"and demand as a line between values {width:g} min apart"
    )


def _parts(backtest: Backtest) -> Iterator[Any]:
    yield Text(heading(backtest))
    for repair in backtest.trace.repairs:
        yield Text(f"note: {repair}", style="yellow")
    yield Text("")
    yield _scaling(backtest)
    yield Text(f"gain: {gain(backtest)}")
    yield Text(f"it rests on {constants(backtest)}")
    yield Text("")
    yield _accuracy(backtest)
    if undefined := undefined_values(backtest):
        yield Text(undefined)
    if backtest.near_events:
        yield Text(f"near known events: {near_events_summary(backtest)}")
    last = backtest.forecasts.chunks[-1]
    yield Text(f"\nmodel: {last.why if last.model in last.why else f'{last.model}, {last.why}'}")
    yield Text(f"advice: {backtest.advice.message}")


def _scaling(backtest: Backtest) -> Table:
    table = Table("WAY OF SCALING", "SETTING", box=None, pad_edge=False)
    for name in ("SHORT", "MINUTES", "DEMAND LOST", "REPLICA-HOURS", "OF HPA ALONE"):
        table.add_column(name, justify="right")
    for name, what, one in ways(backtest):
        table.add_row(
            name,
            what,
            f"{100 * one.under_provisioned_share:.2f} %",
            f"{one.minutes:,.0f}",
            f"{100 * one.lost_demand_share:.3f} %",
            f"{one.replica_hours:,.0f}",
            f"{relative_hours(backtest, one):.3f}",
        )
    return table


def _accuracy(backtest: Backtest) -> Table:
    table = Table("AHEAD", box=None, pad_edge=False)
    for name in ("WAPE", "LAST VALUE", "YESTERDAY", "MASE", "BELOW P50", "BELOW P80", "BELOW P90", "BELOW P95"):
        table.add_column(name, justify="right")
    step = backtest.series.step.total_seconds() / 60
    for bins, one in backtest.accuracy.items():
        table.add_row(
            f"{bins * step:g} min",
            *map(number, (one.wape, backtest.baselines["last_value"][bins])),
            *map(number, (backtest.baselines["seasonal_naive"][bins], one.mase)),
            *map(percent, one.coverage.values()),
        )
    return table


def near_events_summary(backtest: Backtest) -> str:
    """One sentence with the numbers of the farthest horizon of which there are any."""
    judged = [(bins, one) for bins, one in backtest.near_events.items() if one.judged]
    if not judged:
        return "none lies behind the split"
    bins, one = judged[-1]
    minutes = bins * backtest.series.step.total_seconds() / 60
    return (
        f"{minutes:g} minutes ahead WAPE {number(one.wape)}, {percent(one.coverage[0.9])} below p90, of {one.judged:,} "
        "forecasts"
    )


def undefined_values(backtest: Backtest) -> str | None:
    """Why the accuracy has dashes; None where it has none."""
    scores = [value for one in backtest.accuracy.values() for value in (one.wape, one.mase, *one.coverage.values())]
    if all(map(math.isfinite, scores)):
        return None
    return (
        "– is not defined: WAPE and coverage need demand behind the split, MASE needs demand before it that changes "
        "from one day to the next"
    )


def number(value: float) -> str:
    """To the thousandth; a dash for what is not defined."""
    return f"{value:.3f}" if math.isfinite(value) else "–"


def percent(ratio: float) -> str:
    """A ratio in percent; a dash for what is not defined."""
    return f"{100 * ratio:.1f} %" if math.isfinite(ratio) else "–"


def _at_same_hours(one: HpaOnly) -> tuple[str, str, Outcome]:
    """The row below a policy's: what its replica-hours are worth without it."""
    return "  HPA alone at the same hours", _target(one.target), one.outcome


def _target(target: float) -> str:
    return f"target {_percent(target)}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _quantile(quantile: float) -> str:
    return f"p{100 * quantile:.3g}"
