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


def test_matches_differ_in_weight() -> None:
    factors = np.array([match.factor for match in matches()])
    assert factors.min() < 2 < 3 < np.median(factors) < 4 < 6 < factors.max()


def test_demand_rises_before_and_around_the_kick_off_and_falls_after_the_end() -> None:
    demand, _ = generated()
    courses = []
    for match in matches():
        kick_off, end = minute_of(match.start), minute_of(match.end)
        others = [
            other for other in matches() if other is not match and abs(other.start - match.start) < timedelta(hours=7)
        ]
        if match.factor >= 3 and not others:
            points = (kick_off - 120, kick_off - 10, kick_off + 30, end - 10, end + 120)
            courses.append([demand[at - 5 : at + 5].mean() for at in points])
    assert len(courses) >= 15
    quiet, before, during, late, after = np.median(np.array(courses) / np.array(courses)[:, :1], axis=0)
    assert quiet == 1
    assert 1.2 < before < during < late
    assert late > 2.5
    assert after < late / 2


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
