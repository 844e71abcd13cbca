"""The generated services match their descriptions."""

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
from predictive_scaling.synthesis.services import PROFILES, Plan, Service, services
from predictive_scaling.synthesis.timeline import FloatArray, Timeline

FIVE_MINUTES = timedelta(minutes=5)
PLAN = Plan(datetime(2026, 11, 16, tzinfo=UTC), days=56, step=FIVE_MINUTES)
BINS_PER_DAY = 288


@cache
def generated_services(plan: Plan = PLAN) -> dict[str, Service]:
    return {service.name: service for service in services(plan)}


def by_day(values: FloatArray) -> FloatArray:
    return values.reshape(-1, BINS_PER_DAY)


def relative_noise(values: FloatArray, smooth: FloatArray) -> float:
    """Median distance from the smoothed demand, in logarithms; outages do not move a median."""
    return float(np.median(np.abs(np.log(values / smooth))))


def test_the_same_seed_repeats_the_numbers_and_another_seed_does_not() -> None:
    repeated = {service.name: service for service in services(PLAN)}
    other_seed = generated_services(replace(PLAN, seed=2))
    for name, service in generated_services().items():
        np.testing.assert_array_equal(repeated[name].values, service.values)
        assert repeated[name].announced == service.announced
        assert not np.array_equal(other_seed[name].values, service.values)


def test_a_moment_has_the_same_demand_in_every_generated_span() -> None:
    later = generated_services(replace(PLAN, until=PLAN.until + timedelta(days=3, hours=7), days=20))
    for name, service in generated_services().items():
        shared_bins = 20 * BINS_PER_DAY - (3 * BINS_PER_DAY + 7 * 12)
        np.testing.assert_allclose(later[name].values[:, :shared_bins], service.values[:, -shared_bins:], atol=0.0011)


def test_announced_incidents_occur_in_a_later_run() -> None:
    later = generated_services(replace(PLAN, until=PLAN.until + timedelta(days=14)))
    for name, service in generated_services().items():
        upcoming = {incident for incident in service.announced if incident.start >= PLAN.until}
        assert upcoming <= set(later[name].incidents)
    assert any(incident.start > PLAN.until for incident in generated_services()["web-shop"].announced)


def test_demand_is_never_negative_or_infinite_and_only_releases_leave_gaps() -> None:
    for name, service in generated_services().items():
        finite_values = service.values[np.isfinite(service.values)]
        assert (finite_values >= 0).all(), name
        assert not np.isinf(service.values).any(), name
        assert np.isnan(service.values).any() == (name == "checkout")


def test_more_services_than_profiles_are_numbered_and_differ() -> None:
    generated = generated_services(replace(PLAN, services=9, days=7))
    assert list(generated)[7:] == ["web-shop-2", "public-api-2"]
    assert not np.array_equal(generated["web-shop-2"].values, generated["web-shop"].values)
    assert len(generated_services(replace(PLAN, services=2, days=7))) == 2


def test_each_service_has_series_that_add_up_and_differ() -> None:
    service = generated_services()["web-shop"]
    np.testing.assert_allclose(service.values.sum(axis=0), service.demand, atol=0.001)
    assert not np.allclose(service.values[0], service.values[1], rtol=0.1)


def test_the_web_shop_has_evenings_weekends_and_growth() -> None:
    demand = by_day(generated_services()["web-shop"].demand)
    timeline = PLAN.timeline
    hours, days = by_day(timeline.hours("Europe/Berlin")), by_day(timeline.weekdays("Europe/Berlin").astype(float))
    evening, night = (hours >= 19) & (hours < 21), (hours >= 3) & (hours < 5)
    assert np.median(demand[evening]) > 4 * np.median(demand[night])
    assert np.median(demand[days >= 5]) > 1.1 * np.median(demand[days < 5])
    year = generated_services(replace(PLAN, days=366, step=timedelta(hours=1), services=1))["web-shop"].demand
    assert np.median(year[-24 * 28 :]) / np.median(year[: 24 * 28]) == pytest.approx(1.6 ** (338 / 365), rel=0.05)


