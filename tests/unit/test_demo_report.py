import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from predictive_scaling.figures.time_series import Chart
from predictive_scaling.stack.demo.report import page, write_report
from predictive_scaling.stack.demo.same_hours import hpa_at_same_hours
from predictive_scaling.stack.demo.story import Story
from predictive_scaling.stack.demo.summary import same_hours, summary
from predictive_scaling.stack.demo.table import LiveTable, Moment
from tests.support.demo_story import a_story


@pytest.fixture(scope="module")
def story() -> Story:
    return a_story()


class Links(HTMLParser):
    """Collects whatever a page would fetch, and elements that are left open."""

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


def test_the_report_fetches_nothing_and_closes_what_it_opens(story: Story, tmp_path: Path) -> None:
    write_report(story, tmp_path / "demo" / "report.html")
    text = (tmp_path / "demo" / "report.html").read_text()
    links = Links()
    links.feed(text)
    assert (links.fetched, links.open) == ([], [])
    assert "@import" not in text
    assert "url(" not in text


def test_the_report_says_the_numbers_that_the_result_has(story: Story) -> None:
    text = page(story)
    alone, ahead = story.result.comparison.hpa_only, story.result.comparison.predictive
    assert f"short: {alone.under_provisioned_minutes:.1f} minutes" in text
    assert f"short: {ahead.under_provisioned_minutes:.1f} minutes" in text
    assert same_hours(story) in text
    assert "As promised" in text
    assert all(match.name in text for match in story.scenario.matches)


def test_what_others_wrote_cannot_become_markup(story: Story) -> None:
    evil = replace(story.decisions[0], message="<script>alert(1)</script>", source="<b>")
    text = page(replace(story, decisions=(evil,)))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "<b>" not in text


def test_there_is_a_tooltip_for_every_minute(story: Story) -> None:
    found = re.search(r'id="moments">(.*?)</script>', page(story))
    assert found is not None
    moments = msgspec.json.decode(found[1], type=list[str])
    assert len(moments) == 510
    assert moments[0].startswith("13:00  demand")
    assert moments[-1].startswith("21:29")


def test_a_decision_that_failed_stands_out(story: Story) -> None:
    failed = replace(story.decisions[0], status="failed")
    assert "ended-badly" in page(replace(story, decisions=(failed,))).partition("<tbody>")[2]
    assert "ended-badly" not in page(story).partition("<tbody>")[2]


def test_a_missed_bar_is_said_first(story: Story) -> None:
    result = replace(story.result, failed_decisions=2)
    text = page(replace(story, result=result))
    assert "Below the bar" in text
    assert "2 of 12 decisions did not end well" in text


def test_another_day_is_measured_without_a_verdict() -> None:
    assert "only 3 July 1998 has a verdict" in page(a_story(date(1998, 6, 25)))


def test_the_scale_of_a_chart_has_round_steps_and_room_for_the_highest_value() -> None:
    begin = datetime(1998, 7, 3, tzinfo=UTC)
    for highest in (0.3, 1, 7, 13.2, 99, 1234):
        chart = Chart(begin, begin + timedelta(hours=1), highest, "test", "replicas")
        assert chart.top >= highest
        assert chart.top / chart.tick <= 6
        assert chart.y(chart.top) < chart.y(highest / 2) < chart.y(0)


def test_without_a_terminal_the_table_is_a_line_every_ten_minutes(story: Story) -> None:
    console = Console(record=True, force_terminal=False, width=200)
    with LiveTable(story.scenario, console) as table:
        for seen in story.observations[: 4 * 60 : 4]:
            table.show(Moment(seen, None, story.result.comparison))
    lines = console.export_text().splitlines()
    assert [line[:5] for line in lines] == ["13:00", "13:10", "13:20", "13:30", "13:40", "13:50"]


def test_on_a_terminal_the_table_shows_the_match_that_is_on(story: Story) -> None:
    console = Console(record=True, force_terminal=True, width=160)
    during = next(seen for seen in story.observations if seen.at >= story.scenario.matches[0].start)
    with LiveTable(story.scenario, console) as table:
        table.show(Moment(during, story.forecasts[0][1], story.result.comparison))
    assert "Italy v France" in console.export_text()


def test_the_summary_compares_both(story: Story) -> None:
    console = Console(record=True, width=120)
    console.print(summary(story))
    text = console.export_text()
    assert "25.0" in text
    assert "2.0" in text
    assert "As promised" in text


def test_the_hpa_at_the_same_hours_spends_them_and_is_the_twin_where_they_are_its_own(story: Story) -> None:
    demand, per_replica = story.scenario.replayed(), story.scenario.per_replica
    own = hpa_at_same_hours(demand, per_replica, 1.0)
    assert own.target == pytest.approx(0.8, abs=0.01)
    alone = story.result.comparison.hpa_only
    assert own.under_provisioned_minutes == pytest.approx(alone.under_provisioned_minutes, abs=1)
    cooler = hpa_at_same_hours(demand, per_replica, 1.1)
    assert cooler.target < 0.8
    assert cooler.hours_ratio == pytest.approx(1.1, abs=0.02)
    assert cooler.under_provisioned_minutes < own.under_provisioned_minutes
