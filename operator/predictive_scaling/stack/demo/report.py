"""build/demo/report.html: one file, no other needed, readable without JavaScript."""

from datetime import datetime
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import msgspec

from predictive_scaling.figures.style import page_style
from predictive_scaling.stack.demo.commands import look_around
from predictive_scaling.stack.demo.figures import charts
from predictive_scaling.stack.demo.measure import Band, Observation
from predictive_scaling.stack.demo.scenario import HPA_UTILIZATION, POD_START, DemoScenario
from predictive_scaling.stack.demo.story import BIN, DecisionLine, Story
from predictive_scaling.stack.demo.summary import same_hours
from predictive_scaling.stack.demo.traces import MINUTE


def write_report(story: Story, path: Path) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(story), encoding="utf-8")


def page(story: Story) -> str:
    """The whole page."""
    scenario = story.scenario
    template = Template(resources.files(__package__ or "").joinpath("report.html").read_text(encoding="utf-8"))
    verdict_style, verdict = _verdict(story)
    return template.substitute(
        style=page_style(),
        title=f"Ahead of the match: {scenario.day:%-d %B %Y}",
        heading="Capacity before the crowd",
        lead=escape(_lead(story)),
        verdict_style=verdict_style,
        verdict=escape(verdict),
        tiles=_tiles(story),
        charts=charts(story),
        decisions="".join(map(_decision, story.decisions)),
        method="".join(f"<li>{escape(sentence)}</li>" for sentence in _method(story)),
        commands=escape("\n".join(look_around())),
        moments=_moments(story),
    )


def _lead(story: Story) -> str:
    scenario = story.scenario
    games = " and ".join(match.name for match in scenario.matches)
    return (
        f"{scenario.day:%-d %B %Y}, {games}: the requests that really reached the World Cup's web site, "
        f"{scenario.begins_at:%H:%M} to {scenario.ends_at:%H:%M} UTC, replayed {story.rate:g} times as fast as life. "
        "Two Deployments on one Kubernetes API server get the same demand and have the same HorizontalPodAutoscaler; "
        "one of them has a ScalingPolicy, too."
    )


def _verdict(story: Story) -> tuple[str, str]:
    shortcomings = story.result.shortcomings()
    if not story.scenario.has_verdict:
        return "none", "Measured; only 3 July 1998 has a verdict"
    if shortcomings:
        return "bad", "Below the bar: " + "; ".join(shortcomings)
    return "good", "As promised: short for at most a fifth of the time, at no more than 1.15 of the replica-hours"


def _tiles(story: Story) -> str:
    alone, ahead = story.result.comparison.hpa_only, story.result.comparison.predictive
    quality, ratio = story.result.forecast, story.result.comparison.hours_ratio
    failed = story.result.failed_decisions
    wape = "–" if quality.wape_15m is None else f"{quality.wape_15m:.3f}"
    coverage = "–" if quality.coverage_p90 is None else f"{100 * quality.coverage_p90:.0f} %"
    return "".join(
        (
            _tile(
                "Minutes short of capacity",
                _pair(f"{alone.under_provisioned_minutes:.0f}", f"{ahead.under_provisioned_minutes:.1f}"),
                f"of {story.result.minutes} minutes; HPA alone → with a policy; {same_hours(story)}",
            ),
            _tile(
                "Requests over capacity",
                _pair(_amount(alone.unserved), _amount(ahead.unserved)),
                "HPA alone → with a policy",
            ),
            _tile(
                "Replica-hours",
                _pair(f"{alone.replica_hours:.1f}", f"{ahead.replica_hours:.1f}"),
                f"{100 * (ratio - 1):+.1f} % for capacity that is there in time",
            ),
            _tile(
                "Error 15 minutes ahead",
                f'<span class="big">{wape}</span>',
                f"of demand (WAPE, {story.model or 'no model'}); p90 covered {coverage}",
            ),
            _tile(
                "Decisions",
                f'<span class="big">{story.result.decisions}</span>',
                "all ended well" if not failed else f"{failed} did not end well",
            ),
        )
    )


