"""The feed of changes: one reader for all listeners, bounded notices, and an end."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime

from prometheus_client import REGISTRY

from predictive_scaling.api.change_feed import (
    MAX_LISTENERS,
    MAX_LISTENERS_OF_CLIENT,
    MAX_NAMES,
    ChangeFeed,
    Listener,
)
from predictive_scaling.api.visible_namespaces import Visible
from predictive_scaling.clock import ManualClock
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.storage.change_markers import ChangeMarkers, Marker
from tests.support.api_services import NOW
from tests.support.eventually import eventually

SHOP, BANK = ("shop", "checkout", "1"), ("bank", "vault", "1")
PATIENT = 120.0


@dataclass
class InMemoryMarkers:
    """A reader whose markers the test sets, and which may fail."""

    markers: ChangeMarkers = field(default_factory=lambda: ChangeMarkers("1", frozenset({SHOP, BANK})))
    is_reachable: bool = True
    readings: int = 0

    async def read(self, now: datetime, known: ChangeMarkers) -> ChangeMarkers:
        del now, known
        self.readings += 1
        if not self.is_reachable:
            raise DatabaseUnavailableError("PostgreSQL does not respond")
        return self.markers

    def policies(self, *markers: Marker) -> None:
        self.markers = replace(self.markers, policies=frozenset(markers))

    async def count(self) -> int:
        return self.readings


def feed_of(reader: InMemoryMarkers) -> ChangeFeed:
    return ChangeFeed(reader, ManualClock(NOW), poll_seconds=0.01)


async def names(listener: Listener) -> dict[str, list[str] | None]:
    notice = await listener.next(PATIENT)
    assert notice is not None
    return notice.as_json()


async def test_each_listener_gets_the_changes_of_its_namespaces_from_one_reader() -> None:
    reader = InMemoryMarkers()
    feed = feed_of(reader)
    with feed.listening("a", Visible()) as admin, feed.listening("b", Visible(("shop",))) as tenant:
        await feed.ready()
        reader.policies(SHOP, ("bank", "vault", "2"))
        assert await names(admin) == {"policies": ["bank/vault"]}
        assert await tenant.next(0.05) is None
        reader.policies(("shop", "checkout", "2"), ("bank", "vault", "2"))
        assert await names(tenant) == {"policies": ["shop/checkout"]}


async def test_decisions_that_become_old_are_no_change_and_removed_policies_and_events_are() -> None:
    reader = InMemoryMarkers(
        ChangeMarkers("1", frozenset({SHOP}), frozenset({SHOP}), frozenset({("shop", "sale", "1")}))
    )
    feed = feed_of(reader)
    with feed.listening("a", Visible()) as listener:
        await feed.ready()
        reader.markers = replace(reader.markers, decisions=frozenset())
        assert await listener.next(0.1) is None
        reader.markers = ChangeMarkers()
        assert await names(listener) == {"policies": ["shop/checkout"], "events": ["shop/sale"]}
        reader.markers = ChangeMarkers(decisions=frozenset({SHOP}))
        assert await names(listener) == {"decisions": ["shop/checkout"]}


async def test_a_slow_reader_gets_one_notice_and_no_more_names_than_it_may() -> None:
    reader = InMemoryMarkers()
    feed = feed_of(reader)
    with feed.listening("a", Visible()) as listener:
        await feed.ready()
        for version in range(3):
            reader.policies(*(("shop", f"policy-{number}", str(version)) for number in range(MAX_NAMES + 1)))
            before = reader.readings
            await eventually(reader.count, lambda count, before=before: count > before + 1)
        assert await names(listener) == {"policies": None}
        assert await listener.next(0.05) is None


async def test_nothing_is_read_without_listeners_and_an_old_reading_is_not_compared() -> None:
    reader = InMemoryMarkers()
    feed = feed_of(reader)
    with feed.listening("a", Visible()):
        await feed.ready()
    before = reader.readings
    await asyncio.sleep(0.1)
    assert reader.readings == before
    reader.policies()
    with feed.listening("a", Visible()) as listener:
        await feed.ready()
        assert await listener.next(0.05) is None


async def test_an_outage_ends_and_the_changes_during_it_are_reported() -> None:
    reader = InMemoryMarkers()
    feed = feed_of(reader)
    with feed.listening("a", Visible()) as listener:
        await feed.ready()
        reader.is_reachable = False
        before = reader.readings
        await eventually(reader.count, lambda count: count > before + 1)
        reader.policies(SHOP)
        reader.is_reachable = True
        assert await names(listener) == {"policies": ["bank/vault"]}


async def test_listeners_are_limited_by_client_and_in_all_and_end_with_the_feed() -> None:
    feed = feed_of(InMemoryMarkers())
    with ExitStack() as stack:

        def listen(clients: Sequence[str]) -> list[Listener]:
            return [stack.enter_context(feed.listening(client, Visible())) for client in clients]

        listeners = listen(["a"] * MAX_LISTENERS_OF_CLIENT)
        assert "close one" in str(feed.refusal("a"))
        assert feed.refusal("b") is None
        listeners += listen([f"c{number}" for number in range(MAX_LISTENERS - MAX_LISTENERS_OF_CLIENT)])
        assert "retry later" in str(feed.refusal("b"))
        assert REGISTRY.get_sample_value("predictive_scaling_api_streams") == MAX_LISTENERS
        feed.close()
        assert [await listener.next(PATIENT) for listener in listeners] == [None] * MAX_LISTENERS
    assert REGISTRY.get_sample_value("predictive_scaling_api_streams") == 0
    assert "stopping" in str(feed.refusal("b"))
