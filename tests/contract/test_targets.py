"""The contract of the target port, run for the target in memory and for the real adapters."""

import json
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import pytest

from predictive_scaling.cluster.client import FIELD_MANAGER, Cluster, connected
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import HorizontalPodAutoscalerRecord
from predictive_scaling.errors import TargetConflictError, TargetNotFoundError, TargetRefusedError
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.targets.horizontal_pod_autoscaler import HorizontalPodAutoscaler
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Target
from predictive_scaling.targets.records import LiveRecords
from predictive_scaling.targets.scaled_object import ScaledObject
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_deployment, a_scaled_object, an_autoscaler, an_autoscaler_of_keda


class TargetUnderTest(Protocol):
    """A target, and the changes that other clients make to it."""

    @property
    def target(self) -> Target: ...

    async def foreign_write(self, minimum: int) -> None: ...
    async def delete(self) -> None: ...


class ManagedUnderTest(TargetUnderTest, Protocol):
    """An object of the API server, whose fields have managers."""

    @property
    def default_minimum(self) -> int: ...

    async def give_up(self) -> None: ...


class MinimumUnderTest(ManagedUnderTest, Protocol):
    """An object with a minimum."""

    async def share(self, minimum: int) -> None: ...


class InMemoryUnderTest:
    default_minimum = 1

    def __init__(self) -> None:
        self.target = InMemoryTarget(minimum=2, maximum=40)

    async def foreign_write(self, minimum: int) -> None:
        self.target.foreign_write(minimum)

    async def share(self, minimum: int) -> None:
        self.target.share(minimum)

    async def give_up(self) -> None:
        self.target.give_up()

    async def delete(self) -> None:
        self.target.exists = False


class AutoscalerUnderTest:
    """An HPA that was applied client-side, as most manifests are."""

    default_minimum = 1

    def __init__(self, cluster: Cluster, kubectl: Kubectl) -> None:
        self.target = HorizontalPodAutoscaler(cluster, LiveRecords(cluster), kubectl.namespace, "checkout")
        self._kubectl = kubectl

    async def foreign_write(self, minimum: int) -> None:
        await self._kubectl.apply(an_autoscaler("checkout", minimum=minimum, maximum=40))

    async def share(self, minimum: int) -> None:
        await apply_as_argo_cd(self._kubectl, an_autoscaler("checkout", minimum=minimum, maximum=40))

    async def give_up(self) -> None:
        await self._kubectl.apply(an_autoscaler("checkout", minimum=None, maximum=40))

    async def delete(self) -> None:
        await self._kubectl("delete", "hpa", "checkout")


class ScaledObjectUnderTest:
    """A ScaledObject that was applied client-side."""

    default_minimum = 0

    def __init__(self, cluster: Cluster, kubectl: Kubectl) -> None:
        self.target = ScaledObject(cluster, LiveRecords(cluster), kubectl.namespace, "checkout")
        self._kubectl = kubectl

    async def foreign_write(self, minimum: int) -> None:
        await self._kubectl.apply(a_scaled_object("checkout", minimum=minimum))

    async def share(self, minimum: int) -> None:
        await apply_as_argo_cd(self._kubectl, a_scaled_object("checkout", minimum=minimum))

    async def give_up(self) -> None:
        await self._kubectl.apply(a_scaled_object("checkout", minimum=None))

    async def delete(self) -> None:
        await self._kubectl("delete", "scaledobject", "checkout")


async def apply_as_argo_cd(kubectl: Kubectl, manifest: dict[str, Any]) -> None:
    """Apply a manifest as Argo CD does with ServerSideApply=true."""
    options = ("--server-side", "--force-conflicts", "--field-manager=argocd-controller")
    await kubectl("apply", *options, "-f", "-", stdin=json.dumps(manifest))


