"""The comparison, for a terminal."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from predictive_scaling.stack.demo.replay_record import ReplayRecord


def summary(record: ReplayRecord) -> Group:
    """Both Deployments side by side, the forecast, the decisions and the verdict."""
    result = record.result
    hpa_only, predictive = result.comparison.hpa_only, result.comparison.predictive
    table = Table(title=f"{record.scenario.day:%-d %B %Y}, {result.minutes} minutes")
    for name in ("", "HPA alone", "with a policy"):
        table.add_column(name, justify="right")
    table.add_row(
        "minutes short", f"{hpa_only.under_provisioned_minutes:.1f}", f"{predictive.under_provisioned_minutes:.1f}"
    )
    table.add_row("requests over capacity", f"{hpa_only.unserved:,.0f}", f"{predictive.unserved:,.0f}")
    table.add_row("replica-hours", f"{hpa_only.replica_hours:.1f}", f"{predictive.replica_hours:.1f}")
    table.add_row("", "1.000", f"{result.comparison.hours_ratio:.3f}")
    return Group(table, Text(same_hours(record)), Text(_forecast(record)), Text(_learned(record)), _verdict(record))


def same_hours(record: ReplayRecord) -> str:
    """The HPA alone at the replica-hours of the Deployment with a policy, as a sentence."""
    hpa = record.result.same_hours
    return (
        f"HPA alone at the same hours (target {100 * hpa.target:g} %, {hpa.hours_ratio:.3f} of them), simulated: "
        f"{hpa.under_provisioned_minutes:.1f} minutes short"
    )


def _learned(record: ReplayRecord) -> str:
    parts = [
        f"{learned.match} {learned.multiplier:.1f} ({learned.low:.1f} to {learned.high:.1f}, {learned.samples} matches)"
        for learned in record.result.learned
    ]
    return f"learned multipliers: {', '.join(parts) or 'none'}"


def _forecast(record: ReplayRecord) -> str:
    result = record.result
    quality = result.forecast
    error = "no forecast 15 minutes ahead was made"
    if quality.wape_15m is not None and quality.coverage_p90 is not None:
        coverage = f"p90 covered {100 * quality.coverage_p90:.0f} %"
        error = f"{record.model}, 15 minutes ahead: WAPE {quality.wape_15m:.3f}, {coverage}"
    return f"{error}; {result.decisions} decisions, {result.failed_decisions} of which failed"


def _verdict(record: ReplayRecord) -> Text:
    shortcomings = record.result.shortcomings()
    if not record.scenario.has_verdict:
        return Text(f"Measured; only {record.scenario.default_day:%-d %B %Y} has a verdict.")
    if shortcomings:
        return Text("Below the bar: " + "; ".join(shortcomings) + ".", style="bold red")
    return Text("As promised: a fifth of the short minutes or fewer, at no more than 1.08 of the hours.", style="green")
