"""A sports site with a cup: quiet days, and demand that multiplies around each kick-off.

A match draws more visitors in a later round and in the evening. Nothing else announces its size.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from predictive_scaling.synthesis.chance import Chance
from predictive_scaling.synthesis.incidents import Incident, Kind, factors, within
from predictive_scaling.synthesis.shapes import day, growth, weekend
from predictive_scaling.synthesis.timeline import DAY, FloatArray, Timeline
from predictive_scaling.synthesis.workload_profiles import GeneratedDemand, WorkloadProfile, in_weeks, noise_factor

ZONE = "Europe/Berlin"
MATCH_LENGTH = timedelta(minutes=110)
TEAMS = ("Amber", "Azure", "Crimson", "Grey", "Indigo", "Ivory", "Jade", "Ochre", "Scarlet", "Silver", "Teal", "Violet")
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
_MATCHES_A_WEEK = 5
_FIRST_CUP = date(2026, 3, 2)
"""A Monday; the next cup follows the final of the one before."""
_ROUND_LIFTS = (1.5,) * 7 + (2.1, 2.8, 3.6)
"""The usual lift in each week of a cup: seven weeks of groups, then three rounds in which the loser is out."""
_KICK_OFFS = ((13.5, 0.75), (17.0, 1.0), (20.5, 1.3))
"""Hours in ZONE, moved by up to 45 minutes, each with a factor of the lift. Days and hours differ each week: a
match that returned at the same time each week would be part of the weekly pattern.
"""
_LIFT_SPREAD, _MIN_LIFT, _MAX_LIFT = 0.2, 0.4, 8.0
_BUILD_UP = timedelta(minutes=90)
"""Before the kick-off: demand rises slowly until the ramp."""
_BUILD_UP_SHARE, _KICK_OFF_SHARE, _LATE_SHARE = 0.12, 0.65, 0.85
_HALF_TIME, _HALF_TIME_SHARE = (timedelta(minutes=47), timedelta(minutes=62)), -0.2
_WHISTLE_SHARE, _WHISTLE_WIDTH = 0.25, 8.0
"""The peak at the final whistle; its width in minutes."""
_MIN_CRASH, _MAX_CRASH = 4, 16
"""Minutes. The site crashes in one week of five, at any time."""
_CRASH_PROBABILITY, _CRASH_SHARE = 0.2, 0.05
_FORGOTTEN_FADES = 8
"""Time constants of a match's decay after which it is cut off, at 0.03 % of its lift."""
_GOAL_FADE = 7.0
"""Minutes."""
_DISPERSION = 12.0
"""Variance of the requests of a minute divided by their mean; 1 for independent visitors."""


@dataclass(frozen=True, slots=True)
class _Course:
    """The development of demand around a match. lift: the match's factor minus 1."""

    kick_off: datetime
    lift: float
    ramp_middle: timedelta
    """Relative to the kick-off, as the times of the goals."""
    ramp_width: timedelta
    fade: timedelta
    goals: tuple[tuple[timedelta, float], ...]
    """Times, and shares that each goal adds to the lift."""

    def add_to(self, factor: FloatArray, timeline: Timeline) -> None:
        """Add what the match contributes to the factor of demand at each bin; `factor` has the shape (bins,)."""
        begin, end = self.kick_off - _BUILD_UP, self.kick_off + MATCH_LENGTH + _FORGOTTEN_FADES * self.fade
        bins = slice(*np.searchsorted(timeline.seconds, [begin.timestamp(), end.timestamp()]))
        minutes = (timeline.seconds[bins] - self.kick_off.timestamp()) / 60
        length, (break_begin, break_end) = MATCH_LENGTH / _MINUTE, (edge / _MINUTE for edge in _HALF_TIME)
        build_up = _BUILD_UP_SHARE * np.clip(1 + minutes / (_BUILD_UP / _MINUTE), 0, 1)
        ramp = _smooth_step((minutes - self.ramp_middle / _MINUTE) / (self.ramp_width / _MINUTE) + 0.5)
        interest = np.interp(minutes, [0, length], [_KICK_OFF_SHARE, _LATE_SHARE])
        interest = interest + _HALF_TIME_SHARE * _smooth_step((minutes - break_begin) / 3) * _smooth_step(
            (break_end - minutes) / 3
        )
        interest = interest + _WHISTLE_SHARE * np.exp(-(((minutes - length) / _WHISTLE_WIDTH) ** 2))
        for at, share in self.goals:
            since = minutes - at / _MINUTE
            interest = interest + np.where(since >= 0, share * np.exp(-np.maximum(since, 0) / _GOAL_FADE), 0.0)
        fading = np.exp(-np.maximum(minutes - length, 0) / (self.fade / _MINUTE))
        factor[bins] += self.lift * (build_up + (interest - build_up) * ramp) * fading


