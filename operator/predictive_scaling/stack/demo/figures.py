"""The three charts of the report, all in replicas so that demand and capacity are comparable."""

from collections.abc import Callable, Iterator
from datetime import datetime

from predictive_scaling.figures.time_series import Chart, Points
from predictive_scaling.stack.demo.measure import DeploymentState, Observation
from predictive_scaling.stack.demo.replay_record import BIN, ReplayRecord


def charts(record: ReplayRecord) -> str:
    """All three, one below the other."""
    return "".join(
        (_forecast(record), _capacity_chart(record, predictive=False), _capacity_chart(record, predictive=True))
    )


def _forecast(record: ReplayRecord) -> str:
    chart = _frame(record, "Demand, what was forecast for it, and the floor that the operator set", height=280)
    per_replica = record.scenario.per_replica
    median = [(at + BIN / 2, band.p50 / per_replica) for at, band in record.forecasts]
    chart.band(median, [(at + BIN / 2, band.p90 / per_replica) for at, band in record.forecasts], "band")
    chart.line(median, "median")
    chart.line(
        [(observation.at, float(observation.predictive.minimum)) for observation in record.observations],
        "floor",
        stepped=True,
    )
    chart.line(_demand(record), "demand")
    keys = (
        _key("demand", "--ink")
        + _key("forecast: median, and up to p90, made 15 minutes ahead", "--band", block=True)
        + _key("floor (the HPA's minReplicas)", "--band", dashed=True)
    )
    return _card("Forecast and floor", keys, chart)


def _capacity_chart(record: ReplayRecord, *, predictive: bool) -> str:
    kind = "ahead" if predictive else "alone"
    name = "The HPA with a ScalingPolicy" if predictive else "The HPA alone"
    state_of = _predictive if predictive else _hpa_only
    chart = _frame(record, f"{name}: demand, ready replicas, and where they were too few", height=240)
    ready = [(observation.at, float(state_of(observation).ready)) for observation in record.observations]
    chart.area(ready, f"under-{kind}", stepped=True)
    chart.line(
        [(observation.at, float(state_of(observation).existing)) for observation in record.observations],
        f"pods pods-{kind}",
        stepped=True,
    )
    chart.line(ready, f"capacity-{kind}", stepped=True)
    chart.gaps(_shortfalls(record, state_of), "short")
    chart.line(_demand(record), "demand")
    comparison = record.result.comparison.predictive if predictive else record.result.comparison.hpa_only
    keys = (
        _key("demand", "--ink")
        + _key("ready", f"--{kind}")
        + _key("existing, not all of them ready yet", f"--{kind}", dashed=True)
        + _key(f"short: {comparison.under_provisioned_minutes:.1f} minutes", "--short", block=True)
    )
    return _card(name, keys, chart)


def _frame(record: ReplayRecord, label: str, height: float) -> Chart:
    scenario = record.scenario
    highest = max(
        max(observation.demand / scenario.per_replica, observation.hpa_only.existing, observation.predictive.existing)
        for observation in record.observations
    )
    highest = max([highest, *(band.p90 / scenario.per_replica for _, band in record.forecasts)])
    chart = Chart(scenario.begins_at, scenario.ends_at, highest * 1.04, label, "replicas", height=height)
    by_time = dict[tuple[datetime, datetime], list[str]]()
    for match in scenario.matches:
        by_time.setdefault((match.start, match.end), []).append(match.name)
    for (start, end), names in by_time.items():
        chart.span(start, end, " · ".join(names), "match")
    return chart


def _demand(record: ReplayRecord) -> Points:
    return [(observation.at, observation.demand / record.scenario.per_replica) for observation in record.observations]


def _shortfalls(
    record: ReplayRecord, state_of: Callable[[Observation], DeploymentState]
) -> Iterator[tuple[datetime, datetime, float, float]]:
    until = [*(observation.at for observation in record.observations[1:]), record.scenario.ends_at]
    for observation, end in zip(record.observations, until, strict=True):
        needed = observation.demand / record.scenario.per_replica
        if state_of(observation).ready < needed:
            yield observation.at, end, float(state_of(observation).ready), needed


def _card(name: str, keys: str, chart: Chart) -> str:
    return f'<section class="card chart"><h2>{name}</h2><div class="about">{keys}</div>{chart.svg()}</section>'


def _key(name: str, colour: str, *, block: bool = False, dashed: bool = False) -> str:
    style = ' class="block"' if block else ""
    fill = f"repeating-linear-gradient(90deg,var({colour}) 0 4px,transparent 4px 6px)" if dashed else f"var({colour})"
    return f'<span class="key"><i{style} style="background:{fill}"></i>{name}</span>'


def _hpa_only(observation: Observation) -> DeploymentState:
    return observation.hpa_only


def _predictive(observation: Observation) -> DeploymentState:
    return observation.predictive
