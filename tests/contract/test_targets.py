"""What every target promises, the one in memory and the real ones alike."""

import json
from collections.abc import AsyncGenerator
from typing import Protocol

import pytest

from predictive_scaling.cluster.client import FIELD_MANAGER, Cluster, connected
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import HorizontalPodAutoscalerRecord
from predictive_scaling.errors import TargetConflictError, TargetNotFoundError, TargetRefusedError
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.targets.horizontal_pod_autoscaler import HorizontalPodAutoscaler, LiveRecords
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Target
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_deployment, an_autoscaler


class Subject(Protocol):
    """A target, and what other people do to it."""

    @property
    def target(self) -> Target: ...

    async def foreign_write(self, minimum: int) -> None: ...
    async def give_up(self) -> None: ...
    async def delete(self) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.target = InMemoryTarget(minimum=2, maximum=40)

    async def foreign_write(self, minimum: int) -> None:
        self.target.foreign_write(minimum)

    async def give_up(self) -> None:
        self.target.give_up()

    async def delete(self) -> None:
        self.target.exists = False


class OnAnAutoscaler:
    """An HPA that was applied client-side, as most are."""

    def __init__(self, cluster: Cluster, kubectl: Kubectl) -> None:
        self.target = HorizontalPodAutoscaler(cluster, LiveRecords(cluster), kubectl.namespace, "checkout")
        self._kubectl = kubectl

    async def foreign_write(self, minimum: int) -> None:
        await self._kubectl.apply(an_autoscaler("checkout", minimum=minimum, maximum=40))

    async def give_up(self) -> None:
        await self._kubectl.apply(an_autoscaler("checkout", minimum=None, maximum=40))

    async def delete(self) -> None:
        await self._kubectl("delete", "hpa", "checkout")


class TargetContract:
    """Run for each adapter below."""

    async def test_the_first_write_takes_the_floor(self, subject: Subject) -> None:
        before = await subject.target.observe()
        applied = await subject.target.apply(5, take=True)
        after = await subject.target.observe()
        assert (before.minimum, applied.floor, after.minimum) == (2, 5, 5)
        assert FIELD_MANAGER not in before.floor_managers
        assert after.floor_managers == (FIELD_MANAGER,)

    async def test_the_first_write_without_consent_is_refused_naming_the_holder(self, subject: Subject) -> None:
        with pytest.raises(TargetConflictError, match="kubectl-client-side-apply"):
            await subject.target.apply(5)

    async def test_the_same_floor_twice_changes_nothing(self, subject: Subject) -> None:
        await subject.target.apply(5, take=True)
        once = await subject.target.observe()
        again = await subject.target.apply(5)
        twice = await subject.target.observe()
        assert not again.changed
        assert (twice.minimum, twice.floor_managers) == (once.minimum, once.floor_managers)

    async def test_a_floor_above_the_targets_maximum_is_refused(self, subject: Subject) -> None:
        with pytest.raises(TargetRefusedError, match="axReplicas"):
            await subject.target.apply(41, take=True)
        assert (await subject.target.observe()).minimum == 2

    async def test_a_foreign_write_is_seen_and_not_fought(self, subject: Subject) -> None:
        await subject.target.apply(5, take=True)
        await subject.foreign_write(3)
        seen = await subject.target.observe()
        assert seen.minimum == 3
        assert FIELD_MANAGER not in seen.floor_managers
        with pytest.raises(TargetConflictError):
            await subject.target.apply(6)

    async def test_a_first_write_takes_the_floor_only_from_the_write_that_was_observed(self, subject: Subject) -> None:
        before = await subject.target.observe()
        await subject.foreign_write(3)
        with pytest.raises(TargetConflictError, match="meanwhile"):
            await subject.target.apply(5, take=True)
        after = await subject.target.observe()
        assert after.minimum == 3
        assert after.foreign_write != before.foreign_write

    async def test_a_floor_that_was_given_up_has_no_holder(self, subject: Subject) -> None:
        await subject.target.apply(5, take=True)
        await subject.give_up()
        seen = await subject.target.observe()
        assert (seen.minimum, seen.floor_managers, seen.floor_given_up) == (1, (), True)
        await subject.target.apply(6)
        after = await subject.target.observe()
        assert (after.minimum, after.floor_managers, after.floor_given_up) == (6, (FIELD_MANAGER,), False)

    async def test_restoring_puts_the_old_floor_back_and_gives_the_field_up(self, subject: Subject) -> None:
        await subject.target.apply(5, take=True)
        await subject.target.restore(2)
        seen = await subject.target.observe()
        assert seen.minimum == 2
        assert FIELD_MANAGER not in seen.floor_managers

    async def test_restoring_leaves_a_field_alone_that_someone_else_took(self, subject: Subject) -> None:
        await subject.target.apply(5, take=True)
        await subject.foreign_write(3)
        await subject.target.restore(2)
        assert (await subject.target.observe()).minimum == 3

    async def test_a_target_that_is_gone_is_said_to_be_gone(self, subject: Subject) -> None:
        await subject.delete()
        for call in (subject.target.observe, subject.target.progress):
            with pytest.raises(TargetNotFoundError):
                await call()
        with pytest.raises(TargetNotFoundError):
            await subject.target.apply(5, take=True)