def _tile(name: str, figures: str, note: str) -> str:
    return (
        f'<div class="card tile"><div class="name">{escape(name)}</div><div class="pair">{figures}</div>'
        f'<div class="note">{escape(note)}</div></div>'
    )


def _pair(alone: str, ahead: str) -> str:
    return f'<span class="was alone">{alone}</span><span>→</span><span class="big ahead">{ahead}</span>'


def _amount(requests: float) -> str:
    """Requests in two or three digits.

    >>> _amount(1_234_567), _amount(45_678), _amount(12)
    ('1.2 M', '46 k', '12')
    """
    if requests >= 1e6:
        return f"{requests / 1e6:.1f} M"
    return f"{requests / 1e3:.0f} k" if requests >= 1e3 else f"{requests:.0f}"


def _decision(line: DecisionLine) -> str:
    arrow, style = ("▲", "up") if line.after > line.before else ("▼", "down")
    ended = line.status.replace("_", " ")
    ended = ended if line.ended_well else f'<span class="ended-badly">{escape(ended)}</span>'
    return (
        f'<tr><td class="time">{line.at:%H:%M:%S}</td><td class="number"><span class="{style}">{arrow}</span> '
        f"{line.before} → {line.after}</td><td>{escape(line.source)}</td><td>{escape(line.message)}</td>"
        f"<td>{ended}</td></tr>"
    )


def _method(story: Story) -> list[str]:
    scenario = story.scenario
    demand = (
        "Demand: requests per minute from the site's own log, sent to Kafka at the end of each minute; from there it "
        "reaches both HPAs and the operator by the same way."
    )
    capacity = (
        f"One replica serves {scenario.per_replica:,.0f} requests a minute, so that 20 of them at 70 % carry the "
        f"99.9th percentile of the tournament; a new pod is ready after {POD_START / MINUTE:g} minutes, as where a "
        "node has to be added first."
    )
    fairness = (
        f"Both HPAs aim at {100 * HPA_UTILIZATION:.0f} %. Their sync period, window and policies run {story.rate:g} "
        "times as fast, too."
    )
    short = (
        "Short: ready replicas, as the API server showed them, could not carry the demand of that moment. "
        "Replica-hours count every pod that existed, ready or not."
    )
    looks = f"Looked at {len(story.observations):,} times. Nothing was computed beforehand."
    return [demand, capacity, fairness, short, looks]


def _moments(story: Story) -> str:
    """What the tooltip says for each minute, as JSON that cannot end its script element."""
    by_minute = {seen.at.replace(second=0, microsecond=0): seen for seen in story.observations}
    forecasts = {at + minute * MINUTE: band for at, band in story.forecasts for minute in range(BIN // MINUTE)}
    told, last = list[str](), story.observations[0]
    for index in range(story.scenario.minutes):
        at = story.scenario.begins_at + index * MINUTE
        last = by_minute.get(at, last)
        told.append(_moment(at, last, forecasts.get(at), story.scenario))
    return msgspec.json.encode(told).decode().replace("<", "\\u003c")


def _moment(at: datetime, seen: Observation, band: Band | None, scenario: DemoScenario) -> str:
    def replicas(demand: float) -> str:
        return f"{demand / scenario.per_replica:.1f}"

    lines = [f"{at:%H:%M}  demand {replicas(seen.demand)} replicas ({seen.demand:,.0f}/min)"]
    if band is not None:
        lines.append(f"forecast p50 {replicas(band.p50)}, p90 {replicas(band.p90)}")
    lines.append(f"HPA alone     {seen.hpa_only.ready} ready of {seen.hpa_only.existing}")
    lines.append(
        f"with a policy {seen.predictive.ready} ready of {seen.predictive.existing}, floor {seen.predictive.minimum}"
    )
    return "\n".join(lines)
