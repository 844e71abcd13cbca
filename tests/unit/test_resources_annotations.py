"""Annotations that override the floor."""

from datetime import UTC, datetime, timedelta

import pytest

from predictive_scaling.resources.annotations import Override, read_annotations
from predictive_scaling.resources.vocabulary import Direction

UNTIL = datetime(2026, 11, 27, 7, tzinfo=UTC)


def override(**annotations: str) -> Override:
    return read_annotations({f"predictive-scaling.io/{name}": text for name, text in annotations.items()})


def test_without_known_annotations_there_is_no_override() -> None:
    assert read_annotations({"example.com/paused": "true"}) == Override()


def test_all_annotations_can_be_combined() -> None:
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
def test_an_invalid_annotation_is_ignored_and_reported(name: str, text: str, allowed: str) -> None:
    result = override(**{name: text})

    assert (result.paused, result.pin, result.direction, result.until) == (False, None, None, None)
    (error,) = result.errors
    assert error.startswith(f'annotation predictive-scaling.io/{name} is "{text[:100]}"; write ')
    assert allowed in error


def test_a_pin_may_be_zero() -> None:
    assert override(pin="0").pin == 0


def test_until_ends_every_override_except_resume() -> None:
    original = override(paused="true", pin="12", direction="DownOnly", until="2026-11-27T07:00:00Z", resume="a")

    assert original.at(UNTIL - timedelta(seconds=1)) == original
    assert original.at(UNTIL) == Override(resume="a")


def test_a_pause_with_an_invalid_end_stays_active() -> None:
    assert override(paused="true", until="soon").at(UNTIL).paused
