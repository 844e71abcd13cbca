"""A generated season of match days matches its description."""

from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np

from predictive_scaling.synthesis.chance import Chance
from predictive_scaling.synthesis.incidents import ANNOUNCED, Incident, Kind
from predictive_scaling.synthesis.match_days import MATCH_LENGTH, sports_site
from predictive_scaling.synthesis.timeline import DAY, FloatArray, Timeline

MINUTE = timedelta(minutes=1)
SEASON = Timeline(datetime(2026, 3, 2, tzinfo=UTC), MINUTE, 84 * 1440)
CUP = timedelta(days=70)


@cache
def generated(seed: int = 1, timeline: Timeline = SEASON) -> tuple[FloatArray, tuple[Incident, ...]]:
    demand = sports_site(timeline, Chance(seed, "sports-site"))
    return demand.values, tuple(incident for incident in demand.incidents if incident.touches(timeline))


def matches() -> list[Incident]:
    return [incident for incident in generated()[1] if incident.kind is Kind.MATCH]


def minute_of(at: datetime) -> int:
    return (at - SEASON.start) // MINUTE


def test_a_week_has_five_matches_of_different_teams_at_times_that_differ_from_the_week_before() -> None:
    by_week: dict[int, list[Incident]] = {}
    for match in matches():
        by_week.setdefault((match.start - SEASON.start + timedelta(hours=2)) // (7 * DAY), []).append(match)
    assert [len(by_week[week]) for week in range(12)] == [5] * 12
    for week in by_week.values():
        teams = [team for match in week for team in match.name.split(" v ")]
        assert len(set(teams)) == len(teams)
    times = [{(match.start - SEASON.start) % (7 * DAY) for match in by_week[week]} for week in range(12)]
    repeated = sum(len(times[week] & times[week - 1]) for week in range(1, 12))
    assert repeated <= 5, "of 55 matches"


def test_matches_weigh_more_in_late_rounds_and_in_the_evening() -> None:
    cups = [
        incident
        for seed in range(1, 6)
        for incident in generated(seed)[1]
        if incident.kind is Kind.MATCH and incident.start < SEASON.start + CUP
    ]

    def usual(chosen: list[Incident]) -> float:
        return float(np.median([match.factor for match in chosen])) - 1

    groups = [match for match in cups if match.start < SEASON.start + timedelta(days=48)]
    late_rounds = [match for match in cups if match.start > SEASON.start + timedelta(days=56)]
    assert usual(late_rounds) > 1.6 * usual(groups)
    early, evening = (
        [match for match in groups if low <= match.start.hour < high] for low, high in ((10, 14), (17, 21))
    )
    assert usual(evening) > 1.4 * usual(early)


def test_demand_dips_at_half_time_and_peaks_at_the_final_whistle() -> None:
    shapes = []
    for seed in range(1, 4):
        demand, incidents = generated(seed)
        for match in incidents:
            at = minute_of(match.start)
            if match.kind is Kind.MATCH and match.factor >= 2.5 and 0 < at < len(demand) - 200:
                parts = ((30, 44), (50, 60), (66, 80), (88, 98), (107, 113), (140, 150))
                shapes.append([demand[at + since : at + until].mean() for since, until in parts])
    first_half, half_time, second_half, late, whistle, after = np.median(np.array(shapes), axis=0)
    assert half_time < 0.93 * min(first_half, second_half)
    assert whistle > 1.08 * late
    assert after < 0.7 * whistle


def test_the_site_crashes_now_and_then() -> None:
    demand, incidents = generated()
    crashes = [incident for seed in range(1, 4) for incident in generated(seed)[1] if incident.kind is Kind.OUTAGE]
    assert 3 <= len(crashes) <= 15
    for crash in (incident for incident in incidents if incident.kind is Kind.OUTAGE):
        begin, end = minute_of(crash.start), minute_of(crash.end)
        assert demand[begin:end].mean() < 0.15 * demand[begin - 10 : begin].mean()
        assert demand[end : end + 5].mean() > 0.6 * demand[begin - 10 : begin].mean()


def test_demand_rises_before_and_around_the_kick_off_and_falls_after_the_end() -> None:
    demand, _ = generated()
    courses = []
    for match in matches():
        kick_off, end = minute_of(match.start), minute_of(match.end)
        others = [
            other for other in matches() if other is not match and abs(other.start - match.start) < timedelta(hours=7)
        ]
        if match.factor >= 2.5 and not others:
            points = (kick_off - 120, kick_off - 10, kick_off + 30, end - 10, end + 120)
            courses.append([demand[at - 5 : at + 5].mean() for at in points])
    assert len(courses) >= 12
    quiet, before, during, late, after = np.median(np.array(courses) / np.array(courses)[:, :1], axis=0)
    assert quiet == 1
    assert 1.2 < before < during < late
    assert late > 2.2
    assert after < 0.6 * late


def test_a_day_and_a_week_have_a_shape_and_demand_grows() -> None:
    demand, _ = generated()
    by_day = np.median(demand.reshape(-1, 1440), axis=0)
    assert by_day[10 * 60 : 12 * 60].mean() > 2.5 * by_day[1 * 60 : 3 * 60].mean()
    weekdays = np.median(demand.reshape(-1, 7, 1440), axis=(0, 2))
    assert weekdays[5:].mean() > 1.05 * weekdays[:5].mean()
    assert np.median(demand[-28 * 1440 :]) > 1.05 * np.median(demand[: 28 * 1440])


def test_requests_per_minute_are_integers_and_overdispersed() -> None:
    demand, _ = generated()
    assert (demand >= 0).all()
    assert np.array_equal(demand, np.round(demand))
    pairs = demand.reshape(-1, 2)
    # The variance of a minute, from the difference to the next minute, in units of the mean.
    dispersion = np.median((pairs[:, 0] - pairs[:, 1]) ** 2 / 2 / pairs.mean(axis=1)) / 0.455
    assert 8 < dispersion < 25


def test_news_is_not_announced_and_raises_demand() -> None:
    news = [incident for incident in generated()[1] if incident.kind is Kind.BURST]
    assert len(news) >= 12
    assert Kind.BURST not in ANNOUNCED
    assert Kind.MATCH in ANNOUNCED
    demand, _ = generated()
    large = max(news, key=lambda burst: burst.factor)
    start = minute_of(large.start)
    assert demand[start : start + 3].mean() > 0.7 * large.factor * demand[start - 10 : start - 4].mean()


def test_a_minute_has_the_same_demand_in_each_span() -> None:
    demand, _ = generated()
    part = Timeline(SEASON.start + 30 * DAY, MINUTE, 7 * 1440)
    shared, _ = generated(1, part)
    np.testing.assert_allclose(shared, demand[30 * 1440 : 37 * 1440], atol=1)
    assert not np.array_equal(generated(2)[0], demand)


def test_a_match_lasts_until_its_end() -> None:
    assert {match.end - match.start for match in matches()} == {MATCH_LENGTH}
