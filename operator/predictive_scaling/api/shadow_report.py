"""The account of mode Auto as a page: verdict, tiles, figures in replicas, and the largest differences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from itertools import groupby, pairwise

import numpy as np
import numpy.typing as npt

from forecasting.series import FloatArray
from predictive_scaling.figures.page import Page, before_after, tile
from predictive_scaling.figures.time_series import Chart, Points
from predictive_scaling.storage.shadow_hours import HourDifference, ShadowAccount, ShadowHour

_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
_MAX_POINTS = 1500
_METHOD = """\
Replicas in mode Auto: the target's own, raised to the recommended floor; without an autoscaler, the floor itself.
Added replicas are ready after the lead time of that hour. Replicas that existed anyway are ready when they were.
A minute is short if its demand exceeds what the ready replicas serve, as in the backtest.
Left out: minutes without demand, without an observation of the target, or without a known demand per replica.
Left out: times in which Auto would not have acted, such as a conflict, or a target that a person scaled to zero.
"""
_STYLE = """
.thin { stroke-width: 1.15; } .uncovered { fill: var(--match); } .short-minutes { fill: var(--short); opacity: .45; }
th.number, td.number { text-align: right; padding-right: 24px; }
"""


def report(account: ShadowAccount, hours: Sequence[ShadowHour]) -> str:
    """Return the page as HTML. hours: those of the account, in order, at least one."""
    name = f"{account.key.namespace}/{account.key.policy}"
    avoided = account.minutes_short - account.auto_minutes_short
    added = account.auto_replica_hours - account.replica_hours
    minutes = ShadowMinutes.of(hours)
    return Page(
        title=f"Shadow account of {name}",
        heading=f"{name}: what mode Auto would have done",
        lead=f"Mode Recommend for {account.key.target}, from {account.since:%-d %b %Y %H:%M} to "
        f"{account.until:%-d %b %H:%M} (UTC). Nothing was written to the target.",
        verdict_style="good" if avoided > 0 else "bad" if avoided < 0 else "none",
        verdict=_verdict(account, avoided, added),
        tiles=(
            tile(
                "minutes short",
                before_after(f"{account.minutes_short:g}", f"{account.auto_minutes_short:g}"),
                "as it was → in mode Auto",
            ),
            tile(
                "replica-hours",
                before_after(f"{account.replica_hours:.1f}", f"{account.auto_replica_hours:.1f}"),
                f"{added:+.1f} hours{_share(added, account.replica_hours)}",
            ),
            tile("covered", _number(f"{account.covered_minutes / 60:.1f} h"), "demand and replicas are known"),
            tile("decisions", _number(f"{account.decisions}"), "recommended, none written"),
        ),
        content=_figures(minutes, account) + _table(account.largest) + _method(),
        style=_STYLE,
    ).render()


@dataclass(frozen=True, slots=True)
class ShadowMinutes:
    """All minutes from `begins_at` on, in replicas. All shapes (minutes,), NaN where not covered."""

    begins_at: datetime
    needed: FloatArray
    ready: FloatArray
    auto_ready: FloatArray
    auto_replicas: FloatArray

    @classmethod
    def of(cls, hours: Sequence[ShadowHour]) -> "ShadowMinutes":
        """Return the minutes of these hours; hours between them are not covered."""
        begins_at = hours[0].since
        size = (hours[-1].since + _HOUR - begins_at) // _MINUTE
        needed, ready, auto_ready, auto_replicas = np.full((4, size), np.nan)
        for hour in hours:
            offset = (hour.since - begins_at) // _MINUTE
            part = slice(offset, offset + 60)
            auto_ready[part] = np.array(hour.auto_ready, np.float64)
            is_covered = np.isfinite(auto_ready[part])
            needed[part] = np.where(is_covered, np.array(hour.demand, np.float64) / hour.per_replica, np.nan)
            ready[part] = np.where(is_covered, np.array(hour.ready, np.float64), np.nan)
            auto_replicas[part] = np.where(is_covered, np.array(hour.auto_replicas, np.float64), np.nan)
        return cls(begins_at, needed, ready, auto_ready, auto_replicas)

    def cut(self, since: datetime, until: datetime) -> "ShadowMinutes":
        """Return the minutes within [since, until)."""
        first = max(0, (since - self.begins_at) // _MINUTE)
        last = min(len(self.needed), (until - self.begins_at) // _MINUTE)
        values = (self.needed, self.ready, self.auto_ready, self.auto_replicas)
        return ShadowMinutes(self.begins_at + first * _MINUTE, *(column[first:last] for column in values))

    @property
    def ends_at(self) -> datetime:
        """The end of the last minute."""
        return self.begins_at + len(self.needed) * _MINUTE

    @property
    def highest(self) -> float:
        """The highest number of replicas, at least one."""
        return max(1.0, float(np.nanmax((self.needed, self.ready, self.auto_replicas))))

    def runs(self, values: FloatArray, how: str) -> Iterator[Points]:
        """Yield the points of each covered span. how: `highest` or `lowest` of the minutes that share a point."""
        width = max(1, -(-len(values) // _MAX_POINTS))
        padded = np.pad(values, (0, -len(values) % width), constant_values=np.nan).reshape(-1, width)
        filled = np.where(np.isnan(padded), -np.inf if how == "highest" else np.inf, padded)
        extremes = filled.max(axis=1) if how == "highest" else filled.min(axis=1)
        for is_covered, indices in groupby(range(len(extremes)), lambda index: bool(np.isfinite(extremes[index]))):
            span = list(indices)
            if is_covered:
                points = [(self.begins_at + index * width * _MINUTE, float(extremes[index])) for index in span]
                end = min(self.begins_at + (span[-1] + 1) * width * _MINUTE, self.ends_at)
                yield [*points, (end, points[-1][1])]

    def uncovered(self) -> Iterator[tuple[datetime, datetime]]:
        """Yield the spans of at least an hour that are not covered."""
        covered = np.flatnonzero(np.isfinite(self.needed))
        for before, after in pairwise(covered.tolist()):
            if (after - before - 1) * _MINUTE >= _HOUR:
                yield self.begins_at + (before + 1) * _MINUTE, self.begins_at + after * _MINUTE

    def shortages(self, ready: FloatArray) -> Iterator[tuple[datetime, datetime, float, float]]:
        """Yield begin, end, ready replicas and needed replicas of each shortage."""
        short = self._short(ready)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], short, [False]]).astype(np.int8)))
        for since, until in edges.reshape(-1, 2).tolist():
            low, high = ready[since:until].min(), self.needed[since:until].max()
            yield self.begins_at + since * _MINUTE, self.begins_at + until * _MINUTE, float(low), float(high)

    def short_minutes(self, ready: FloatArray) -> Iterator[tuple[datetime, datetime, float, float]]:
        """Yield the same for each minute of the shortages."""
        for index in np.flatnonzero(self._short(ready)).tolist():
            begin = self.begins_at + index * _MINUTE
            yield begin, begin + _MINUTE, float(ready[index]), float(self.needed[index])

    def _short(self, ready: FloatArray) -> npt.NDArray[np.bool_]:
        return np.nan_to_num(self.needed) > np.nan_to_num(ready) + 1e-9


def _figures(minutes: ShadowMinutes, account: ShadowAccount) -> str:
    short, auto_short = f"{account.minutes_short:g}", f"{account.auto_minutes_short:g}"
    figures = _chart(minutes, "What happened", minutes.ready, "alone", f"short: {short} minutes")
    figures += _chart(minutes, "In mode Auto", minutes.auto_ready, "ahead", f"short: {auto_short} minutes")
    if account.largest:
        since = account.largest[0].since
        figures += _close_up(minutes.cut(since - _HOUR / 2, since + 1.5 * _HOUR), since)
    return figures


def _chart(minutes: ShadowMinutes, name: str, ready: FloatArray, kind: str, short: str) -> str:
    chart = Chart(
        minutes.begins_at, minutes.ends_at, minutes.highest * 1.04, f"{name}: demand and ready replicas", "replicas"
    )
    for begin, end in minutes.uncovered():
        chart.span(begin, end, "", "uncovered")
    for points in minutes.runs(ready, "lowest"):
        chart.area(points, f"under-{kind}", stepped=True)
        chart.line(points, f"capacity-{kind} thin", stepped=True)
    for points in minutes.runs(minutes.needed, "highest"):
        chart.line(points, "demand thin")
    chart.gaps(minutes.shortages(ready), "short")
    keys = _key("demand, in replicas that it needs", "--ink") + _key("ready", f"--{kind}") + _short_key(short)
    keys += _key("left out", "--line", block=True) if any(minutes.uncovered()) else ""
    return _card(name, keys, chart)


def _close_up(minutes: ShadowMinutes, since: datetime) -> str:
    name = f"The largest difference: {since:%a %-d %b, %H:%M} to {since + _HOUR:%H:%M}"
    chart = Chart(minutes.begins_at, minutes.ends_at, minutes.highest * 1.04, name, "replicas")
    chart.gaps(minutes.short_minutes(minutes.ready), "short-minutes")
    for points in minutes.runs(minutes.auto_replicas, "highest"):
        chart.line(points, "pods pods-ahead", stepped=True)
    for values, kind in ((minutes.ready, "alone"), (minutes.auto_ready, "ahead")):
        for points in minutes.runs(values, "lowest"):
            chart.line(points, f"capacity-{kind}", stepped=True)
    for points in minutes.runs(minutes.needed, "highest"):
        chart.line(points, "demand")
    keys = (
        _key("demand", "--ink")
        + _key("ready", "--alone")
        + _key("ready in mode Auto", "--ahead")
        + _key("existing in mode Auto", "--ahead", dashed=True)
        + _short_key("short as it was")
    )
    return _card(name, keys, chart)


def _verdict(account: ShadowAccount, avoided: float, added: float) -> str:
    change = f"{abs(added):.1f} replica-hours {'more' if added >= 0 else 'fewer'}{_share(added, account.replica_hours)}"
    if avoided > 0:
        return f"Auto would have avoided {avoided:g} of {account.minutes_short:g} minutes short, with {change}"
    if avoided < 0:
        return f"Auto would have been short for {-avoided:g} minutes more, with {change}"
    if not account.minutes_short:
        return f"The replicas were never too few; Auto would have used {change}"
    return f"Auto would have avoided none of {account.minutes_short:g} minutes short, with {change}"


def _share(added: float, replica_hours: float) -> str:
    return f" ({100 * added / replica_hours:+.1f} %)" if replica_hours else ""


def _table(largest: Sequence[HourDifference]) -> str:
    rows = "".join(
        f'<tr><td class="time">{hour.since:%a %-d %b %H:%M}</td><td class="number">{hour.minutes_short_avoided:g}</td>'
        f'<td class="number">{hour.replica_hours_added:+.1f}</td></tr>'
        for hour in largest
    )
    rows = rows or '<tr><td colspan="3">Auto would have made no difference.</td></tr>'
    return (
        '<section class="card chart"><h2>The largest differences</h2><table><tr><th>hour (UTC)</th>'
        '<th class="number">minutes short avoided</th><th class="number">replica-hours added</th></tr>'
        f"{rows}</table></section>"
    )


def _method() -> str:
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in _METHOD.splitlines())
    return f'<section class="card"><h2>How it is computed</h2><ul>{sentences}</ul></section>'


def _card(name: str, keys: str, chart: Chart) -> str:
    return f'<section class="card chart"><h2>{escape(name)}</h2><div class="about">{keys}</div>{chart.svg()}</section>'


def _key(name: str, colour: str, *, block: bool = False, dashed: bool = False) -> str:
    style = ' class="block"' if block else ""
    fill = f"repeating-linear-gradient(90deg,var({colour}) 0 4px,transparent 4px 6px)" if dashed else f"var({colour})"
    return f'<span class="key"><i{style} style="background:{fill}"></i>{escape(name)}</span>'


def _short_key(name: str) -> str:
    return _key(name, "--short", block=True)


def _number(text: str) -> str:
    return f'<span class="big">{escape(text)}</span>'
