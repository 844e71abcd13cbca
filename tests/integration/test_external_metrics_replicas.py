"""Two replicas of the operator behind one Service return the same metric values to the HPA controller."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from predictive_scaling.clock import ManualClock, WallClock
from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.control.jobs.shared_readings import SharedReadings
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.external_metrics.server import ExternalMetricsServer
from predictive_scaling.external_metrics.trust import AggregatorTrust, ServingFiles
from predictive_scaling.external_metrics.values import ExternalMetricStore, Reading
from predictive_scaling.stack.certificates import new_authority
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.external_readings import ExternalReadings
from tests.support.api_services import UNREACHABLE_DATABASE
from tests.support.control import a_policy_named, a_record

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
HOST = "metrics.scaling.svc"
METRICS = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop"


@dataclass
class WatchedPolicies:
    """The policies in a replica's informer cache."""

    names: list[str] = field(default_factory=list[str])
    is_complete: bool = False

    def policies(self) -> list[PolicyRecord]:
        return [a_record(a_policy_named(name)) for name in self.names]


@dataclass
class Replica:
    """The part of an operator that serves external metrics."""

    server: ExternalMetricsServer
    store: ExternalMetricStore
    readings: SharedReadings
    watched: WatchedPolicies
    tls: ssl.SSLContext
    leads: bool = False

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"https://127.0.0.1:{self.server.port}{METRICS}{path}", ssl=self.tls, server_hostname=HOST
            ) as response,
        ):
            return response.status, await response.json()

    def publish(self, policy: str, demand: float, forecast: float | None) -> None:
        """Publish the readings of a tick of the leader."""
        until = NOW + timedelta(minutes=5)
        self.store.publish(
            "shop",
            policy,
            policy,
            demand=Reading(demand, NOW, until),
            forecast=None if forecast is None else Reading(forecast, NOW, until),
        )


