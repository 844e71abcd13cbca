"""Order, repetition and company change nothing about what becomes of a message."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.ingest.batch import Message, SeriesRegister, admit, days_of, read
from predictive_scaling.ingest.measurement import Window
from predictive_scaling.storage.samples import series_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WINDOW = Window.around(NOW, timedelta(days=400), timedelta(minutes=5))

samples = st.fixed_dictionaries(
    {
        "service_name": st.sampled_from(["checkout", "cart"]),
        "metric_name": st.sampled_from(["requests", "cpu"]),
        "value": st.floats(0, 1e6),
        "timestamp": st.integers(0, 400 * 86_400).map(lambda age: NOW.timestamp() - age),
        "labels": st.dictionaries(st.sampled_from("abc"), st.text("xyz", max_size=2), max_size=2),
    }
).map(lambda sample: json.dumps(sample).encode())
poison = st.one_of(st.binary(max_size=40), samples.map(lambda raw: raw[:-1]))


@st.composite
def topics(draw: st.DrawFn) -> list[Message]:
    values = draw(st.lists(st.one_of(samples, poison), max_size=30))
    ends = Counter[int]()
    messages: list[Message] = []
    for value in values:
        partition = draw(st.integers(0, 2))
        messages.append(Message("metrics.raw", partition, ends[partition], value))
        ends[partition] += 1
    return messages


def register(limit: int, services: set[str]) -> SeriesRegister:
    fresh = SeriesRegister(limit)
    fresh.load(services, {})
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


@given(topics(), st.integers(1, 4))
def test_a_service_never_gets_more_series_than_its_limit(messages: list[Message], limit: int) -> None:
    found = read(messages, WINDOW, NOW)
    known = register(limit, found.services)
    known.learn(days_of(admit(found, known)))
    batch = admit(found, known)  # what was admitted once is admitted again
    assert all(known.size(service) <= limit for service in found.services)
    assert batch.touched == []
    kept = {(s.service_name, s.metric_name, s.series) for s in batch.samples}
    assert len(batch.samples) + len(batch.dead_letters) == len(messages)
    assert all(known.size(service) == sum(key[0] == service for key in kept) for service in found.services)


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=5))
def test_a_series_is_its_labels_whatever_their_order(labels: dict[str, str]) -> None:
    assert series_of(labels) == series_of(dict(reversed(labels.items())))
    assert -(2**63) <= series_of(labels) < 2**63


@given(*[st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3)] * 2)
def test_other_labels_are_another_series(labels: dict[str, str], others: dict[str, str]) -> None:
    assert (series_of(labels) == series_of(others)) == (labels == others)
