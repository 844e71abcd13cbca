"""The wall clock, the replay clock and the manual clock."""

from datetime import UTC, datetime, timedelta

import pytest

from predictive_scaling import clock as clock_module
from predictive_scaling.clock import ManualClock, ReplayClock, WallClock, parse_clock
from predictive_scaling.errors import SettingsError
from tests.support.manual_seconds import ManualSeconds

KICK_OFF = datetime(1998, 7, 3, 14, 30, tzinfo=UTC)


def test_a_replay_runs_faster_than_real_time_by_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = ManualSeconds(monkeypatch, clock_module)
    clock = ReplayClock(KICK_OFF, origin=seconds.now, rate=90)
    seconds.now += 10
    assert clock.now() == KICK_OFF + timedelta(minutes=15)
    assert clock.real_seconds(timedelta(minutes=3)) == 2


def test_a_replay_stands_still_before_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = ManualSeconds(monkeypatch, clock_module)
    assert ReplayClock(KICK_OFF, origin=seconds.now + 1, rate=90).now() == KICK_OFF


def test_a_replay_clock_survives_a_round_trip_through_the_setting() -> None:
    clock = ReplayClock(KICK_OFF, origin=1234.5678901234, rate=90.0)
    assert parse_clock(str(clock)) == clock


def test_without_a_setting_the_wall_clock_is_used() -> None:
    assert parse_clock("") == WallClock()
    before, now = datetime.now(UTC), WallClock().now()
    assert before <= now <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("now", "write START,ORIGIN,RATE"),
        ("1998-07-03T14:30:00Z,abc,90", "write START,ORIGIN,RATE"),
        ("1998-07-03T14:30:00,0,90", "without a zone"),
        ("1998-07-03T14:30:00Z,0,0", "a number above 0"),
        ("1998-07-03T14:30:00Z,0,nan", "a number above 0"),
    ],
)
def test_an_invalid_clock_is_refused_with_the_expected_format(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_clock(text)


async def test_sleeping_advances_a_manual_clock() -> None:
    clock = ManualClock(KICK_OFF)
    await clock.sleep(timedelta(minutes=1))
    assert clock.now() == KICK_OFF + timedelta(minutes=1)
