"""The live table of a running replay; plain lines where the output is no terminal."""

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
from predictive_scaling.stack.demo.measure import Band, DemoComparison, DeploymentState, Observation
from predictive_scaling.stack.demo.scenario import DemoScenario
from predictive_scaling.stack.demo.workload import MINUTE

_ROW_INTERVAL = timedelta(minutes=10)
_ROWS = 14


@dataclass(frozen=True, slots=True)
class TableRow:
    """The values of a row."""

    observation: Observation
    band: Band | None
    """The forecast a lead time ahead."""
    so_far: DemoComparison


@dataclass(slots=True)
class LiveTable:
    """`with LiveTable(scenario, console) as table: table.show(row)`."""

    scenario: DemoScenario
    console: Console
    _rows: deque[TableRow] = field(default_factory=lambda: deque[TableRow](maxlen=_ROWS))
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

    def show(self, row: TableRow) -> None:
        """Update the newest row; every ten minutes of demo time a new row begins."""
        due = not self._rows or row.observation.at - self._rows[-1].observation.at >= _ROW_INTERVAL
        if self._live is None:
            if due:
                self._rows.append(row)
                self.console.print(plain(row, self.scenario), highlight=False, soft_wrap=True)
            return
        if due:
            self._rows.append(row)
        self._live.update(self._rendered(row), refresh=True)

    def _rendered(self, newest: TableRow) -> Group:
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
        for row in [*rows, *([newest] if newest is not rows[-1] else [])]:
            table.add_row(*self._cells(row))
        return Group(table, Text(_match_now(newest.observation, self.scenario), style="italic"))

    def _cells(self, row: TableRow) -> list[Text]:
        observation = row.observation
        needed = observation.demand / self.scenario.per_replica
        comparison = row.so_far
        return [
            Text(f"{observation.at:%H:%M}"),
            Text(f"{needed:.1f}"),
            Text(_band(row.band, self.scenario), style="magenta"),
            Text(str(observation.predictive.minimum), style="magenta"),
            _ready(observation.hpa_only, needed, "yellow"),
            Text(f"{comparison.hpa_only.under_provisioned_minutes:.1f} min"),
            _ready(observation.predictive, needed, "cyan"),
            Text(f"{comparison.predictive.under_provisioned_minutes:.1f} min"),
        ]


def plain(row: TableRow, scenario: DemoScenario) -> str:
    """A row as a line without colours."""
    observation, comparison = row.observation, row.so_far
    return (
        f"{observation.at:%H:%M}  demand {observation.demand / scenario.per_replica:5.1f}  "
        f"in {LEAD_TIME // MINUTE} min {_band(row.band, scenario):>9}  floor {observation.predictive.minimum:2d}  "
        f"HPA alone {observation.hpa_only.ready:2d}/{observation.hpa_only.existing:2d} "
        f"short {comparison.hpa_only.under_provisioned_minutes:4.1f} min  "
        f"with a policy {observation.predictive.ready:2d}/{observation.predictive.existing:2d} "
        f"short {comparison.predictive.under_provisioned_minutes:4.1f} min  {_match_now(observation, scenario)}"
    ).rstrip()


def _band(band: Band | None, scenario: DemoScenario) -> str:
    return "–" if band is None else f"{band.p50 / scenario.per_replica:.1f}–{band.p90 / scenario.per_replica:.1f}"


def _ready(deployment_with_hpa: DeploymentState, needed: float, style: str) -> Text:
    pods = f"{deployment_with_hpa.ready}/{deployment_with_hpa.existing}"
    return Text(pods, style="bold white on red" if deployment_with_hpa.ready < needed else style)


def _match_now(observation: Observation, scenario: DemoScenario) -> str:
    return ", ".join(match.name for match in scenario.matches if match.start <= observation.at < match.end)
