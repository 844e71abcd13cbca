"""Leader election: at most one leader, by the monotonic clock of each process."""

import pytest
from prometheus_client import REGISTRY

from predictive_scaling.cluster import leadership as module
from predictive_scaling.cluster.leadership import Leadership, LeaseTerms
from predictive_scaling.settings import Settings
from tests.support.cluster import InMemoryCluster
from tests.support.manual_seconds import ManualSeconds

LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/predictive-scaling"


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> ManualSeconds:
    return ManualSeconds(monkeypatch, module)


@pytest.fixture
def cluster() -> InMemoryCluster:
    return InMemoryCluster()


def a_candidate(cluster: InMemoryCluster, name: str) -> Leadership:
    return Leadership(cluster, "default", "predictive-scaling", LeaseTerms(15.0), identity=name)


async def test_only_the_first_candidate_leads(cluster: InMemoryCluster, seconds: ManualSeconds) -> None:
    first, second = a_candidate(cluster, "first"), a_candidate(cluster, "second")
    await first.campaign()
    await second.campaign()
    assert (first.leads, second.leads) == (True, False)
    assert first.gained.is_set()


async def test_a_leader_that_cannot_renew_stops_before_another_candidate_may_lead(
    cluster: InMemoryCluster, seconds: ManualSeconds
) -> None:
    first, second = a_candidate(cluster, "first"), a_candidate(cluster, "second")
    await first.campaign()
    await second.campaign()
    cluster.reachable = False
    seconds.now += 10.0
    await first.campaign()
    assert not first.leads
    cluster.reachable = True
    await second.campaign()
    assert not second.leads
    seconds.now += 5.1
    await second.campaign()
    assert second.leads


@pytest.mark.parametrize("offset_seconds", [0.0, 0.1, 1.0, 1.9, 2.0])
async def test_a_killed_leader_is_replaced_within_twenty_seconds(
    cluster: InMemoryCluster, seconds: ManualSeconds, offset_seconds: float
) -> None:
    leader, standby = a_candidate(cluster, "killed"), a_candidate(cluster, "standby")
    terms = LeaseTerms(Settings.model_fields["lease_duration"].default.total_seconds())
    leader.terms = standby.terms = terms
    await leader.campaign()
    await standby.campaign()
    seconds.now += offset_seconds
    await leader.campaign()
    killed_at = seconds.now
    seconds.now += terms.retry_seconds - offset_seconds
    while not standby.leads:
        await standby.campaign()
        seconds.now += terms.retry_seconds
    assert terms.duration_seconds <= seconds.now - terms.retry_seconds - killed_at <= 20


