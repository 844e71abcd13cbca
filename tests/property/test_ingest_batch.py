"""Admission of a batch: order, repetition and other messages do not change the result of a message."""

import json
from collections import Counter
from collections.abc import Iterable
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
malformed = st.one_of(st.binary(max_size=40), samples.map(lambda raw: raw[:-1]))


def topics(of: st.SearchStrategy[bytes] = samples) -> st.SearchStrategy[list[Message]]:
    value = st.one_of(of, malformed)
    return st.lists(st.tuples(st.integers(0, 2), value), max_size=30).map(messages_of)


def messages_of(values: Iterable[tuple[int, bytes]]) -> list[Message]:
    """Messages of some partitions, each with the next offset of its partition."""
    ends = Counter[int]()
    messages: list[Message] = []
    for partition, value in values:
        messages.append(Message("metrics.raw", partition, ends[partition], value))
        ends[partition] += 1
    return messages


def a_register(limit: int, known_services: set[str], **limits: int) -> SeriesRegister:
    series_register = SeriesRegister(replace(SeriesLimits(services=100, metrics=100, series=limit), **limits))
    series_register.load(known_services, {})
    return series_register


@given(topics())
def test_every_message_becomes_a_sample_or_a_dead_letter(messages: list[Message]) -> None:
    contents = read(messages, WINDOW, NOW)
    batch = admit(contents, a_register(100, contents.services))
    assert len(batch.samples) + len(batch.dead_letters) == len(messages)
    ends = Counter(message.partition for message in messages)
    assert batch.spans == {partition: (0, end) for partition, end in ends.items()}


@given(topics())
def test_the_halves_of_a_batch_add_up_to_the_batch(messages: list[Message]) -> None:
    contents = read(messages, WINDOW, NOW)
    first, second = contents.halves()
    assert [*first.samples, *second.samples] == contents.samples
    assert [*first.dead_letters, *second.dead_letters] == contents.dead_letters
    assert [*first.messages, *second.messages] == messages


@given(topics(samples_within(3600)), st.integers(1, 4), st.integers(1, 2), st.integers(1, 2))
def test_the_series_admitted_on_a_day_stay_within_the_limits(
    messages: list[Message], series: int, metrics: int, services: int
) -> None:
    contents = read(messages, WINDOW, NOW)
    series_register = a_register(series, contents.services, metrics=metrics, services=services)
    admitted = admit(contents, series_register)
    assert series_register.active(Limit.SERVICES, NOW.date()) == 0  # admitting changes nothing
    series_register.learn(days_of(admitted))
    for day in {sample.time.date() for sample in admitted.samples}:
        assert series_register.active(Limit.SERVICES, day) <= services
        for service in contents.services:
            assert series_register.active(Limit.METRICS, day, service) <= metrics
            assert series_register.active(Limit.SERIES, day, service) <= series
    assert len(admitted.samples) + len(admitted.dead_letters) == len(messages)
    readmitted = admit(contents, series_register)
    # Samples that were admitted once are admitted again.
    assert {id(sample) for sample in admitted.samples} <= {id(sample) for sample in readmitted.samples}


@given(topics(), topics())
def test_new_series_never_displace_active_series(messages: list[Message], later_messages: list[Message]) -> None:
    contents, later_contents = read(messages, WINDOW, NOW), read(later_messages, WINDOW, NOW)
    series_register = a_register(1, contents.services | later_contents.services, metrics=1, services=1)
    admitted = admit(contents, series_register)
    series_register.learn(days_of(admitted))
    series_register.learn(days_of(admit(later_contents, series_register)))
    readmitted = admit(contents, series_register)
    assert {id(sample) for sample in admitted.samples} <= {id(sample) for sample in readmitted.samples}


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=5))
def test_the_order_of_labels_does_not_change_the_series(labels: dict[str, str]) -> None:
    assert series_of(labels) == series_of(dict(reversed(labels.items())))
    assert -(2**63) <= series_of(labels) < 2**63


@given(*[st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3)] * 2)
def test_different_labels_are_different_series(labels: dict[str, str], others: dict[str, str]) -> None:
    assert (series_of(labels) == series_of(others)) == (labels == others)
