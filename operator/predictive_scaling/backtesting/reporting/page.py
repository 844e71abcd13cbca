"""A backtest as a self-contained page, readable without JavaScript."""

import math
from collections.abc import Iterator
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from predictive_scaling.backtesting.reporting.figures import frontier, overview, worst_day
from predictive_scaling.backtesting.reporting.strategies import relative_hours, strategies
from predictive_scaling.backtesting.reporting.summary import (
    acting_model,
    assumptions,
    gain,
    heading,
    indicators_summary,
    near_events_summary,
    number,
    percent,
    undefined_values,
)
from predictive_scaling.backtesting.reporting.worst_hours import BadHour, worst_hours
from predictive_scaling.backtesting.run import Backtest
from predictive_scaling.errors import SettingsError
from predictive_scaling.figures.page import Page, before_after, tile
from predictive_scaling.simulation.workload import METRIC_DELAY

_BAR_PIXELS = 90


def write_report(backtest: Backtest, path: Path) -> None:
    """Write the page. Raises SettingsError if the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(backtest), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--report: {path} cannot be written: {error.strerror}") from None


def page(backtest: Backtest) -> str:
    """Return the report as HTML."""
    hours = worst_hours(backtest)
    content = Template(_read("report.html")).substitute(
        advice=escape(backtest.advice.message),
        strategies="".join(_strategies(backtest)),
        charts=overview(backtest) + (worst_day(backtest, hours[0].worst_at) if hours else "") + frontier(backtest),
        accuracy="".join(_accuracy(backtest)),
        hours="".join(map(_hour, hours)) or '<tr><td colspan="5">There were enough replicas all the time.</td></tr>',
        method="".join(f"<li>{escape(sentence)}</li>" for sentence in _method(backtest)),
    )
    verdict_style, verdict = _verdict(backtest)
    return Page(
        title=f"Backtest: {backtest.series.name}",
        heading=f"Ahead of {backtest.series.name}",
        lead=f"{heading(backtest)}.",
        verdict_style=verdict_style,
        verdict=verdict,
        tiles=_tiles(backtest),
        content=content,
        style=_read("report.css"),
    ).render()


def _read(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def _verdict(backtest: Backtest) -> tuple[str, str]:
    hpa_only, predictive = backtest.comparison.hpa_only, backtest.comparison.predictive
    same = backtest.comparison.same_hours.predictive.outcome
    if hpa_only.minutes < 1 and predictive.minutes < 1:
        return "none", "The HPA alone was never short here: a policy adds no safety, but may allow a higher HPA target"
    if predictive.minutes <= same.minutes and predictive.minutes <= hpa_only.minutes:
        return "good", f"{gain(backtest)[:1].upper()}{gain(backtest)[1:]}"
    return "bad", f"An HPA with a lower target performs as well with these replica-hours: {gain(backtest)}"


def _tiles(backtest: Backtest) -> Iterator[str]:
    hpa_only, predictive = backtest.comparison.hpa_only, backtest.comparison.predictive
    both, same = backtest.comparison.tuned_with_target, backtest.comparison.same_hours
    yield tile(
        "Minutes short of capacity",
        before_after(f"{hpa_only.minutes:,.0f}", f"{predictive.minutes:,.0f}"),
        f"of {backtest.work.hours * 60:,.0f}; HPA alone → the policy as written; "
        f"HPA at the same hours: {same.predictive.outcome.minutes:,.0f}",
    )
    yield tile(
        "Replica-hours",
        before_after(f"{hpa_only.replica_hours:,.0f}", f"{predictive.replica_hours:,.0f}"),
        f"{100 * (relative_hours(backtest, predictive) - 1):+.1f} %; HPA alone → the policy as written",
    )
    yield tile(
        "Tuned by prices",
        before_after(f"{hpa_only.minutes:,.0f}", f"{both.outcome.minutes:,.0f}"),
        f"minutes short at {100 * (relative_hours(backtest, both.outcome) - 1):+.1f} % replica-hours; "
        f"HPA at the same hours: {same.tuned_with_target.outcome.minutes:,.0f}",
    )
    bins = min(backtest.accuracy, key=lambda bins: abs(bins * backtest.series.step.total_seconds() - 900))
    accuracy = backtest.accuracy[bins]
    yield tile(
        f"Error {bins * backtest.series.step.total_seconds() / 60:g} minutes ahead",
        f'<span class="big">{number(accuracy.wape)}</span>',
        f"of demand (WAPE); p90 covered {percent(accuracy.coverage[0.9])}",
    )


def _strategies(backtest: Backtest) -> Iterator[str]:
    for strategy in strategies(backtest):
        outcome = strategy.outcome
        style = ' class="chosen"' if outcome is backtest.comparison.predictive else ""
        yield (
            f"<tr{style}><td>{escape(strategy.name)}</td><td>{escape(strategy.setting)}</td>"
            f'<td class="number">{100 * outcome.under_provisioned_share:.2f} %</td>'
            f'<td class="number">{outcome.minutes:,.0f}</td>'
            f'<td class="number">{100 * outcome.lost_demand_share:.3f} %</td>'
            f'<td class="number">{outcome.replica_hours:,.0f}</td>'
            f'<td class="number">{relative_hours(backtest, outcome):.3f}</td></tr>'
        )


def _accuracy(backtest: Backtest) -> Iterator[str]:
    step = backtest.series.step.total_seconds() / 60
    naive = backtest.baselines
    errors = [accuracy.wape for accuracy in backtest.accuracy.values()]
    errors += [error for by_horizon in naive.values() for error in by_horizon.values()]
    worst = max((error for error in errors if error == error), default=1.0) or 1.0
    for bins, accuracy in backtest.accuracy.items():
        cells = "".join(f'<td class="number">{percent(share)}</td>' for share in accuracy.coverage.values())
        yield (
            f'<tr><td>{bins * step:g} min</td><td class="time">{_bar(accuracy.wape, worst, "bar")}</td>'
            f'<td class="time">{_bar(naive["last_value"][bins], worst, "bar naive")}</td>'
            f'<td class="time">{_bar(naive["seasonal_naive"][bins], worst, "bar naive")}</td>'
            f'<td class="number">{number(accuracy.mase)}</td>{cells}</tr>'
        )


def _hour(hour: BadHour) -> str:
    return (
        f'<tr><td class="time">{hour.begins_at:%a %-d %b %H:%M}</td>'
        f'<td class="number">{hour.short_minutes:.1f} min</td>'
        f'<td class="number">{hour.hpa_only_minutes:.1f} min</td>'
        f"<td>{hour.worst_at:%H:%M}: {hour.needed:.1f} replicas needed, {hour.ready} ready; "
        f"{hour.expected:.1f} were forecast in time</td><td>{escape(hour.message)}</td></tr>"
    )


def _method(backtest: Backtest) -> Iterator[str]:
    scenario, forecasts = backtest.scenario, backtest.forecasts
    lead_time_minutes = scenario.lead_time.total_seconds() / 60
    yield (
        "Every 15 seconds the live decision code sets a floor, and a simulated HPA follows its documented rules: "
        "tolerance 10 %, scale-down after 5 minutes, scale-up by at most 100 % or 4 pods in 15 seconds; metrics "
        f"are {METRIC_DELAY.total_seconds():g} s old, new pods are ready after {lead_time_minutes:g} min."
    )
    yield (
        f"Forecasts use only data from before the time at which they were made; models were trained "
        f"{sum(chunk.since >= forecasts.plan.split for chunk in forecasts.chunks)} times after the split. "
        f"The model at the end: {acting_model(backtest)}."
    )
    choices = ("The quantile was", "Quantile and HPA target were")
    for choice, prices in zip(choices, backtest.prices, strict=True):
        yield (
            f"{choice} chosen only from data before {forecasts.moment(forecasts.plan.split):%-d %B %Y}, at "
            f"{prices.under_provisioned_minute:g} for a minute short and {prices.replica_hour:g} for a replica-hour."
        )
    yield (
        "HPA alone at the same hours: the target at which the HPA alone uses as many replica-hours as the policy "
        "above it, selected with hindsight; the gain of the policy is the difference to it."
    )
    yield f"Assumptions: {assumptions(backtest)}."
    yield "Short: ready replicas could not carry the demand. Replica-hours count all existing replicas, ready or not."
    if undefined := undefined_values(backtest):
        yield f"{undefined}."
    if scenario.events:
        yield f"{len(scenario.events)} known events were included. Near them: {near_events_summary(backtest)}."
    yield from (f"Leading indicators: {line}." for line in indicators_summary(backtest))
    yield from (f"{repair[:1].upper()}{repair[1:]}." for repair in backtest.trace.repairs)


def _bar(error: float, worst: float, style: str) -> str:
    if not math.isfinite(error):
        return number(error)
    return f'<span class="{style}" style="width:{_BAR_PIXELS * error / worst:.0f}px"></span>{error:.3f}'