async def test_the_lease_counts_from_the_time_at_which_the_renewal_was_sent(
    cluster: InMemoryCluster, seconds: ManualSeconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = a_candidate(cluster, "slow")
    await leader.campaign()
    replace = cluster.replace

    async def slow(path: str, body: module.Json) -> module.Json:
        seconds.now += 9.0
        return await replace(path, body)

    monkeypatch.setattr(cluster, "replace", slow)
    await leader.campaign()
    seconds.now += 1.0
    assert not leader.leads


async def test_a_released_lease_is_free_at_once(cluster: InMemoryCluster, seconds: ManualSeconds) -> None:
    first, second = a_candidate(cluster, "first"), a_candidate(cluster, "second")
    await first.campaign()
    await first.release()
    assert not first.leads
    await second.campaign()
    assert second.leads
    assert cluster.objects[LEASE]["spec"]["leaseTransitions"] == 2


async def test_a_deleted_lease_is_created_again(cluster: InMemoryCluster, seconds: ManualSeconds) -> None:
    leader = a_candidate(cluster, "first")
    await leader.campaign()
    del cluster.objects[LEASE]
    await leader.campaign()
    assert leader.leads
    assert cluster.objects[LEASE]["spec"]["holderIdentity"] == "first"


async def test_of_two_concurrent_candidates_only_one_leads(cluster: InMemoryCluster, seconds: ManualSeconds) -> None:
    holder, rival, dead = a_candidate(cluster, "holder"), a_candidate(cluster, "rival"), a_candidate(cluster, "dead")
    for process in (dead, holder, rival):
        await process.campaign()
    seconds.now += 15.1
    get = cluster.get

    async def get_then_lose_the_race(path: str) -> module.Json:
        lease = await get(path)
        cluster.get = get
        await holder.campaign()
        return lease

    cluster.get = get_then_lose_the_race
    await rival.campaign()
    assert (holder.leads, rival.leads) == (True, False)


async def test_a_process_that_lost_the_lease_never_leads_again(
    cluster: InMemoryCluster, seconds: ManualSeconds
) -> None:
    first, second = a_candidate(cluster, "first"), a_candidate(cluster, "second")
    await first.campaign()
    seconds.now += 10.0
    await first.campaign()
    assert first.lost.is_set(), "its state may be older than the actions of another leader"
    seconds.now += 60.0
    await first.campaign()
    assert not first.leads
    await second.campaign()
    seconds.now += 15.1
    await second.campaign()
    assert second.leads
    assert REGISTRY.get_sample_value("predictive_scaling_leader") == 1


async def test_a_process_frozen_beyond_its_lease_detects_the_loss_before_it_renews(
    cluster: InMemoryCluster, seconds: ManualSeconds
) -> None:
    leader = a_candidate(cluster, "leader")
    await leader.campaign()
    seconds.now += 3600.0  # SIGSTOP, or a suspended machine; no other process took the lease meanwhile
    await leader.campaign()
    assert (leader.leads, leader.lost.is_set()) == (False, True)
    assert REGISTRY.get_sample_value("predictive_scaling_leader") == 0


async def test_leadership_is_over_when_it_was_lost_and_not_before_it_was_gained_or_after_its_release(
    cluster: InMemoryCluster, seconds: ManualSeconds
) -> None:
    released, frozen = a_candidate(cluster, "released"), a_candidate(cluster, "frozen")
    assert not released.is_over
    await released.campaign()
    assert not released.is_over
    await released.release()
    assert not released.is_over
    await frozen.campaign()
    seconds.now += 10.0
    assert frozen.is_over


async def test_a_lease_held_by_another_process_is_lost_at_once(
    cluster: InMemoryCluster, seconds: ManualSeconds
) -> None:
    leader = a_candidate(cluster, "leader")
    await leader.campaign()
    cluster.objects[LEASE]["spec"]["holderIdentity"] = "another"
    seconds.now += 2.0
    assert leader.leads
    await leader.campaign()
    assert (leader.leads, leader.lost.is_set()) == (False, True)


async def test_a_standby_that_never_led_cannot_lose_the_lease(cluster: InMemoryCluster, seconds: ManualSeconds) -> None:
    leader, standby = a_candidate(cluster, "leader"), a_candidate(cluster, "standby")
    await leader.campaign()
    for _ in range(5):
        seconds.now += 2.0
        await leader.campaign()
        await standby.campaign()
    cluster.reachable = False
    await standby.campaign()
    assert not standby.lost.is_set()
    cluster.reachable = True
    await leader.release()
    await standby.campaign()
    assert standby.leads


async def test_a_released_lease_does_not_count_as_lost(cluster: InMemoryCluster, seconds: ManualSeconds) -> None:
    leader = a_candidate(cluster, "leader")
    await leader.campaign()
    await leader.release()
    assert not leader.lost.is_set()
    assert REGISTRY.get_sample_value("predictive_scaling_leader") == 0


async def test_gaining_leadership_notifies_once(cluster: InMemoryCluster, seconds: ManualSeconds) -> None:
    events: list[str] = []
    leader = a_candidate(cluster, "leader")
    leader.on_gained = lambda: events.append("gained")
    await leader.campaign()
    await leader.campaign()
    assert events == ["gained"]