class TargetContract:
    """The tests that run for each adapter below."""

    async def test_the_first_write_takes_the_field(self, subject: TargetUnderTest) -> None:
        before = await subject.target.observe()
        applied = await subject.target.apply(5, take=True)
        after = await subject.target.observe()
        assert (before.minimum, applied.floor, after.minimum) == (2, 5, 5)
        assert FIELD_MANAGER not in before.floor_managers
        assert after.floor_managers == (FIELD_MANAGER,)

    async def test_a_first_write_without_take_is_a_conflict_that_names_the_manager(
        self, subject: TargetUnderTest
    ) -> None:
        with pytest.raises(TargetConflictError, match="kubectl-client-side-apply"):
            await subject.target.apply(5)

    async def test_writing_the_same_floor_again_changes_nothing(self, subject: TargetUnderTest) -> None:
        await subject.target.apply(5, take=True)
        after_first = await subject.target.observe()
        second_write = await subject.target.apply(5)
        after_second = await subject.target.observe()
        assert not second_write.changed
        assert (after_second.minimum, after_second.floor_managers) == (after_first.minimum, after_first.floor_managers)

    async def test_a_foreign_write_is_observed_and_not_overwritten(self, subject: TargetUnderTest) -> None:
        await subject.target.apply(5, take=True)
        await subject.foreign_write(3)
        observed = await subject.target.observe()
        assert observed.minimum == 3
        assert FIELD_MANAGER not in observed.floor_managers
        with pytest.raises(TargetConflictError):
            await subject.target.apply(6)

    async def test_a_first_write_conflicts_with_a_write_since_the_observation(self, subject: TargetUnderTest) -> None:
        before = await subject.target.observe()
        await subject.foreign_write(3)
        with pytest.raises(TargetConflictError, match="since it was observed"):
            await subject.target.apply(5, take=True)
        after = await subject.target.observe()
        assert after.minimum == 3
        assert after.foreign_write != before.foreign_write

    async def test_restoring_writes_the_original_floor_and_releases_the_field(self, subject: TargetUnderTest) -> None:
        await subject.target.apply(5, take=True)
        await subject.target.restore(2)
        observed = await subject.target.observe()
        assert observed.minimum == 2
        assert FIELD_MANAGER not in observed.floor_managers

    async def test_restoring_does_not_write_a_field_that_another_manager_took(self, subject: TargetUnderTest) -> None:
        await subject.target.apply(5, take=True)
        await subject.foreign_write(3)
        await subject.target.restore(2)
        assert (await subject.target.observe()).minimum == 3

    async def test_a_deleted_target_is_not_found(self, subject: TargetUnderTest) -> None:
        await subject.delete()
        for call in (subject.target.observe, subject.target.progress):
            with pytest.raises(TargetNotFoundError):
                await call()
        with pytest.raises(TargetNotFoundError):
            await subject.target.apply(5, take=True)


class ManagedContract(TargetContract):
    """The tests of adapters of objects whose fields have managers and defaults."""

    async def test_a_given_up_floor_has_no_manager(self, subject: ManagedUnderTest) -> None:
        await subject.target.apply(5, take=True)
        await subject.give_up()
        observed = await subject.target.observe()
        assert observed.minimum == subject.default_minimum
        assert (observed.floor_managers, observed.floor_given_up) == ((), True)
        await subject.target.apply(6)
        after = await subject.target.observe()
        assert (after.minimum, after.floor_managers, after.floor_given_up) == (6, (FIELD_MANAGER,), False)


class MinimumContract(ManagedContract):
    """The tests of adapters that write the minimum of an object with a maximum and field managers."""

    async def test_a_floor_above_the_maximum_of_the_target_is_refused(self, subject: TargetUnderTest) -> None:
        with pytest.raises(TargetRefusedError, match="axReplica"):
            await subject.target.apply(41, take=True)
        assert (await subject.target.observe()).minimum == 2

    async def test_a_manager_that_applies_the_same_floor_shares_the_field_without_a_conflict(
        self, subject: MinimumUnderTest
    ) -> None:
        await subject.target.apply(5, take=True)
        await subject.share(5)
        observed = await subject.target.observe()
        assert set(observed.floor_managers) == {FIELD_MANAGER, "argocd-controller"}
        await subject.target.apply(6)
        after = await subject.target.observe()
        assert (after.minimum, after.floor_managers) == (6, (FIELD_MANAGER,))

    async def test_a_shared_floor_is_restored(self, subject: MinimumUnderTest) -> None:
        await subject.target.apply(5, take=True)
        await subject.share(5)
        await subject.target.restore(2)
        observed = await subject.target.observe()
        assert observed.minimum == 2
        assert FIELD_MANAGER not in observed.floor_managers