def sports_site(timeline: Timeline, chance: Chance) -> GeneratedDemand:
    """A sports site in Berlin: five matches a week, news and crashes that nobody announces, and growth."""
    shape = day(timeline, ZONE, {0: 0.45, 3: 0.2, 6: 0.35, 9: 0.9, 12: 1.1, 15: 1.0, 18: 1.15, 21: 1.2})
    baseline = chance.between("level", 5_500, 8_500) * shape * weekend(timeline, ZONE, 1.15) * growth(timeline, 0.8)
    baseline = baseline * np.exp(0.08 * chance.drifting("mood", timeline, 5 * _HOUR))
    news = tuple(in_weeks(timeline, ZONE, chance, _news))
    baseline = baseline * factors(news, timeline, rise=3 * _MINUTE, fall=25 * _MINUTE)
    factor, matches = np.ones(timeline.bins), list[Incident]()
    for monday in timeline.mondays(ZONE):
        for match, course in _fixtures(monday, chance.on("fixtures", monday)):
            course.add_to(factor, timeline)
            matches.append(match)
    crashes = tuple(in_weeks(timeline, ZONE, chance, _crashes))
    for crash in crashes:
        factor[within(crash, timeline)] *= crash.factor
    expected = baseline * factor * noise_factor(timeline, chance, 0.05, 0.015)
    noise = np.sqrt(_DISPERSION * expected) * chance.normal("requests", timeline)
    return GeneratedDemand(np.rint(np.maximum(expected + noise, 0.0)), tuple(sorted((*matches, *news, *crashes))))


SPORTS_SITE = WorkloadProfile("sports-site", "announced matches, news, crashes", "requests_per_minute", sports_site)


def _fixtures(monday: datetime, generator: np.random.Generator) -> list[tuple[Incident, _Course]]:
    """The matches of a week; no team plays twice."""
    teams = generator.permutation(len(TEAMS))
    fixtures: list[tuple[Incident, _Course]] = []
    slots = np.sort(generator.permutation(7 * len(_KICK_OFFS))[:_MATCHES_A_WEEK])
    week_of_cup = (monday.date() - _FIRST_CUP).days // 7 % len(_ROUND_LIFTS)
    for number, slot in enumerate(slots):
        home, away = TEAMS[teams[2 * number]], TEAMS[teams[2 * number + 1]]
        weekday, of_day = divmod(int(slot), len(_KICK_OFFS))
        hour, hour_factor = _KICK_OFFS[of_day]
        moved = int(generator.integers(-3, 4)) * 15 * _MINUTE
        kick_off = (monday + weekday * DAY + hour * _HOUR + moved).astimezone(UTC)
        surprise = np.exp(_LIFT_SPREAD * generator.standard_normal())
        lift = float(np.clip(_ROUND_LIFTS[week_of_cup] * hour_factor * surprise, _MIN_LIFT, _MAX_LIFT))
        goals = tuple(
            (float(generator.uniform(0, 108)) * _MINUTE, float(generator.uniform(0.05, 0.25)))
            for _ in range(int(generator.poisson(2.7)))
        )
        course = _Course(
            kick_off,
            lift,
            ramp_middle=float(generator.uniform(-18, -6)) * _MINUTE,
            ramp_width=float(generator.uniform(12, 26)) * _MINUTE,
            fade=float(generator.uniform(10, 35)) * _MINUTE,
            goals=goals,
        )
        match = Incident(kick_off, kick_off + MATCH_LENGTH, Kind.MATCH, round(1 + lift, 2), f"{home} v {away}")
        fixtures.append((match, course))
    return fixtures


def _news(monday: datetime, generator: np.random.Generator) -> list[Incident]:
    """About two bursts a week, at any hour; their sizes have a Pareto distribution."""
    starts = [monday + int(generator.integers(0, 7 * 24 * 60)) * _MINUTE for _ in range(int(generator.poisson(2)))]
    return [
        Incident(
            start,
            start + int(generator.integers(3, 20)) * _MINUTE,
            Kind.BURST,
            round(1.2 + 0.5 * min(float(generator.pareto(1.6)), 8.0), 2),
        )
        for start in starts
    ]


def _crashes(monday: datetime, generator: np.random.Generator) -> list[Incident]:
    """Hardly any request is served while the site is down; visitors return as soon as it is up."""
    start = monday + int(generator.integers(0, 7 * 24 * 60)) * _MINUTE
    crash = Incident(
        start, start + int(generator.integers(_MIN_CRASH, _MAX_CRASH)) * _MINUTE, Kind.OUTAGE, _CRASH_SHARE
    )
    return [crash] if generator.random() < _CRASH_PROBABILITY else []


def _smooth_step(share: FloatArray) -> FloatArray:
    """From 0 to 1 while `share` goes from 0 to 1, with no corner at either end: shape (bins,)."""
    clipped = np.clip(share, 0.0, 1.0)
    return clipped * clipped * (3 - 2 * clipped)
