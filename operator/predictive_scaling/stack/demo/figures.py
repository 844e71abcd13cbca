"""The report's three charts, all in replicas, so that demand and capacity can be compared by eye."""

from collections.abc import Callable, Iterator
from datetime import datetime

from predictive_scaling.figures.time_series import Chart, Points
from predictive_scaling.stack.demo.measure import Observation, Twin
from predictive_scaling.stack.demo.story import BIN, Story


def charts(story: Story) -> str:
    """All three, one below the other."""
    return "".join((_forecast(story), _twin(story, ahead=False), _twin(story, ahead=True)))


def _forecast(story: Story) -> str:
    chart = _frame(story, "Demand, what was forecast for it, and the floor that the operator set", height=280)
    per_replica = story.scenario.per_replica
    median = [(at + BIN / 2, band.p50 / per_replica) for at, band in story.forecasts]
    chart.band(median, [(at + BIN / 2, band.p90 / per_replica) for at, band in story.forecasts], "band")
    chart.line(median, "median")
    chart.line([(seen.at, float(seen.predictive.minimum)) for seen in story.observations], "floor", stepped=True)
    chart.line(_demand(story), "demand")
    keys = (
        _key("demand", "--ink")
        + _key("forecast: median, and up to p90, made 15 minutes ahead", "--band", block=True)
        + _key("floor (the HPA's minReplicas)", "--band", dashed=True)
    )
    return _card("Forecast and floor", keys, chart)


def _twin(story: Story, *, ahead: bool) -> str:
    kind = "ahead" if ahead else "alone"
    name = "The HPA with a ScalingPolicy" if ahead else "The HPA alone"
    see = _predictive if ahead else _hpa_only
    chart = _frame(story, f"{name}: demand, ready replicas, and where they were too few", height=240)
    ready = [(seen.at, float(see(seen).ready)) for seen in story.observations]
    chart.area(ready, f"under-{kind}", stepped=True)
    chart.line([(seen.at, float(see(seen).existing)) for seen in story.observations], f"pods pods-{kind}", stepped=True)
    chart.line(ready, f"capacity-{kind}", stepped=True)
    chart.gaps(_shortfalls(story, see), "short")
    chart.line(_demand(story), "demand")
    done = story.result.comparison.predictive if ahead else story.result.comparison.hpa_only
    keys = (
        _key("demand", "--ink")
        + _key("ready", f"--{kind}")
        + _key("existing, not all of them ready yet", f"--{kind}", dashed=True)
        + _key(f"short: {done.under_provisioned_minutes:.1f} minutes", "--short", block=True)
    )
    return _card(name, keys, chart)


def _frame(story: Story, label: str, height: float) -> Chart:
    scenario = story.scenario
    highest = max(
        max(seen.demand / scenario.per_replica, seen.hpa_only.existing, seen.predictive.existing)
        for seen in story.observations
    )
    highest = max([highest, *(band.p90 / scenario.per_replica for _, band in story.forecasts)])
    chart = Chart(scenario.begins_at, scenario.ends_at, highest * 1.04, label, "replicas", height=height)
    by_time = dict[tuple[datetime, datetime], list[str]]()
    for match in scenario.matches:
        by_time.setdefault((match.start, match.end), []).append(match.name)
    for (start, end), names in by_time.items():
        chart.span(start, end, " · ".join(names), "match")
    return chart


def _demand(story: Story) -> Points:
    return [(seen.at, seen.demand / story.scenario.per_replica) for seen in story.observations]


def _shortfalls(story: Story, see: Callable[[Observation], Twin]) -> Iterator[tuple[datetime, datetime, float, float]]:
    until = [*(seen.at for seen in story.observations[1:]), story.scenario.ends_at]
    for seen, end in zip(story.observations, until, strict=True):
        wanted = seen.demand / story.scenario.per_replica
        if see(seen).ready < wanted:
            yield seen.at, end, float(see(seen).ready), wanted


def _card(name: str, keys: str, chart: Chart) -> str:
    return f'<section class="card chart"><h2>{name}</h2><div class="about">{keys}</div>{chart.svg()}</section>'


def _key(name: str, colour: str, *, block: bool = False, dashed: bool = False) -> str:
    style = ' class="block"' if block else ""
    fill = f"repeating-linear-gradient(90deg,var({colour}) 0 4px,transparent 4px 6px)" if dashed else f"var({colour})"
    return f'<span class="key"><i{style} style="background:{fill}"></i>{name}</span>'


def _hpa_only(seen: Observation) -> Twin:
    return seen.hpa_only


def _predictive(seen: Observation) -> Twin:
    return seen.predictive
