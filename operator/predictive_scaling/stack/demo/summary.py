"""The comparison, for a terminal."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from predictive_scaling.stack.demo.story import Story


def summary(story: Story) -> Group:
    """Both twins side by side, the forecast, the decisions and the verdict."""
    result = story.result
    alone, ahead = result.comparison.hpa_only, result.comparison.predictive
    table = Table(title=f"{story.scenario.day:%-d %B %Y}, {result.minutes} minutes")
    for name in ("", "HPA alone", "with a policy"):
        table.add_column(name, justify="right")
    table.add_row("minutes short", f"{alone.under_provisioned_minutes:.1f}", f"{ahead.under_provisioned_minutes:.1f}")
    table.add_row("requests over capacity", f"{alone.unserved:,.0f}", f"{ahead.unserved:,.0f}")
    table.add_row("replica-hours", f"{alone.replica_hours:.1f}", f"{ahead.replica_hours:.1f}")
    table.add_row("", "1.000", f"{result.comparison.hours_ratio:.3f}")
    return Group(table, Text(same_hours(story)), Text(_forecast(story)), _verdict(story))


def same_hours(story: Story) -> str:
    """What the replica-hours of the twin with a policy are worth without it."""
    found = story.result.same_hours
    return (
        f"HPA alone at the same hours (target {100 * found.target:g} %, {found.hours_ratio:.3f} of them), simulated: "
        f"{found.under_provisioned_minutes:.1f} minutes short"
    )


def _forecast(story: Story) -> str:
    result = story.result
    quality = result.forecast
    error = "no forecast 15 minutes ahead was made"
    if quality.wape_15m is not None and quality.coverage_p90 is not None:
        coverage = f"p90 covered {100 * quality.coverage_p90:.0f} %"
        error = f"{story.model}, 15 minutes ahead: WAPE {quality.wape_15m:.3f}, {coverage}"
    return f"{error}; {result.decisions} decisions, {result.failed_decisions} of which did not end well"


def _verdict(story: Story) -> Text:
    shortcomings = story.result.shortcomings()
    if not story.scenario.has_verdict:
        return Text("Measured; only 3 July 1998 has a verdict.")
    if shortcomings:
        return Text("Below the bar: " + "; ".join(shortcomings) + ".", style="bold red")
    return Text("As promised: a fifth of the short minutes or fewer, at no more than 1.15 of the hours.", style="green")
