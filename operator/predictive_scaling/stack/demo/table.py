"""The replay as it goes, for people at a terminal; plain lines where there is none."""

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from predictive_scaling.stack.demo.manifests import LEAD_TIME
from predictive_scaling.stack.demo.measure import Band, DemoComparison, Observation, Twin
from predictive_scaling.stack.demo.scenario import DemoScenario
from predictive_scaling.stack.demo.traces import MINUTE

_LINE_EVERY = timedelta(minutes=10)
_ROWS = 14


@dataclass(frozen=True, slots=True)
class Moment:
    """What is shown of one moment."""

    seen: Observation
    band: Band | None
    """What is forecast for a lead time ahead."""
    so_far: DemoComparison


@dataclass(slots=True)
class LiveTable:
    """`with LiveTable(scenario, console) as table: table.show(moment)`, as often as one likes."""

    scenario: DemoScenario
    console: Console
    _rows: deque[Moment] = field(default_factory=lambda: deque[Moment](maxlen=_ROWS))
    _live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, moment: Moment) -> None:
        """Update the newest row; every ten minutes of the demo's time it stays and a new one begins."""
        due = not self._rows or moment.seen.at - self._rows[-1].seen.at >= _LINE_EVERY
        if self._live is None:
            if due:
                self._rows.append(moment)
                self.console.print(plain(moment, self.scenario), highlight=False, soft_wrap=True)
            return
        if due:
            self._rows.append(moment)
        self._live.update(self._rendered(moment), refresh=True)

    def _rendered(self, newest: Moment) -> Group:
        table = Table(
            title=f"{self.scenario.day:%-d %B %Y}, in replicas of {self.scenario.per_replica:,.0f} requests/min"
        )
        for name in (
            "time",
            "demand",
            f"in {LEAD_TIME // MINUTE} min",
            "floor",
            "HPA alone",
            "short",
            "with a policy",
            "short",
        ):
            table.add_column(name, justify="right")
        rows = list(self._rows)
        for moment in [*rows, *([newest] if newest is not rows[-1] else [])]:
            table.add_row(*self._cells(moment))
        return Group(table, Text(_match_now(newest.seen, self.scenario), style="italic"))

    def _cells(self, moment: Moment) -> list[Text]:
        seen = moment.seen
        wanted = seen.demand / self.scenario.per_replica
        done = moment.so_far
        return [
            Text(f"{seen.at:%H:%M}"),
            Text(f"{wanted:.1f}"),
            Text(_band(moment.band, self.scenario), style="magenta"),
            Text(str(seen.predictive.minimum), style="magenta"),
            _ready(seen.hpa_only, wanted, "yellow"),
            Text(f"{done.hpa_only.under_provisioned_minutes:.1f} min"),
            _ready(seen.predictive, wanted, "cyan"),
            Text(f"{done.predictive.under_provisioned_minutes:.1f} min"),
        ]


def plain(moment: Moment, scenario: DemoScenario) -> str:
    """One line, without colours."""
    seen, done = moment.seen, moment.so_far
    return (
        f"{seen.at:%H:%M}  demand {seen.demand / scenario.per_replica:5.1f}  "
        f"in {LEAD_TIME // MINUTE} min {_band(moment.band, scenario):>9}  floor {seen.predictive.minimum:2d}  "
        f"HPA alone {seen.hpa_only.ready:2d}/{seen.hpa_only.existing:2d} "
        f"short {done.hpa_only.under_provisioned_minutes:4.1f} min  "
        f"with a policy {seen.predictive.ready:2d}/{seen.predictive.existing:2d} "
        f"short {done.predictive.under_provisioned_minutes:4.1f} min  {_match_now(seen, scenario)}"
    ).rstrip()


def _band(band: Band | None, scenario: DemoScenario) -> str:
    return "–" if band is None else f"{band.p50 / scenario.per_replica:.1f}–{band.p90 / scenario.per_replica:.1f}"


def _ready(twin: Twin, wanted: float, style: str) -> Text:
    told = f"{twin.ready}/{twin.existing}"
    return Text(told, style="bold white on red" if twin.ready < wanted else style)


def _match_now(seen: Observation, scenario: DemoScenario) -> str:
    return ", ".join(match.name for match in scenario.matches if match.start <= seen.at < match.end)