def test_the_evening_peak_follows_local_time_in_berlin_when_summer_time_ends() -> None:
    """On 25 October 2026 the clocks go back: the same local hour is an hour later in UTC."""
    timeline = Timeline(datetime(2026, 10, 24, tzinfo=UTC), timedelta(hours=1), 48)
    hours = timeline.hours("Europe/Berlin")
    assert (hours[12], hours[24 + 12]) == (14.0, 13.0)
    shop = generated_services()["web-shop"].demand
    day = (PLAN.timeline.end - datetime(2026, 10, 25, tzinfo=UTC)) // FIVE_MINUTES // BINS_PER_DAY
    summer, winter = (np.median(by_day(shop)[days], axis=0) for days in (slice(-day - 21, -day), slice(-day + 1, None)))
    shifts = range(-24, 25)
    correlations = [np.corrcoef(np.roll(summer, shift), winter)[0, 1] for shift in shifts]
    assert 9 <= shifts[int(np.argmax(correlations))] <= 15, "an hour is twelve bins"


def test_the_noise_of_the_api_grows_with_its_load() -> None:
    demand = generated_services()["public-api"].demand
    smooth = np.convolve(demand, np.ones(13) / 13, mode="same")
    busy, quiet = smooth > np.quantile(smooth, 0.9), smooth < np.quantile(smooth, 0.3)
    assert relative_noise(demand[busy], smooth[busy]) > 2 * relative_noise(demand[quiet], smooth[quiet])


def test_demand_drops_in_an_outage_and_retries_follow_it() -> None:
    per_minute = generated_services(replace(PLAN, step=timedelta(minutes=1), services=2))["public-api"]
    outages = [incident for incident in per_minute.incidents if incident.kind is Kind.OUTAGE]
    assert outages
    for outage in outages:
        outage_bins = within(outage, per_minute.timeline)
        before = per_minute.demand[outage_bins.start - 30 : outage_bins.start - 2].mean()
        assert per_minute.demand[outage_bins].mean() < 0.1 * before
        assert per_minute.demand[outage_bins.stop + 1 : outage_bins.stop + 6].mean() > 1.05 * before


def test_batch_jobs_run_on_the_hour() -> None:
    demand = generated_services()["batch-jobs"].demand
    hours = PLAN.timeline.hours("UTC")
    on_the_hour = (hours % 1 < 1 / 60) & (hours != 2)
    assert np.median(demand[on_the_hour]) > 8 * np.median(demand[hours % 1 > 0.5])
    assert np.median(demand[hours == 2]) > 2 * np.median(demand[on_the_hour])


def test_the_feed_has_larger_bursts_than_the_shop() -> None:
    def max_jump(name: str) -> float:
        demand = generated_services()[name].demand
        return float((demand[1:] / demand[:-1]).max())

    assert max_jump("social-feed") > 3
    assert max_jump("web-shop") < 3
    sizes = [
        incident.factor for incident in generated_services()["social-feed"].incidents if incident.kind is Kind.BURST
    ]
    assert max(sizes) > 2.5 * np.median(sizes)


def test_the_internal_tool_is_mostly_idle_and_always_idle_at_weekends() -> None:
    demand = generated_services()["internal-tool"].demand
    assert 0.85 < (demand == 0).mean() < 0.98
    assert not demand[PLAN.timeline.weekdays("Europe/London") >= 5].any()
    assert demand.any()


def test_a_release_shifts_the_level_permanently() -> None:
    service = generated_services()["checkout"]
    releases = [incident for incident in service.incidents if incident.kind is Kind.RELEASE]
    assert len(releases) >= 7
    for release, next_release in pairwise(releases):
        day_after = slice(
            within(next_release, PLAN.timeline).start - BINS_PER_DAY, within(next_release, PLAN.timeline).start
        )
        day_before = slice(within(release, PLAN.timeline).start - BINS_PER_DAY, within(release, PLAN.timeline).start)
        ratio = np.nanmean(service.demand[day_after]) / np.nanmean(service.demand[day_before])
        previous_factor = next(
            (earlier.factor for earlier in reversed(releases) if earlier.start < release.start), None
        )
        assert previous_factor is None or ratio == pytest.approx(release.factor / previous_factor, rel=0.12)


@pytest.mark.parametrize("name", ["web-shop", "social-feed"])
def test_an_announced_event_raises_demand(name: str) -> None:
    service = generated_services()[name]
    announced = [
        incident for incident in service.announced if PLAN.timeline.start < incident.start and incident.end < PLAN.until
    ]
    assert len(announced) >= 3
    for incident in announced:
        during = within(incident, PLAN.timeline)
        yesterday = slice(during.start - BINS_PER_DAY, during.stop - BINS_PER_DAY)
        assert np.median(service.demand[during]) > 1.3 * np.median(service.demand[yesterday]), incident


