import time
from datetime import UTC, datetime, timedelta

import pytest

from predictive_scaling.clock import ManualClock, ReplayClock, WallClock, monotonic, parse_clock
from predictive_scaling.errors import SettingsError

KICK_OFF = datetime(1998, 7, 3, 14, 30, tzinfo=UTC)


def test_a_replay_passes_as_many_times_faster_as_its_rate_says() -> None:
    clock = ReplayClock(KICK_OFF, origin=monotonic() - 10, rate=90)
    assert abs(clock.now() - (KICK_OFF + timedelta(minutes=15))) < timedelta(seconds=30)
    assert clock.real_seconds(timedelta(minutes=3)) == 2


def test_a_replay_that_is_announced_stands_still_until_it_begins() -> None:
    assert ReplayClock(KICK_OFF, origin=monotonic() + 100, rate=90).now() == KICK_OFF


def test_two_processes_read_the_same_time_from_the_same_setting() -> None:
    clock = ReplayClock(KICK_OFF, origin=1234.5678901234, rate=90.0)
    assert parse_clock(str(clock)) == clock


def test_without_a_setting_time_is_life() -> None:
    assert parse_clock("") == WallClock()
    assert abs(WallClock().now().timestamp() - time.time()) < 5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("now", "write START,ORIGIN,RATE"),
        ("1998-07-03T14:30:00Z,abc,90", "write START,ORIGIN,RATE"),
        ("1998-07-03T14:30:00,0,90", "without a zone"),
        ("1998-07-03T14:30:00Z,0,0", "a number above 0"),
        ("1998-07-03T14:30:00Z,0,nan", "a number above 0"),
    ],
)
def test_a_clock_that_cannot_be_read_says_what_to_write(text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        parse_clock(text)


async def test_sleeping_moves_a_manual_clock() -> None:
    clock = ManualClock(KICK_OFF)
    await clock.sleep(timedelta(minutes=1))
    assert clock.now() == KICK_OFF + timedelta(minutes=1)