class TestInMemory(TargetContract):
    @pytest.fixture
    async def subject(self) -> Subject:
        return InMemory()


@pytest.mark.e2e
class TestOnAnAutoscaler(TargetContract):
    @pytest.fixture
    async def subject(self, cluster: Kubernetes, kubectl: Kubectl) -> AsyncGenerator[Subject]:
        await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2, maximum=40))
        async with connected(cluster.kubeconfig) as connection:
            yield OnAnAutoscaler(connection, kubectl)


@pytest.mark.e2e
async def test_a_status_that_changes_meanwhile_does_not_keep_a_first_write_from_the_floor(
    cluster: Kubernetes, kubectl: Kubectl
) -> None:
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2, maximum=40))
    async with connected(cluster.kubeconfig) as connection:
        records = Remembering(connection)
        target = HorizontalPodAutoscaler(connection, records, kubectl.namespace, "checkout")
        await target.observe()
        await kubectl("annotate", "hpa", "checkout", "looked-at=later")
        await target.apply(5, take=True)
    assert (await kubectl.get("hpa", "checkout"))["spec"]["minReplicas"] == 5


@pytest.mark.e2e
async def test_a_target_created_again_since_it_was_observed_is_not_written(
    cluster: Kubernetes, kubectl: Kubectl
) -> None:
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2, maximum=40))
    async with connected(cluster.kubeconfig) as connection:
        target = HorizontalPodAutoscaler(connection, Remembering(connection), kubectl.namespace, "checkout")
        await target.observe()
        await kubectl("delete", "hpa", "checkout")
        await kubectl.apply(an_autoscaler("checkout", minimum=3, maximum=40))
        with pytest.raises(TargetNotFoundError, match="created again"):
            await target.apply(5, take=True)
    assert (await kubectl.get("hpa", "checkout"))["spec"]["minReplicas"] == 3


class Remembering(LiveRecords):
    """Answers with what it read first, as a watch does that lags."""

    first: HorizontalPodAutoscalerRecord | None = None

    async def autoscaler(self, namespace: str, name: str) -> HorizontalPodAutoscalerRecord | None:
        self.first = self.first or await super().autoscaler(namespace, name)
        return self.first


@pytest.mark.e2e
async def test_a_users_own_apply_meets_no_conflict_after_a_restore(cluster: Kubernetes, kubectl: Kubectl) -> None:
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2, maximum=40))
    async with connected(cluster.kubeconfig) as connection:
        target = HorizontalPodAutoscaler(connection, LiveRecords(connection), kubectl.namespace, "checkout")
        await target.apply(9, take=True)
        await target.restore(2)
    manifest = json.dumps(an_autoscaler("checkout", minimum=4, maximum=40))
    await kubectl("apply", "--server-side", "--field-manager=helm", "-f", "-", stdin=manifest)
    assert (await kubectl.get("hpa", "checkout"))["spec"]["minReplicas"] == 4