def test_an_event_ramps_up_holds_and_ramps_down() -> None:
    timeline = Timeline(datetime(2026, 11, 2, tzinfo=UTC), timedelta(minutes=1), 120)
    start = timeline.start + timedelta(minutes=30)
    event = Incident(start, start + timedelta(minutes=30), Kind.FLASH_SALE, 3.0)
    multipliers = factors([event], timeline, rise=timedelta(minutes=10), fall=timedelta(minutes=10))
    assert (multipliers[:20] == 1).all()
    assert multipliers[25] == pytest.approx(2)
    assert multipliers[30:61] == pytest.approx(3)
    assert 1 < multipliers[80] < multipliers[70] < 3


def test_the_manifests_are_valid_resources() -> None:
    for service in generated_services().values():
        parsed = parse_policy(policy(service))
        peak = np.nanpercentile(service.demand, 99.9)
        per_replica = parsed.spec.demand.per_replica
        assert isinstance(per_replica, float)
        assert peak / per_replica / 0.7 == pytest.approx(20, rel=0.02)
        assert parsed.spec.demand.zero_is_valid == (service.name == "internal-tool")
        for manifest in events(service):
            event = parse_event(manifest)
            assert event.selects("default", parsed.metadata.labels)
            assert event.spec.expect.multiplier is None
        names = [manifest["metadata"]["name"] for manifest in events(service)]
        assert len(set(names)) == len(names), "a day may have several matches"


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    command = ["generate-data", "--to", "csv", "--folder", str(folder), "--until", "2026-11-16T12:34:56Z", *arguments]
    result = CliRunner().invoke(app, command)
    return result.exit_code, result.stdout if result.exception is None else str(result.exception)


def test_the_files_contain_the_demand_and_the_events(tmp_path: Path) -> None:
    code, stdout = run(tmp_path, "--days", "8", "--output", "json")
    report = json.loads(stdout)
    assert code == 0
    assert (report["start"], report["end"]) == ("2026-11-08T12:34:00Z", "2026-11-16T12:34:00Z")
    assert [service["service"] for service in report["services"]] == [profile.name for profile in PROFILES]
    assert [service["profile"] for service in report["services"]] == [profile.about for profile in PROFILES]
    plan = Plan(datetime(2026, 11, 16, 12, 34, tzinfo=UTC), days=8)
    incidents = {name: len(service.incidents) for name, service in generated_services(plan).items()}
    assert {service["service"]: service["incidents"] for service in report["services"]} == incidents
    assert any(incidents.values())
    rows = list(csv.DictReader((tmp_path / "web-shop.csv").read_text().splitlines()))
    assert rows[0]["timestamp"] == "2026-11-08T12:34:00Z"
    np.testing.assert_allclose([float(row["value"]) for row in rows], generated_services(plan)["web-shop"].demand)
    assert report["rows"] == sum(service["rows"] for service in report["services"]) == 7 * 8 * 1440 - 3
    event_rows = list(csv.DictReader((tmp_path / "social-feed-events.csv").read_text().splitlines()))
    manifests = list(yaml.safe_load_all((tmp_path / "social-feed-events.yaml").read_text()))
    assert [row["start"] for row in event_rows] == [manifest["spec"]["start"] for manifest in manifests]
    assert parse_policy(yaml.safe_load((tmp_path / "web-shop-policy.yaml").read_text())).metadata.name == "web-shop"


def test_the_table_output_names_the_next_commands(tmp_path: Path) -> None:
    code, stdout = run(tmp_path, "--days", "1", "--services", "1")
    assert code == 0
    assert "1,440 rows from 2026-11-15T12:34:00Z to 2026-11-16T12:34:00Z" in stdout
    assert f"backtest --trace {tmp_path}/web-shop.csv" in stdout
    assert "kind: ScalingPolicy" in stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_invalid_arguments_are_refused_with_the_reason(tmp_path: Path, arguments: list[str], message: str) -> None:
    code, output = run(tmp_path, *arguments)
    assert code != 0
    assert message in output
