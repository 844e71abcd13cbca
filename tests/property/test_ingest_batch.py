"""Order, repetition and company change nothing about what becomes of a message."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.ingest.batch import Message, admit, days_of, read
from predictive_scaling.ingest.measurement import Window
from predictive_scaling.ingest.series_register import Limit, SeriesLimits, SeriesRegister
from predictive_scaling.storage.samples import series_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WINDOW = Window.around(NOW, timedelta(days=400), timedelta(minutes=5))


def samples_within(seconds: int) -> st.SearchStrategy[bytes]:
    return st.fixed_dictionaries(
        {
            "service_name": st.sampled_from(["checkout", "cart"]),
            "metric_name": st.sampled_from(["requests", "cpu"]),
            "value": st.floats(0, 1e6),
            "timestamp": st.integers(0, seconds).map(lambda age: NOW.timestamp() - age),
            "labels": st.dictionaries(st.sampled_from("abc"), st.text("xyz", max_size=2), max_size=2),
        }
    ).map(lambda sample: json.dumps(sample).encode())


samples = samples_within(400 * 86_400)
poison = st.one_of(st.binary(max_size=40), samples.map(lambda raw: raw[:-1]))


@st.composite
def topics(draw: st.DrawFn, of: st.SearchStrategy[bytes] = samples) -> list[Message]:
    values = draw(st.lists(st.one_of(of, poison), max_size=30))
    ends = Counter[int]()
    messages: list[Message] = []
    for value in values:
        partition = draw(st.integers(0, 2))
        messages.append(Message("metrics.raw", partition, ends[partition], value))
        ends[partition] += 1
    return messages


def register(limit: int, known_services: set[str], **limits: int) -> SeriesRegister:
    fresh = SeriesRegister(replace(SeriesLimits(services=100, metrics=100, series=limit), **limits))
    fresh.load(known_services, {})
    return fresh


@given(topics())
def test_every_message_is_either_kept_or_a_dead_letter(messages: list[Message]) -> None:
    found = read(messages, WINDOW, NOW)
    batch = admit(found, register(100, found.services))
    assert len(batch.samples) + len(batch.dead_letters) == len(messages)
    ends = Counter(message.partition for message in messages)
    assert batch.spans == {partition: (0, end) for partition, end in ends.items()}


@given(topics())
def test_halves_together_say_what_the_whole_says(messages: list[Message]) -> None:
    found = read(messages, WINDOW, NOW)
    first, second = found.halves()
    assert [*first.samples, *second.samples] == found.samples
    assert [*first.dead_letters, *second.dead_letters] == found.dead_letters
    assert [*first.messages, *second.messages] == messages


@given(topics(samples_within(3600)), st.integers(1, 4), st.integers(1, 2), st.integers(1, 2))
def test_no_more_are_admitted_on_a_day_than_the_limits_allow(
    messages: list[Message], series: int, metrics: int, services: int
) -> None:
    found = read(messages, WINDOW, NOW)
    known = register(series, found.services, metrics=metrics, services=services)
    before = admit(found, known)
    assert known.active(Limit.SERVICES, NOW.date()) == 0  # admitting changes nothing
    known.learn(days_of(before))
    for day in {sample.time.date() for sample in before.samples}:
        assert known.active(Limit.SERVICES, day) <= services
        for service in found.services:
            assert known.active(Limit.METRICS, day, service) <= metrics
            assert known.active(Limit.SERIES, day, service) <= series
    assert len(before.samples) + len(before.dead_letters) == len(messages)
    again = admit(found, known)
    # What was admitted once is admitted again.
    assert {id(sample) for sample in before.samples} <= {id(sample) for sample in again.samples}


@given(topics(), topics())
def test_what_is_active_is_never_cut_off_by_what_is_new(messages: list[Message], more: list[Message]) -> None:
    found, newer = read(messages, WINDOW, NOW), read(more, WINDOW, NOW)
    known = register(1, found.services | newer.services, metrics=1, services=1)
    first = admit(found, known)
    known.learn(days_of(first))
    known.learn(days_of(admit(newer, known)))
    again = admit(found, known)
    assert {id(sample) for sample in first.samples} <= {id(sample) for sample in again.samples}


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=5))
def test_a_series_is_its_labels_whatever_their_order(labels: dict[str, str]) -> None:
    assert series_of(labels) == series_of(dict(reversed(labels.items())))
    assert -(2**63) <= series_of(labels) < 2**63


@given(*[st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3)] * 2)
def test_other_labels_are_another_series(labels: dict[str, str], others: dict[str, str]) -> None:
    assert (series_of(labels) == series_of(others)) == (labels == others)
