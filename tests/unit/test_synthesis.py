"""Made-up services are what their descriptions say."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from predictive_scaling.__main__ import app
from predictive_scaling.resources.business_event import parse_event
from predictive_scaling.resources.scaling_policy import parse_policy
from predictive_scaling.synthesis.incidents import Incident, Kind, factors, within
from predictive_scaling.synthesis.manifests import events, policy
from predictive_scaling.synthesis.services import Plan, Service, services
from predictive_scaling.synthesis.timeline import FloatArray, Timeline
from predictive_scaling.synthesis.workload_profiles import WORKLOAD_PROFILES

FIVE = timedelta(minutes=5)
PLAN = Plan(datetime(2026, 11, 16, tzinfo=UTC), days=56, step=FIVE)
A_DAY = 288


@cache
def made(plan: Plan = PLAN) -> dict[str, Service]:
    return {service.name: service for service in services(plan)}


def by_day(values: FloatArray) -> FloatArray:
    return values.reshape(-1, A_DAY)


def spread_over(values: FloatArray, smooth: FloatArray) -> float:
    """As a median, which outages do not move."""
    return float(np.median(np.abs(np.log(values / smooth))))


def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    again = {service.name: service for service in services(PLAN)}
    other = made(replace(PLAN, seed=2))
    for name, service in made().items():
        np.testing.assert_array_equal(again[name].values, service.values)
        assert again[name].announced == service.announced
        assert not np.array_equal(other[name].values, service.values)


def test_a_moment_has_the_same_demand_in_whatever_span_it_lies() -> None:
    later = made(replace(PLAN, until=PLAN.until + timedelta(days=3, hours=7), days=20))
    for name, service in made().items():
        shared = 20 * A_DAY - (3 * A_DAY + 7 * 12)
        np.testing.assert_allclose(later[name].values[:, :shared], service.values[:, -shared:], atol=0.0011)


def test_what_was_announced_to_come_is_what_a_later_run_brings() -> None:
    later = made(replace(PLAN, until=PLAN.until + timedelta(days=14)))
    for name, service in made().items():
        to_come = {one for one in service.announced if one.start >= PLAN.until}
        assert to_come <= set(later[name].incidents)
    assert any(one.start > PLAN.until for one in made()["web-shop"].announced)


def test_demand_is_never_negative_nor_infinite_and_only_releases_leave_gaps() -> None:
    for name, service in made().items():
        seen = service.values[np.isfinite(service.values)]
        assert (seen >= 0).all(), name
        assert not np.isinf(service.values).any(), name
        assert np.isnan(service.values).any() == (name == "checkout")


def test_a_second_round_has_services_of_its_own() -> None:
    found = made(replace(PLAN, services=8, days=7))
    assert list(found)[6:] == ["web-shop-2", "public-api-2"]
    assert not np.array_equal(found["web-shop-2"].values, found["web-shop"].values)
    assert len(made(replace(PLAN, services=2, days=7))) == 2


def test_each_service_has_series_that_add_up_and_differ() -> None:
    service = made()["web-shop"]
    np.testing.assert_allclose(service.values.sum(axis=0), service.demand, atol=0.001)
    assert not np.allclose(service.values[0], service.values[1], rtol=0.1)


def test_the_web_shop_has_evenings_weekends_and_growth() -> None:
    demand = by_day(made()["web-shop"].demand)
    timeline = PLAN.timeline
    hours, days = by_day(timeline.hours("Europe/Berlin")), by_day(timeline.weekdays("Europe/Berlin").astype(float))
    evening, night = (hours >= 19) & (hours < 21), (hours >= 3) & (hours < 5)
    assert np.median(demand[evening]) > 4 * np.median(demand[night])
    assert np.median(demand[days >= 5]) > 1.1 * np.median(demand[days < 5])
    year = made(replace(PLAN, days=366, step=timedelta(hours=1), services=1))["web-shop"].demand
    assert np.median(year[-24 * 28 :]) / np.median(year[: 24 * 28]) == pytest.approx(1.6 ** (338 / 365), rel=0.05)


def test_the_evening_follows_the_clocks_of_berlin_when_summer_time_ends() -> None:
    """On 25 October 2026 the clocks go back: the same hour there is one later in UTC."""
    timeline = Timeline(datetime(2026, 10, 24, tzinfo=UTC), timedelta(hours=1), 48)
    hours = timeline.hours("Europe/Berlin")
    assert (hours[12], hours[24 + 12]) == (14.0, 13.0)
    shop = made()["web-shop"].demand
    day = (PLAN.timeline.end - datetime(2026, 10, 25, tzinfo=UTC)) // FIVE // A_DAY
    summer, winter = (np.median(by_day(shop)[part], axis=0) for part in (slice(-day - 21, -day), slice(-day + 1, None)))
    shifts = range(-24, 25)
    likeness = [np.corrcoef(np.roll(summer, shift), winter)[0, 1] for shift in shifts]
    assert 9 <= shifts[int(np.argmax(likeness))] <= 15, "an hour is twelve bins"


def test_the_busier_the_api_the_noisier() -> None:
    demand = made()["public-api"].demand
    smooth = np.convolve(demand, np.ones(13) / 13, mode="same")
    busy, quiet = smooth > np.quantile(smooth, 0.9), smooth < np.quantile(smooth, 0.3)
    assert spread_over(demand[busy], smooth[busy]) > 2 * spread_over(demand[quiet], smooth[quiet])


def test_an_outage_takes_the_demand_and_then_everybody_tries_again() -> None:
    fine = made(replace(PLAN, step=timedelta(minutes=1), services=2))["public-api"]
    outages = [incident for incident in fine.incidents if incident.kind is Kind.OUTAGE]
    assert outages
    for outage in outages:
        out = within(outage, fine.timeline)
        before = fine.demand[out.start - 30 : out.start - 2].mean()
        assert fine.demand[out].mean() < 0.1 * before
        assert fine.demand[out.stop + 1 : out.stop + 6].mean() > 1.05 * before


def test_jobs_come_by_the_clock() -> None:
    demand = made()["batch-jobs"].demand
    hours = PLAN.timeline.hours("UTC")
    on_the_hour = (hours % 1 < 1 / 60) & (hours != 2)
    assert np.median(demand[on_the_hour]) > 8 * np.median(demand[hours % 1 > 0.5])
    assert np.median(demand[hours == 2]) > 2 * np.median(demand[on_the_hour])


def test_the_feed_bursts_more_than_the_shop() -> None:
    def greatest_jump(name: str) -> float:
        demand = made()[name].demand
        return float((demand[1:] / demand[:-1]).max())

    assert greatest_jump("social-feed") > 3
    assert greatest_jump("web-shop") < 3
    sizes = [incident.factor for incident in made()["social-feed"].incidents if incident.kind is Kind.BURST]
    assert max(sizes) > 2.5 * np.median(sizes)


def test_the_tool_is_mostly_at_rest_and_wholly_at_weekends() -> None:
    demand = made()["internal-tool"].demand
    assert 0.85 < (demand == 0).mean() < 0.98
    assert not demand[PLAN.timeline.weekdays("Europe/London") >= 5].any()
    assert demand.any()


def test_a_release_shifts_the_level_for_good() -> None:
    service = made()["checkout"]
    releases = [incident for incident in service.incidents if incident.kind is Kind.RELEASE]
    assert len(releases) >= 7
    for one, after in pairwise(releases):
        same_time = slice(within(after, PLAN.timeline).start - A_DAY, within(after, PLAN.timeline).start)
        before = slice(within(one, PLAN.timeline).start - A_DAY, within(one, PLAN.timeline).start)
        ratio = np.nanmean(service.demand[same_time]) / np.nanmean(service.demand[before])
        first = next((r.factor for r in reversed(releases) if r.start < one.start), None)
        assert first is None or ratio == pytest.approx(one.factor / first, rel=0.12)


@pytest.mark.parametrize("name", ["web-shop", "social-feed"])
def test_an_announced_event_really_raises_demand(name: str) -> None:
    service = made()[name]
    announced = [one for one in service.announced if PLAN.timeline.start < one.start and one.end < PLAN.until]
    assert len(announced) >= 3
    for one in announced:
        during = within(one, PLAN.timeline)
        yesterday = slice(during.start - A_DAY, during.stop - A_DAY)
        assert np.median(service.demand[during]) > 1.3 * np.median(service.demand[yesterday]), one


def test_an_event_climbs_holds_and_fades() -> None:
    timeline = Timeline(datetime(2026, 11, 2, tzinfo=UTC), timedelta(minutes=1), 120)
    start = timeline.start + timedelta(minutes=30)
    event = Incident(start, start + timedelta(minutes=30), Kind.FLASH_SALE, 3.0)
    found = factors([event], timeline, rise=timedelta(minutes=10), fall=timedelta(minutes=10))
    assert (found[:20] == 1).all()
    assert found[25] == pytest.approx(2)
    assert found[30:61] == pytest.approx(3)
    assert 1 < found[80] < found[70] < 3


def test_manifests_are_what_the_resources_accept() -> None:
    for service in made().values():
        parsed = parse_policy(policy(service))
        peak = np.nanpercentile(service.demand, 99.9)
        per_replica = parsed.spec.demand.per_replica
        assert isinstance(per_replica, float)
        assert peak / per_replica / 0.7 == pytest.approx(20, rel=0.02)
        assert parsed.spec.demand.zero_is_valid == (service.name == "internal-tool")
        for one in events(service):
            event = parse_event(one)
            assert event.selects("default", parsed.metadata.labels)


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    command = ["generate-data", "--to", "csv", "--folder", str(folder), "--until", "2026-11-16T12:34:56Z", *arguments]
    result = CliRunner().invoke(app, command)
    return result.exit_code, result.stdout if result.exception is None else str(result.exception)


def test_files_hold_the_demand_and_the_events(tmp_path: Path) -> None:
    code, said = run(tmp_path, "--days", "8", "--output", "json")
    report = json.loads(said)
    assert code == 0
    assert (report["start"], report["end"]) == ("2026-11-08T12:34:00Z", "2026-11-16T12:34:00Z")
    assert [one["service"] for one in report["services"]] == [profile.name for profile in WORKLOAD_PROFILES]
    plan = Plan(datetime(2026, 11, 16, 12, 34, tzinfo=UTC), days=8)
    rows = list(csv.DictReader((tmp_path / "web-shop.csv").read_text().splitlines()))
    assert rows[0]["timestamp"] == "2026-11-08T12:34:00Z"
    np.testing.assert_allclose([float(row["value"]) for row in rows], made(plan)["web-shop"].demand)
    assert report["rows"] == sum(one["rows"] for one in report["services"]) == 6 * 8 * 1440 - 3
    listed = list(csv.DictReader((tmp_path / "social-feed-events.csv").read_text().splitlines()))
    manifests = list(yaml.safe_load_all((tmp_path / "social-feed-events.yaml").read_text()))
    assert [row["start"] for row in listed] == [manifest["spec"]["start"] for manifest in manifests]
    assert parse_policy(yaml.safe_load((tmp_path / "web-shop-policy.yaml").read_text())).metadata.name == "web-shop"


def test_people_get_a_table_and_what_to_do_next(tmp_path: Path) -> None:
    code, said = run(tmp_path, "--days", "1", "--services", "1")
    assert code == 0
    assert "1,440 rows from 2026-11-15T12:34:00Z to 2026-11-16T12:34:00Z" in said
    assert f"backtest --trace {tmp_path}/web-shop.csv" in said
    assert "kind: ScalingPolicy" in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--resolution", "7s"], "--resolution"),
        (["--resolution", "2h"], "--resolution"),
        (["--resolution", "often"], "--resolution: "),
        (["--until", "yesterday"], "RFC 3339"),
        (["--until", "2026-11-16T12:00:00"], "RFC 3339"),
        (["--to", "database", "--until", "2020-01-01T00:00:00Z"], "before the 400 days that rollups and ingest keep"),
        (["--to", "kafka", "--until", "2999-01-01T00:00:00Z"], "--until"),
    ],
)
def test_what_cannot_be_made_is_said(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    code, said = run(tmp_path, *arguments)
    assert code != 0
    assert complaint in said
