"""The charts of the report, in replicas, so that demand and capacity are comparable."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

import numpy as np
import numpy.typing as npt

from forecasting.forecast import QUANTILES
from forecasting.scaling.frontier import efficient
from predictive_scaling.backtesting.run import Backtest
from predictive_scaling.figures.scatter import Scatter
from predictive_scaling.figures.time_series import Chart, Points
from predictive_scaling.simulation.workload import STEP

_MAX_POINTS = 1500
_BAND_HORIZON = timedelta(minutes=15)
_MARGIN = 1.15
"""Height of the frontier chart, relative to the highest shortage of an efficient point."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class View:
    """A span of a backtest, the steps [since, until), drawn with at most _MAX_POINTS points."""

    backtest: Backtest
    since: int
    until: int

    @property
    def width(self) -> int:
        """Number of steps per point."""
        return max(1, -(-(self.until - self.since) // _MAX_POINTS))

    def points(self, values: Sequence[float] | npt.NDArray[np.generic], how: str) -> Points:
        """Return the `highest` or `lowest` value of each point's steps, so that no peak is lost."""
        part = np.asarray(values, dtype=np.float64)[self.since : self.until]
        padded = np.pad(part, (0, -len(part) % self.width), mode="edge").reshape(-1, self.width)
        extremes = padded.max(axis=1) if how == "highest" else padded.min(axis=1)
        work = self.backtest.work
        return [(work.at(self.since + at * self.width), float(value)) for at, value in enumerate(extremes)]

    def chart(self, label: str, highest: float, height: float) -> Chart:
        """Return an empty chart of the span."""
        work = self.backtest.work
        return Chart(work.at(self.since), work.at(self.until), highest, label, "replicas", height=height)


def overview(backtest: Backtest) -> str:
    """Return the chart of the complete replay: demand, forecast band, floor, replicas and shortages."""
    view = View(backtest, 0, len(backtest.work))
    keys = (
        _key("demand", "--ink")
        + _key("forecast 15 minutes ahead: median to p90", "--band", block=True)
        + _key("floor", "--band")
        + _key("replicas with the policy", "--ahead")
        + _key("short", "--short", block=True)
    )
    chart = _with_policy(view, "Demand, forecast, floor and replicas over the complete replay", 300.0)
    return _card("The complete replay", keys, chart.svg())


def worst_day(backtest: Backtest, around: datetime) -> str:
    """Return the charts of twelve hours before and after a moment: with the policy, and below it with the HPA alone."""
    work, day = backtest.work, timedelta(days=1) // STEP
    middle = (around - work.begins_at) // STEP
    since = max(0, min(middle - day // 2, len(work) - day))
    view = View(backtest, since, min(len(work), since + day))
    keys = _key("demand", "--ink") + _key("ready", "--ahead") + _key("floor", "--band") + _short_key()
    ahead = _card(
        "The worst day, with the policy", keys, _with_policy(view, "The worst day with the policy", 250.0).svg()
    )
    keys = _key("demand", "--ink") + _key("ready", "--alone") + _short_key()
    return ahead + _card("The same day, the HPA alone", keys, _hpa_only_chart(view).svg())


def frontier(backtest: Backtest) -> str:
    """Return the chart of shortage against replica-hours: one curve per HPA target, along the quantiles."""
    comparison = backtest.comparison
    hours = comparison.hpa_only.replica_hours or 1.0
    points = [point for point in backtest.frontier if point.replica_hours / hours < 2.0] or list(backtest.frontier)
    shares = [
        comparison.hpa_only.under_provisioned_share,
        *(point.under_provisioned_share for point in efficient(points)),
    ]
    costs = [point.replica_hours / hours for point in points] + [1.0]
    chart = Scatter(
        left=min(costs) * 0.985,
        right=max(costs) * 1.015,
        highest=max(1e-4, 100 * max(shares) * _MARGIN),
        label="Shortage against replica-hours for each quantile and HPA target",
        x_unit="replica-hours, HPA alone = 1",
        y_unit="% of time short",
    )
    for target in sorted({point.hpa_target for point in points}):
        curve = sorted((point for point in points if point.hpa_target == target), key=lambda point: point.quantile)
        pairs = [(point.replica_hours / hours, 100 * point.under_provisioned_share) for point in curve]
        titles = [f"p{100 * point.quantile:g}, target {100 * target:g} %" for point in curve]
        is_own = abs(target - backtest.scenario.hpa_target) < 1e-9
        chart.line(pairs, "frontier-own" if is_own else "frontier")
        chart.dots(pairs, "dot-own" if is_own else "dot", titles)
    both, tuned = comparison.tuned_with_target, comparison.tuned
    chart.mark(1.0, 100 * comparison.hpa_only.under_provisioned_share, "mark-alone", "HPA alone")
    chart.mark(
        tuned.outcome.replica_hours / hours,
        100 * tuned.outcome.under_provisioned_share,
        "mark-tuned",
        f"tuned: p{100 * tuned.quantile:g}",
    )
    chart.mark(
        both.outcome.replica_hours / hours,
        100 * both.outcome.under_provisioned_share,
        "mark-best",
        f"recommended: p{100 * both.quantile:g}, HPA target {100 * both.hpa_target:g} %",
        up=-20.0,
    )
    keys = _key(f"quantiles at the HPA target of today ({100 * backtest.scenario.hpa_target:g} %)", "--ahead") + _key(
        "at other targets", "--faint"
    )
    return _card("The cost of safety", keys, chart.svg())


def _with_policy(view: View, label: str, height: float) -> Chart:
    backtest, per_replica = view.backtest, view.backtest.scenario.per_replica
    replayed, demand = backtest.replayed, backtest.work.demand / per_replica
    band = list(_band(view))
    window = slice(view.since, view.until)
    highest = max([float(demand[window].max()), float(replayed.existing[window].max()), *(high for _, _, high in band)])
    chart = view.chart(label, highest * 1.04, height)
    chart.band([(at, low) for at, low, _ in band], [(at, high) for at, _, high in band], "band")
    ready = view.points(replayed.ready, "lowest")
    chart.area(ready, "under-ahead", stepped=True)
    chart.line(ready, "capacity-ahead thin", stepped=True)
    chart.line(view.points(replayed.floors, "highest"), "floor thin", stepped=True)
    chart.line(view.points(demand, "highest"), "demand thin")
    chart.gaps(_short(view, replayed.ready), "short")
    return chart


def _hpa_only_chart(view: View) -> Chart:
    backtest = view.backtest
    demand, hpa_only = backtest.work.demand / backtest.scenario.per_replica, backtest.hpa_replayed.ready[:, 0]
    window = slice(view.since, view.until)
    highest = max(float(demand[window].max()), float(backtest.replayed.existing[window].max()))
    chart = view.chart("The same day with the HPA alone", highest * 1.04, 230.0)
    ready = view.points(hpa_only, "lowest")
    chart.area(ready, "under-alone", stepped=True)
    chart.line(ready, "capacity-alone thin", stepped=True)
    chart.line(view.points(demand, "highest"), "demand thin")
    chart.gaps(_short(view, hpa_only), "short")
    return chart


def _band(view: View) -> Iterator[tuple[datetime, float, float]]:
    """Yield time, median and p90 of the forecasts 15 minutes ahead, in replicas."""
    backtest, forecasts = view.backtest, view.backtest.forecasts
    step, per_replica = backtest.series.step, backtest.scenario.per_replica
    ahead = min(max(1, _BAND_HORIZON // step), forecasts.values.shape[1])
    begins, ends = backtest.work.at(view.since), backtest.work.at(view.until)
    first = (begins - backtest.series.start) // step
    last = min((ends - backtest.series.start) // step, len(backtest.series.values))
    stride = max(1, (last - first) // _MAX_POINTS)
    for target in range(first, last, stride):
        row = forecasts.values[max(0, target - ahead + 1 - forecasts.first), ahead - 1]
        low, high = row[QUANTILES.index(0.5)] / per_replica, row[QUANTILES.index(0.9)] / per_replica
        yield backtest.series.start + (target + 0.5) * step, float(low), float(high)


def _short(view: View, ready: npt.NDArray[np.generic]) -> Iterator[tuple[datetime, datetime, float, float]]:
    """Yield each shortage: begin, end, ready replicas, needed replicas."""
    backtest = view.backtest
    work, demand = backtest.work, backtest.work.demand / backtest.scenario.per_replica
    capacity = np.asarray(ready, dtype=np.float64)
    short = ((demand > capacity + 1e-9) & work.observed)[view.since : view.until]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], short, [False]]).astype(np.int8)))
    for since, until in edges.reshape(-1, 2) + view.since:
        low, high = capacity[since:until].min(), demand[since:until].max()
        yield work.at(int(since)), work.at(int(until)), float(low), float(high)


def _card(name: str, keys: str, chart: str) -> str:
    return f'<section class="card chart"><h2>{escape(name)}</h2><div class="about">{keys}</div>{chart}</section>'


def _key(name: str, colour: str, *, block: bool = False) -> str:
    style = ' class="block"' if block else ""
    return f'<span class="key"><i{style} style="background:var({colour})"></i>{escape(name)}</span>'


def _short_key() -> str:
    return _key("short", "--short", block=True)