class TestInMemory(MinimumContract):
    @pytest.fixture
    async def subject(self) -> MinimumUnderTest:
        return InMemoryUnderTest()


@pytest.mark.e2e
class TestHorizontalPodAutoscaler(MinimumContract):
    @pytest.fixture
    async def subject(self, cluster: Kubernetes, kubectl: Kubectl) -> AsyncGenerator[MinimumUnderTest]:
        await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2, maximum=40))
        async with connected(cluster.kubeconfig) as connection:
            yield AutoscalerUnderTest(connection, kubectl)


@pytest.mark.e2e
@pytest.mark.usefixtures("keda")
class TestScaledObject(MinimumContract):
    @pytest.fixture
    async def subject(self, cluster: Kubernetes, kubectl: Kubectl) -> AsyncGenerator[MinimumUnderTest]:
        await kubectl.apply(a_deployment("checkout"), a_scaled_object("checkout"))
        await kubectl.apply(an_autoscaler_of_keda(await kubectl.get("scaledobject", "checkout")))
        async with connected(cluster.kubeconfig) as connection:
            yield ScaledObjectUnderTest(connection, kubectl)


@pytest.mark.e2e
async def test_a_change_of_other_fields_does_not_conflict_with_a_first_write(
    cluster: Kubernetes, kubectl: Kubectl
) -> None:
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2, maximum=40))
    async with connected(cluster.kubeconfig) as connection:
        records = StaleRecords(connection)
        target = HorizontalPodAutoscaler(connection, records, kubectl.namespace, "checkout")
        await target.observe()
        await kubectl("annotate", "hpa", "checkout", "changed=later")
        await target.apply(5, take=True)
    assert (await kubectl.get("hpa", "checkout"))["spec"]["minReplicas"] == 5


@pytest.mark.e2e
async def test_a_target_recreated_since_the_observation_is_not_written(cluster: Kubernetes, kubectl: Kubectl) -> None:
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2, maximum=40))
    async with connected(cluster.kubeconfig) as connection:
        target = HorizontalPodAutoscaler(connection, StaleRecords(connection), kubectl.namespace, "checkout")
        await target.observe()
        await kubectl("delete", "hpa", "checkout")
        await kubectl.apply(an_autoscaler("checkout", minimum=3, maximum=40))
        with pytest.raises(TargetNotFoundError, match="created again"):
            await target.apply(5, take=True)
    assert (await kubectl.get("hpa", "checkout"))["spec"]["minReplicas"] == 3


class StaleRecords(LiveRecords):
    """Returns the first record again, as a watch that lags does."""

    first: HorizontalPodAutoscalerRecord | None = None

    async def autoscaler(self, namespace: str, name: str) -> HorizontalPodAutoscalerRecord | None:
        self.first = self.first or await super().autoscaler(namespace, name)
        return self.first


@pytest.mark.e2e
async def test_a_server_side_apply_has_no_conflict_after_a_restore(cluster: Kubernetes, kubectl: Kubectl) -> None:
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2, maximum=40))
    async with connected(cluster.kubeconfig) as connection:
        target = HorizontalPodAutoscaler(connection, LiveRecords(connection), kubectl.namespace, "checkout")
        await target.apply(9, take=True)
        await target.restore(2)
    manifest = json.dumps(an_autoscaler("checkout", minimum=4, maximum=40))
    await kubectl("apply", "--server-side", "--field-manager=helm", "-f", "-", stdin=manifest)
    assert (await kubectl.get("hpa", "checkout"))["spec"]["minReplicas"] == 4