@dataclass
class Replicas:
    """A leader and a standby, which exchange readings in `synchronize`."""

    clock: ManualClock
    leader: Replica
    standby: Replica

    async def synchronize(self) -> None:
        await self.leader.readings.run()
        await self.standby.readings.run()

    async def get_from_both(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return the response, which both replicas must agree on."""
        first, second = await self.leader.get(path), await self.standby.get(path)
        assert first == second
        return first


@pytest.fixture
async def replicas(database: Database, tmp_path: Path) -> AsyncIterator[Replicas]:
    wall, clock = WallClock().now(), ManualClock(NOW)
    authority, front_proxy = new_authority(tmp_path, "ca", wall), new_authority(tmp_path, "front-proxy-ca", wall)
    issued = authority.issue(HOST, "serving", [HOST])
    aggregator = front_proxy.issue("front-proxy-client", "aggregator")
    tls = ssl.create_default_context(cafile=str(authority.file))
    # The stack's short-lived authority has no key identifiers, which newer Pythons require.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    tls.load_cert_chain(aggregator.certificate, aggregator.key)
    files = ServingFiles(issued.certificate, issued.key)
    trust = AggregatorTrust(front_proxy.file.read_text(), ("front-proxy-client",))
    async with AsyncExitStack() as stack:
        created: list[Replica] = []
        for _ in range(2):
            store, watched = ExternalMetricStore(is_complete=False), WatchedPolicies()
            server = ExternalMetricsServer(store, clock, files, trust, host="127.0.0.1", port=0)
            await stack.enter_async_context(server)
            readings = SharedReadings(ExternalReadings(database), store, watched, lambda: False)
            replica = Replica(server, store, readings, watched, tls)
            readings.leads = lambda replica=replica: replica.leads
            created.append(replica)
        leader, standby = created
        for replica in created:
            replica.watched.names = ["cart", "checkout"]
            replica.watched.is_complete = True
        leader.leads = True
        yield Replicas(clock, leader, standby)


async def test_every_replica_returns_the_readings_of_the_leader(replicas: Replicas) -> None:
    replicas.leader.publish("checkout", 1234.5, 1500.25)
    replicas.leader.publish("cart", 7, None)
    await replicas.synchronize()
    status, body = await replicas.get_from_both("/predictive-scaling-demand")
    assert (status, [item["value"] for item in body["items"]]) == (200, ["7", "1234500m"])
    status, body = await replicas.get_from_both("/predictive-scaling-forecast?labelSelector=policy%3Dcheckout")
    assert (status, body["items"][0]["value"], body["items"][0]["timestamp"]) == (
        200,
        "1500250m",
        "2026-11-27T08:00:00Z",
    )
    # cart has no forecast: missing is not zero
    assert (await replicas.get_from_both("/predictive-scaling-forecast"))[0] == 503
    assert (await replicas.get_from_both("/predictive-scaling-demand?labelSelector=policy%3Dsearch"))[0] == 404
    replicas.leader.publish("checkout", 1300, 1500.25)
    await replicas.synchronize()
    status, body = await replicas.get_from_both("/predictive-scaling-demand?labelSelector=policy%3Dcheckout")
    assert (status, body["items"][0]["value"]) == (200, "1300")


async def test_a_policy_without_a_reading_is_503_and_a_deleted_policy_is_404(replicas: Replicas) -> None:
    replicas.leader.publish("checkout", 1, 1)
    await replicas.synchronize()
    status, body = await replicas.get_from_both("/predictive-scaling-demand?labelSelector=policy%3Dcart")
    assert (status, body["message"].endswith("shop/cart is not known yet")) == (503, True)
    for replica in (replicas.leader, replicas.standby):
        replica.watched.names = ["cart"]
    await replicas.synchronize()
    assert (await replicas.get_from_both("/predictive-scaling-demand?labelSelector=policy%3Dcheckout"))[0] == 404


async def test_readings_become_stale_on_every_replica_without_a_leader(replicas: Replicas) -> None:
    replicas.leader.publish("checkout", 1, 1)
    await replicas.synchronize()
    replicas.leader.leads = False
    replicas.clock.advance(timedelta(minutes=4))
    await replicas.synchronize()
    assert (await replicas.get_from_both("/predictive-scaling-demand?labelSelector=policy%3Dcheckout"))[0] == 200
    replicas.clock.advance(timedelta(minutes=1))
    assert (await replicas.get_from_both("/predictive-scaling-demand?labelSelector=policy%3Dcheckout"))[0] == 503


async def test_a_new_leader_replaces_the_readings_of_the_previous_one(replicas: Replicas) -> None:
    replicas.leader.publish("checkout", 800, 900)
    await replicas.synchronize()
    replicas.leader.leads, replicas.standby.leads = False, True
    await replicas.standby.readings.run()
    replicas.standby.publish("checkout", 810, 910)
    await replicas.standby.readings.run()
    await replicas.leader.readings.run()
    status, body = await replicas.get_from_both("/predictive-scaling-demand?labelSelector=policy%3Dcheckout")
    assert (status, body["items"][0]["value"]) == (200, "810")


async def test_a_restarted_leader_serves_readings_that_are_still_valid(replicas: Replicas) -> None:
    replicas.leader.publish("checkout", 800, 900)
    await replicas.leader.readings.run()
    replicas.standby.leads = True  # this process was never on standby: its store is empty
    await replicas.standby.readings.run()
    status, body = await replicas.standby.get("/predictive-scaling-forecast?labelSelector=policy%3Dcheckout")
    assert (status, body["items"][0]["value"]) == (200, "900")


async def test_a_replica_without_a_complete_cache_is_503_and_not_404(replicas: Replicas) -> None:
    status, body = await replicas.standby.get("/predictive-scaling-demand?labelSelector=policy%3Dcheckout")
    assert (status, body["reason"]) == (503, "ServiceUnavailable")


async def test_the_leader_serves_its_readings_without_the_database(replicas: Replicas) -> None:
    replicas.leader.publish("checkout", 800, 900)
    database = Database(UNREACHABLE_DATABASE, checkout_timeout=timedelta(milliseconds=200))
    replicas.leader.readings.table = ExternalReadings(database)
    with pytest.raises(DatabaseUnavailableError):
        await replicas.leader.readings.run()
    await database.close()
    status, body = await replicas.leader.get("/predictive-scaling-demand?labelSelector=policy%3Dcheckout")
    assert (status, body["items"][0]["value"]) == (200, "800")
