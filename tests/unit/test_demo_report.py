"""The report page, the live table and the summary of the demo."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from predictive_scaling.figures.time_series import Chart
from predictive_scaling.stack.demo.measure import DemoComparison, Performance
from predictive_scaling.stack.demo.replay_record import ReplayRecord
from predictive_scaling.stack.demo.report import page, write_report
from predictive_scaling.stack.demo.same_hours import hpa_at_same_hours
from predictive_scaling.stack.demo.summary import same_hours, summary
from predictive_scaling.stack.demo.table import LiveTable, TableRow
from tests.support.demo_replays import a_replay_record


@pytest.fixture(scope="module")
def record() -> ReplayRecord:
    """A replay that meets the criteria."""
    replayed = a_replay_record()
    hpa_only = replayed.result.comparison.hpa_only
    predictive = Performance(2.0, 1.05 * hpa_only.replica_hours, 2000.0)
    return replace(replayed, result=replace(replayed.result, comparison=DemoComparison(hpa_only, predictive)))


class Links(HTMLParser):
    """Collects the resources that a page would fetch, and unclosed elements."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "line", "rect", "path", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_the_report_fetches_nothing_and_closes_every_element(record: ReplayRecord, tmp_path: Path) -> None:
    write_report(record, tmp_path / "demo" / "report.html")
    text = (tmp_path / "demo" / "report.html").read_text()
    links = Links()
    links.feed(text)
    assert (links.fetched, links.open) == ([], [])
    assert "@import" not in text
    assert "url(" not in text


def test_the_report_has_the_numbers_of_the_result(record: ReplayRecord) -> None:
    text = page(record)
    hpa_only, predictive = record.result.comparison.hpa_only, record.result.comparison.predictive
    assert f"short: {hpa_only.under_provisioned_minutes:.1f} minutes" in text
    assert f"short: {predictive.under_provisioned_minutes:.1f} minutes" in text
    assert same_hours(record) in text
    assert "As promised" in text
    assert all(match.name in text for match in record.scenario.matches)


def test_the_report_shows_what_was_learned_with_its_range_and_number_of_matches(record: ReplayRecord) -> None:
    text = page(record)
    for match in record.scenario.matches:
        assert f"<td>{match.name}</td>" in text
    assert '3.25</td><td class="number">2.25 to 4.50</td><td class="number">42</td>' in text
    assert f"{len(record.scenario.earlier)} earlier BusinessEvents of type match" in text


def test_text_of_the_cluster_is_escaped(record: ReplayRecord) -> None:
    with_markup = replace(record.decisions[0], message="<script>alert(1)</script>", source="<b>")
    text = page(replace(record, decisions=(with_markup,)))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "<b>" not in text


def test_every_minute_has_a_tooltip(record: ReplayRecord) -> None:
    script = re.search(r'id="moments">(.*?)</script>', page(record))
    assert script is not None
    tooltips = msgspec.json.decode(script[1], type=list[str])
    assert len(tooltips) == 435
    assert tooltips[0].startswith("10:00  demand")
    assert tooltips[-1].startswith("17:14")


def test_a_failed_decision_is_highlighted(record: ReplayRecord) -> None:
    failed = replace(record.decisions[0], status="failed")
    assert "ended-badly" in page(replace(record, decisions=(failed,))).partition("<tbody>")[2]
    assert "ended-badly" not in page(record).partition("<tbody>")[2]


def test_a_missed_bar_is_reported(record: ReplayRecord) -> None:
    result = replace(record.result, failed_decisions=2)
    text = page(replace(record, result=result))
    assert "Below the bar" in text
    assert f"2 of {record.result.decisions} decisions failed" in text


def test_other_days_have_no_verdict() -> None:
    assert "only 2 May 2026 has a verdict" in page(a_replay_record(date(2026, 4, 13)))


def test_the_scale_of_a_chart_has_round_steps_and_contains_the_highest_value() -> None:
    begin = datetime(2026, 5, 21, tzinfo=UTC)
    for highest in (0.3, 1, 7, 13.2, 99, 1234):
        chart = Chart(begin, begin + timedelta(hours=1), highest, "test", "replicas")
        assert chart.top >= highest
        assert chart.top / chart.tick <= 6
        assert chart.y(chart.top) < chart.y(highest / 2) < chart.y(0)


def test_without_a_terminal_the_table_has_a_line_every_ten_minutes(record: ReplayRecord) -> None:
    console = Console(record=True, force_terminal=False, width=200)
    with LiveTable(record.scenario, console) as table:
        for observation in record.observations[: 4 * 60 : 4]:
            table.show(TableRow(observation, None, record.result.comparison))
    lines = console.export_text().splitlines()
    assert [line[:5] for line in lines] == ["10:00", "10:10", "10:20", "10:30", "10:40", "10:50"]


def test_on_a_terminal_the_table_names_the_current_match(record: ReplayRecord) -> None:
    console = Console(record=True, force_terminal=True, width=160)
    during = next(
        observation for observation in record.observations if observation.at >= record.scenario.matches[0].start
    )
    with LiveTable(record.scenario, console) as table:
        table.show(TableRow(during, record.forecasts[0][1], record.result.comparison))
    assert "Indigo v Crimson" in console.export_text()


def test_the_summary_compares_both_deployments(record: ReplayRecord) -> None:
    console = Console(record=True, width=120)
    console.print(summary(record))
    text = console.export_text()
    assert "21.0" in text
    assert "2.0" in text
    assert "As promised" in text


def test_the_hpa_at_the_same_hours_has_these_replica_hours(record: ReplayRecord) -> None:
    demand, per_replica = record.scenario.replayed(), record.scenario.per_replica
    at_own_hours = hpa_at_same_hours(demand, per_replica, 1.0)
    assert at_own_hours.target == pytest.approx(0.8, abs=0.01)
    hpa_only = record.result.comparison.hpa_only
    assert at_own_hours.under_provisioned_minutes == pytest.approx(hpa_only.under_provisioned_minutes, abs=1)
    lower_target = hpa_at_same_hours(demand, per_replica, 1.1)
    assert lower_target.target < 0.8
    assert lower_target.hours_ratio == pytest.approx(1.1, abs=0.02)
    assert lower_target.under_provisioned_minutes < at_own_hours.under_provisioned_minutes
