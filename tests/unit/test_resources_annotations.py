from datetime import UTC, datetime, timedelta

import pytest

from predictive_scaling.resources.annotations import Override, read_annotations
from predictive_scaling.resources.vocabulary import Direction

UNTIL = datetime(2026, 11, 27, 7, tzinfo=UTC)


def override(**annotations: str) -> Override:
    return read_annotations({f"predictive-scaling.io/{name}": text for name, text in annotations.items()})


def test_without_our_annotations_nothing_is_asked_for() -> None:
    assert read_annotations({"example.com/paused": "true"}) == Override()


def test_all_of_them_can_be_given_at_once() -> None:
    assert override(
        paused="true", pin="12", direction="UpOnly", until="2026-11-27T08:00:00+01:00", resume="a"
    ) == Override(paused=True, pin=12, direction=Direction.UP_ONLY, until=UNTIL, resume="a")


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("paused", "yes", '"true"'),
        ("pin", "-1", "a number of replicas"),
        ("pin", "3.5", "a number of replicas"),
        ("pin", "٣", "a number of replicas"),
        ("pin", "9" * 5000, "a number of replicas"),
        ("direction", "up", "UpOnly or DownOnly"),
        ("until", "tomorrow", "an RFC 3339 time"),
        ("until", "2026-11-27T08:00:00", "an RFC 3339 time with its offset"),
    ],
)
def test_what_cannot_be_read_is_not_followed_but_named(name: str, text: str, allowed: str) -> None:
    read = override(**{name: text})

    assert (read.paused, read.pin, read.direction, read.until) == (False, None, None, None)
    (error,) = read.errors
    assert error.startswith(f'annotation predictive-scaling.io/{name} is "{text[:100]}"; write ')
    assert allowed in error


def test_a_pin_of_zero_is_a_pin() -> None:
    assert override(pin="0").pin == 0


def test_until_ends_everything_but_resume() -> None:
    given = override(paused="true", pin="12", direction="DownOnly", until="2026-11-27T07:00:00Z", resume="a")

    assert given.at(UNTIL - timedelta(seconds=1)) == given
    assert given.at(UNTIL) == Override(resume="a")


def test_a_pause_whose_end_cannot_be_read_holds() -> None:
    assert override(paused="true", until="soon").at(UNTIL).paused
