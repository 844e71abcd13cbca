"""A backtest as text for a terminal."""

import math
from collections.abc import Iterator
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from predictive_scaling.backtesting.assumptions import Assumed
from predictive_scaling.backtesting.reporting.strategies import relative_hours, strategies, target_setting
from predictive_scaling.backtesting.run import Backtest


def summary(backtest: Backtest) -> Group:
    """Return the replayed trace, the outcome of each strategy, the accuracy of the forecasts, and the advice."""
    return Group(*_parts(backtest))


def gain(backtest: Backtest) -> str:
    """Return the gain of the policy as written, with its cost, in one sentence."""
    comparison = backtest.comparison
    hpa_only, predictive, same = comparison.hpa_only, comparison.predictive, comparison.same_hours.predictive
    return (
        f"{predictive.minutes:,.0f} minutes short with the policy at {relative_hours(backtest, predictive):.2f} of the "
        f"HPA's replica-hours; {hpa_only.minutes:,.0f} with the HPA alone, {same.outcome.minutes:,.0f} with the HPA at "
        f"the same hours ({target_setting(same.target)})"
    )


def heading(backtest: Backtest) -> str:
    """Return what was replayed, in one sentence."""
    series, scenario, forecasts = backtest.series, backtest.scenario, backtest.forecasts
    split = forecasts.moment(forecasts.plan.split)
    return (
        f"{series.name}: {len(series.values):,} bins of {series.step.total_seconds() / 60:g} min from "
        f"{series.start:%Y-%m-%d} to {series.end:%Y-%m-%d}; replayed from {split:%Y-%m-%d %H:%M} UTC with a lead time "
        f"of {scenario.lead_time.total_seconds() / 60:g} min, {scenario.per_replica:,.4g} a replica"
    )


def assumptions(backtest: Backtest) -> str:
    """Return the assumptions of the results besides the demand; other assumptions give other results."""
    lead_minutes = backtest.assumptions.lead_time.value.total_seconds() / 60
    assumed, width = backtest.assumptions, backtest.demand_step.total_seconds() / 60
    return (
        f"a lead time of {round(lead_minutes, 1):g} min{_source(assumed.lead_time)}, "
        f"a capacity of {assumed.per_replica.value:,.4g} per replica{_source(assumed.per_replica)}, "
        f"an HPA {target_setting(assumed.hpa_target.value)}{_source(assumed.hpa_target)}, "
        f"at most {assumed.maximum.value:,} replicas{_source(assumed.maximum)}, "
        f"and demand interpolated linearly between values {width:g} min apart"
    )


def _source(assumed: Assumed[Any]) -> str:
    return f" ({assumed.source})" if assumed.source else ""


def acting_model(backtest: Backtest) -> str:
    """Return the model that acts at the end of the trace, and why."""
    last = backtest.forecasts.chunks[-1]
    return last.why if last.model in last.why else f"{last.model}, {last.why}"


def _parts(backtest: Backtest) -> Iterator[Any]:
    yield Text(heading(backtest))
    for repair in backtest.trace.repairs:
        yield Text(f"note: {repair}", style="yellow")
    yield Text("")
    yield _scaling(backtest)
    yield Text(f"gain: {gain(backtest)}")
    yield Text(f"assumptions: {assumptions(backtest)}")
    yield Text("")
    yield _accuracy(backtest)
    if undefined := undefined_values(backtest):
        yield Text(undefined)
    if backtest.near_events:
        yield Text(f"near known events: {near_events_summary(backtest)}")
    yield Text(f"\nmodel: {acting_model(backtest)}")
    for line in indicators_summary(backtest):
        yield Text(f"leading indicators: {line}")
    yield Text(f"advice: {backtest.advice.message}")


def _scaling(backtest: Backtest) -> Table:
    table = Table("STRATEGY", "SETTING", box=None, pad_edge=False)
    for name in ("SHORT", "MINUTES", "DEMAND LOST", "REPLICA-HOURS", "OF HPA ALONE"):
        table.add_column(name, justify="right")
    for strategy in strategies(backtest):
        outcome = strategy.outcome
        table.add_row(
            strategy.name,
            strategy.setting,
            f"{100 * outcome.under_provisioned_share:.2f} %",
            f"{outcome.minutes:,.0f}",
            f"{100 * outcome.lost_demand_share:.3f} %",
            f"{outcome.replica_hours:,.0f}",
            f"{relative_hours(backtest, outcome):.3f}",
        )
    return table


def _accuracy(backtest: Backtest) -> Table:
    table = Table("AHEAD", box=None, pad_edge=False)
    for name in ("WAPE", "LAST VALUE", "YESTERDAY", "MASE", "BELOW P50", "BELOW P80", "BELOW P90", "BELOW P95"):
        table.add_column(name, justify="right")
    step = backtest.series.step.total_seconds() / 60
    for bins, accuracy in backtest.accuracy.items():
        table.add_row(
            f"{bins * step:g} min",
            *map(number, (accuracy.wape, backtest.baselines["last_value"][bins])),
            *map(number, (backtest.baselines["seasonal_naive"][bins], accuracy.mase)),
            *map(percent, accuracy.coverage.values()),
        )
    return table


def near_events_summary(backtest: Backtest) -> str:
    """Return one sentence with the accuracy near events at the longest horizon that has forecasts."""
    judged = [(bins, near) for bins, near in backtest.near_events.items() if near.judged]
    if not judged:
        return "no event is after the split"
    bins, near = judged[-1]
    minutes = bins * backtest.series.step.total_seconds() / 60
    return (
        f"{minutes:g} minutes ahead, WAPE is {number(near.wape)}, and {percent(near.coverage[0.9])} of demand is at or "
        f"below p90, over {near.judged:,} forecasts"
    )


def indicators_summary(backtest: Backtest) -> Iterator[str]:
    """Yield what the leading indicators brought, and what became of each; nothing without any."""
    effect = backtest.indicators
    if effect is None:
        return
    yield (
        f"with them the forecasts cost {number(effect.cost)} instead of {number(effect.cost_without)}, "
        f"WAPE {number(effect.wape)} instead of {number(effect.wape_without)}"
    )
    for use in effect.uses:
        last = f"; at the end it {use.last.evidence}" if use.last is not None else ""
        yield f"{use.name} was in use on {use.used} of {use.days} days{last}"


def undefined_values(backtest: Backtest) -> str | None:
    """Return why the accuracy has dashes; None if it has none."""
    scores = [
        score
        for accuracy in backtest.accuracy.values()
        for score in (accuracy.wape, accuracy.mase, *accuracy.coverage.values())
    ]
    if all(map(math.isfinite, scores)):
        return None
    return (
        "– is not defined: WAPE and coverage need demand after the split, MASE needs demand before the split that "
        "changes from day to day"
    )


def number(value: float) -> str:
    """Return a number with three decimals; a dash for an undefined number."""
    return f"{value:.3f}" if math.isfinite(value) else "–"


def percent(ratio: float) -> str:
    """Return a ratio in percent; a dash for an undefined ratio."""
    return f"{100 * ratio:.1f} %" if math.isfinite(ratio) else "–"
