"""Namespaces take turns, and limits of a namespace block its newest objects."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.cluster.kubernetes_events import FairQueue
from predictive_scaling.cluster.namespace_limit import NamespaceLimit
from predictive_scaling.control.namespace_turns import NamespaceTurns
from tests.support.builders import NOON

Item = tuple[str, int]
namespaces = st.sampled_from(["shop", "bank", "search", "mail"])
items = st.lists(namespaces, max_size=40).map(lambda chosen: list(zip(chosen, range(len(chosen)), strict=True)))


def of(item: Item) -> str:
    return item[0]


@given(items, st.lists(namespaces))
def test_no_namespace_is_ahead_of_another_that_still_waits(chosen: list[Item], turns: list[str]) -> None:
    order = NamespaceTurns()
    order.take(turns)
    ordered = order.order(chosen, of)
    assert sorted(ordered) == sorted(chosen)
    total, served = Counter(map(of, chosen)), Counter[str]()
    for item in ordered:
        served[of(item)] += 1
        waiting = [namespace for namespace in total if served[namespace] < total[namespace]]
        assert all(served[of(item)] - served[namespace] <= 1 for namespace in waiting)
    for namespace in total:
        own = [item for item in chosen if of(item) == namespace]
        assert [item for item in ordered if of(item) == namespace] == own


@given(items, st.integers(1, 5))
def test_each_namespace_has_a_turn_however_few_items_a_pass_reaches(chosen: list[Item], reach: int) -> None:
    order, served = NamespaceTurns(), set[str]()
    expected = {of(item) for item in chosen}
    for _ in range(-(-len(expected) // reach)):
        reached = [of(item) for item in order.order(chosen, of)[:reach]]
        order.take(reached)
        served |= set(reached)
    assert served == expected


@given(st.integers(1, 10), items)
def test_a_full_queue_drops_the_newest_events_of_the_namespace_with_the_most(maximum: int, chosen: list[Item]) -> None:
    queue, dropped = FairQueue(maximum), list[dict[str, Any]]()
    for namespace, number in chosen:
        event = {"metadata": {"namespace": namespace}, "number": number}
        victim = queue.put(event)
        if victim is not None:
            dropped.append(victim)
    sent: list[Item] = []
    while queue:
        event = queue.get()
        sent.append((event["metadata"]["namespace"], event["number"]))
    assert len(sent) == min(maximum, len(chosen))
    assert len(sent) + len(dropped) == len(chosen)
    kept, total = Counter(map(of, sent)), Counter(map(of, chosen))
    for namespace in total:
        own = [number for name, number in sent if name == namespace]
        assert own == sorted(own)
        if kept[namespace] < total[namespace]:
            assert kept[namespace] >= min(total[namespace], maximum // len(total)) - 1


@dataclass(frozen=True)
class Dated:
    namespace: str
    name: str
    created_at: datetime
    is_deleted: bool = False
    is_blocked: bool = False


records = st.lists(
    st.builds(
        Dated,
        namespaces,
        st.text("ab", min_size=1, max_size=4),
        st.integers(0, 3).map(lambda seconds: NOON + timedelta(seconds=seconds)),
        st.booleans(),
    ),
    unique_by=lambda record: (record.namespace, record.name),
    max_size=30,
)


def a_limit(maximum: int | None) -> NamespaceLimit[Dated]:
    return NamespaceLimit(
        maximum,
        lambda record: (record.namespace, record.name),
        lambda record: not record.is_deleted,
        lambda record, _: Dated(record.namespace, record.name, record.created_at, is_blocked=True),
    )


@given(records, st.none() | st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_oldest_objects_of_each_namespace_count_whatever_their_order(
    shown: list[Dated], maximum: int | None, random: Any
) -> None:
    limit = a_limit(maximum)
    applied = limit.apply(shown)
    assert [(record.namespace, record.name) for record in applied] == [(r.namespace, r.name) for r in shown]
    assert [limit.of(record) for record in shown] == applied
    for namespace in {record.namespace for record in shown}:
        counted = [r for r in applied if r.namespace == namespace and not r.is_deleted]
        allowed = [r for r in counted if not r.is_blocked]
        assert len(allowed) == min(len(counted), maximum or len(counted))
        blocked = [r for r in counted if r.is_blocked]
        assert all((a.created_at, a.name) < (b.created_at, b.name) for a in allowed for b in blocked)
    shuffled = list(shown)
    random.shuffle(shuffled)
    assert set(a_limit(maximum).apply(shuffled)) == set(applied)


@given(records)
def test_a_blocked_record_is_made_once_and_again_when_its_object_changes(shown: list[Dated]) -> None:
    limit = a_limit(1)
    first = limit.apply(shown)
    assert all(before is after for before, after in zip(first, limit.apply(shown), strict=True))
    changed = [Dated(r.namespace, r.name, r.created_at, r.is_deleted) for r in shown]
    assert [record.is_blocked for record in map(limit.of, changed)] == [record.is_blocked for record in first]
