"""build/demo/report.html: a single file without external resources, readable without JavaScript."""

from collections.abc import Iterator
from datetime import datetime
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import msgspec

from predictive_scaling.figures.page import Page, before_after, tile
from predictive_scaling.stack.demo.commands import inspection_commands
from predictive_scaling.stack.demo.figures import charts
from predictive_scaling.stack.demo.measure import Band, Observation
from predictive_scaling.stack.demo.replay_record import BIN, DecisionLine, ReplayRecord
from predictive_scaling.stack.demo.result import LearnedMatch
from predictive_scaling.stack.demo.scenario import HPA_UTILIZATION, POD_START, DemoScenario
from predictive_scaling.stack.demo.summary import same_hours
from predictive_scaling.stack.demo.workload import MINUTE


def write_report(record: ReplayRecord, path: Path) -> None:
    """Write the report to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(record), encoding="utf-8")


def page(record: ReplayRecord) -> str:
    """Return the report as HTML."""
    template = Template(resources.files(__package__ or "").joinpath("report.html").read_text(encoding="utf-8"))
    content = template.substitute(
        charts=charts(record),
        history=_history(record),
        learned="".join(map(_learned, record.result.learned)),
        decisions="".join(map(_decision, record.decisions)),
        method="".join(f"<li>{escape(sentence)}</li>" for sentence in _method(record)),
        commands=escape("\n".join(inspection_commands())),
        moments=_tooltips(record),
    )
    verdict_style, verdict = _verdict(record)
    return Page(
        title=f"Ahead of the match: {record.scenario.day:%-d %B %Y}",
        heading="Capacity before the crowd",
        lead=_lead(record),
        verdict_style=verdict_style,
        verdict=verdict,
        tiles=_tiles(record),
        content=content,
    ).render()


def _lead(record: ReplayRecord) -> str:
    scenario = record.scenario
    games = " and ".join(match.name for match in scenario.matches)
    return (
        f"{scenario.day:%-d %B %Y}, {games}: {scenario.demand_source}, "
        f"{scenario.begins_at:%H:%M} to {scenario.ends_at:%H:%M} UTC, replayed at {record.rate:g} times real time. "
        "Two Deployments on one Kubernetes API server get the same demand and have the same HorizontalPodAutoscaler; "
        "one of them also has a ScalingPolicy."
    )


def _verdict(record: ReplayRecord) -> tuple[str, str]:
    shortcomings = record.result.shortcomings()
    if not record.scenario.has_verdict:
        return "none", f"Measured; only {record.scenario.default_day:%-d %B %Y} has a verdict"
    if shortcomings:
        return "bad", "Below the bar: " + "; ".join(shortcomings)
    return "good", "As promised: at most a fifth of the HPA's minutes short, at no more than 1.08 of its replica-hours"


def _tiles(record: ReplayRecord) -> Iterator[str]:
    hpa_only, predictive = record.result.comparison.hpa_only, record.result.comparison.predictive
    quality, ratio = record.result.forecast, record.result.comparison.hours_ratio
    failed = record.result.failed_decisions
    wape = "–" if quality.wape_15m is None else f"{quality.wape_15m:.3f}"
    coverage = "–" if quality.coverage_p90 is None else f"{100 * quality.coverage_p90:.0f} %"
    yield tile(
        "Minutes short of capacity",
        before_after(f"{hpa_only.under_provisioned_minutes:.0f}", f"{predictive.under_provisioned_minutes:.1f}"),
        f"of {record.result.minutes} minutes; HPA alone → with a policy; {same_hours(record)}",
    )
    yield tile(
        "Requests over capacity",
        before_after(_amount(hpa_only.unserved), _amount(predictive.unserved)),
        "HPA alone → with a policy",
    )
    yield tile(
        "Replica-hours",
        before_after(f"{hpa_only.replica_hours:.1f}", f"{predictive.replica_hours:.1f}"),
        f"{100 * (ratio - 1):+.1f} % for capacity that is there in time",
    )
    yield tile(
        "Error 15 minutes ahead",
        f'<span class="big">{wape}</span>',
        f"of demand (WAPE, {record.model or 'no model'}); p90 covered {coverage}",
    )
    yield tile(
        "Decisions",
        f'<span class="big">{record.result.decisions}</span>',
        "all succeeded" if not failed else f"{failed} failed",
    )


def _amount(requests: float) -> str:
    """Requests in two or three digits.

    >>> _amount(1_234_567), _amount(45_678), _amount(12)
    ('1.2 M', '46 k', '12')
    """
    if requests >= 1e6:
        return f"{requests / 1e6:.1f} M"
    return f"{requests / 1e3:.0f} k" if requests >= 1e3 else f"{requests:.0f}"


def _history(record: ReplayRecord) -> str:
    earlier = record.scenario.earlier
    if not earlier:
        return "There is no earlier match."
    types = " and ".join(sorted({escape(match.type) for match in earlier}))
    return (
        f"{len(earlier)} earlier BusinessEvents of type {types}, from {earlier[0].start:%-d %B} to "
        f"{earlier[-1].start:%-d %B %Y}, declare none either. The product compared demand during each of them "
        "with demand at quiet times. It expects what the matches at about the same hour suggest; the latest count most."
    )


def _learned(learned: LearnedMatch) -> str:
    return (
        f'<tr><td>{escape(learned.match)}</td><td class="time">{learned.kick_off:%H:%M}</td>'
        f'<td class="number">{learned.multiplier:.2f}</td>'
        f'<td class="number">{learned.low:.2f} to {learned.high:.2f}</td><td class="number">{learned.samples}</td></tr>'
    )


def _decision(line: DecisionLine) -> str:
    arrow, style = ("▲", "up") if line.after > line.before else ("▼", "down")
    ended = line.status.replace("_", " ")
    ended = ended if line.ended_well else f'<span class="ended-badly">{escape(ended)}</span>'
    return (
        f'<tr><td class="time">{line.at:%H:%M:%S}</td><td class="number"><span class="{style}">{arrow}</span> '
        f"{line.before} → {line.after}</td><td>{escape(line.source)}</td><td>{escape(line.message)}</td>"
        f"<td>{ended}</td></tr>"
    )


def _method(record: ReplayRecord) -> list[str]:
    scenario = record.scenario
    demand = (
        f"Demand: {scenario.demand_source}, one sample per minute, sent to Kafka at the end of each minute; from there "
        "it reaches both HPAs and the operator through the same pipeline."
    )
    capacity = (
        f"One replica serves {scenario.per_replica:,.0f} requests a minute, so that 20 of them at 70 % carry the "
        f"99.9th percentile of the season; a new pod is ready after {POD_START / MINUTE:g} minutes, as where a "
        "node has to be added first."
    )
    fairness = (
        f"Both HPAs aim at {100 * HPA_UTILIZATION:.0f} %. Their sync period, window and policies run {record.rate:g} "
        "times as fast, too."
    )
    short = (
        "Short: the ready replicas, as read from the API server, could not serve the demand of that moment. "
        "Replica-hours count every pod that existed, ready or not."
    )
    observed = f"Both Deployments were observed {len(record.observations):,} times. Nothing was computed beforehand."
    return [demand, capacity, fairness, short, observed]


def _tooltips(record: ReplayRecord) -> str:
    """The tooltip of each minute, as JSON that cannot end its script element."""
    by_minute = {observation.at.replace(second=0, microsecond=0): observation for observation in record.observations}
    forecasts = {at + minute * MINUTE: band for at, band in record.forecasts for minute in range(BIN // MINUTE)}
    tooltips, latest = list[str](), record.observations[0]
    for index in range(record.scenario.minutes):
        at = record.scenario.begins_at + index * MINUTE
        latest = by_minute.get(at, latest)
        tooltips.append(_tooltip(at, latest, forecasts.get(at), record.scenario))
    return msgspec.json.encode(tooltips).decode().replace("<", "\\u003c")


def _tooltip(at: datetime, observation: Observation, band: Band | None, scenario: DemoScenario) -> str:
    def replicas(demand: float) -> str:
        return f"{demand / scenario.per_replica:.1f}"

    lines = [f"{at:%H:%M}  demand {replicas(observation.demand)} replicas ({observation.demand:,.0f}/min)"]
    if band is not None:
        lines.append(f"forecast p50 {replicas(band.p50)}, p90 {replicas(band.p90)}")
    lines.append(f"HPA alone     {observation.hpa_only.ready} ready of {observation.hpa_only.existing}")
    lines.append(
        f"with a policy {observation.predictive.ready} ready of {observation.predictive.existing}, "
        f"floor {observation.predictive.minimum}"
    )
    return "\n".join(lines)
