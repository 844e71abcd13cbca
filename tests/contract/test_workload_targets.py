"""The contract of the target port for workloads without an HPA: built-in kinds, and a custom resource with /scale."""

import json
from collections.abc import AsyncGenerator, Callable

import pytest

from predictive_scaling.cluster.api_discovery import ApiDiscovery
from predictive_scaling.cluster.client import FIELD_MANAGER, Cluster, connected
from predictive_scaling.cluster.workload_record import WorkloadRecord, WorkloadReference
from predictive_scaling.errors import (
    TargetConflictError,
    TargetNotFoundError,
    TargetRefusedError,
    TargetUnsupportedError,
)
from predictive_scaling.resources.target import WorkloadTarget
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.targets.port import ReplicaSource
from predictive_scaling.targets.records import LiveRecords
from predictive_scaling.targets.workload import Workload
from tests.contract.test_targets import ManagedContract, ManagedUnderTest
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl, wait_for_rights
from tests.support.manifests import (
    Manifest,
    a_deployment,
    a_rollout,
    a_rollout_definition,
    a_stateful_set,
    an_autoscaler,
)

ManifestOf = Callable[[int | None], Manifest]
"""Returns the manifest of the workload `checkout` with a number of replicas, or without one."""


class WorkloadUnderTest:
    """A workload that was applied client-side, as most manifests are."""

    default_minimum = 1

    def __init__(self, cluster: Cluster, kubectl: Kubectl, manifest: ManifestOf, kind: str) -> None:
        body = manifest(None)
        target = WorkloadTarget(api_version=body["apiVersion"], kind=body["kind"], name="checkout")
        self.target = Workload(cluster, ApiDiscovery(cluster), LiveRecords(cluster), kubectl.namespace, target)
        self._kubectl, self._manifest, self._kind = kubectl, manifest, kind

    async def foreign_write(self, minimum: int) -> None:
        await self._kubectl.apply(self._manifest(minimum))

    async def give_up(self) -> None:
        await self._kubectl.apply(self._manifest(None))

    async def delete(self) -> None:
        await self._kubectl("delete", self._kind, "checkout")


class WorkloadContract(ManagedContract):
    """The tests of every workload."""

    @pytest.fixture
    async def subject(
        self, cluster: Kubernetes, kubectl: Kubectl, kind: str, manifest: ManifestOf
    ) -> AsyncGenerator[ManagedUnderTest]:
        await kubectl.apply(manifest(2))
        async with connected(cluster.kubeconfig) as connection:
            yield WorkloadUnderTest(connection, kubectl, manifest, kind)

    async def test_a_write_by_kubectl_scale_is_a_foreign_write(
        self, subject: ManagedUnderTest, kubectl: Kubectl, kind: str
    ) -> None:
        await subject.target.apply(5, take=True)
        await kubectl("scale", kind, "checkout", "--replicas=3")
        observed = await subject.target.observe()
        assert (observed.minimum, observed.floor_managers) == (3, ("kubectl",))
        with pytest.raises(TargetConflictError, match="kubectl"):
            await subject.target.apply(6)
        assert (await subject.target.observe()).minimum == 3

    async def test_a_person_scales_to_zero(self, subject: ManagedUnderTest, kubectl: Kubectl, kind: str) -> None:
        await subject.target.apply(5, take=True)
        await kubectl("scale", kind, "checkout", "--replicas=0")
        observed = await subject.target.observe()
        assert (observed.minimum, observed.scaled_to_zero) == (0, True)

    async def test_an_hpa_of_the_workload_owns_it(
        self, subject: ManagedUnderTest, kubectl: Kubectl, manifest: ManifestOf
    ) -> None:
        assert (await subject.target.observe()).owner is None
        autoscaler, body = an_autoscaler("other"), manifest(None)
        reference = {"apiVersion": body["apiVersion"], "kind": body["kind"], "name": "checkout"}
        autoscaler["spec"]["scaleTargetRef"] = reference
        await kubectl.apply(autoscaler)
        assert (await subject.target.observe()).owner == "HorizontalPodAutoscaler/other"

    async def test_progress_has_the_other_manager_of_the_replicas(self, subject: ManagedUnderTest) -> None:
        assert (await subject.target.progress()).floor_manager == "kubectl-client-side-apply"
        await subject.target.apply(5, take=True)
        written = await subject.target.progress()
        assert (written.floor, written.floor_manager) == (5, None)
        await subject.foreign_write(3)
        assert (await subject.target.progress()).floor_manager == "kubectl-client-side-apply"

    async def test_restoring_the_current_replicas_only_releases_the_field(self, subject: ManagedUnderTest) -> None:
        await subject.target.apply(5, take=True)
        await subject.target.restore(5)
        observed = await subject.target.observe()
        assert (observed.minimum, FIELD_MANAGER in observed.floor_managers) == (5, False)


class BuiltInContract(WorkloadContract):
    """The tests of kinds of the API server itself."""

    async def test_progress_has_the_pods_of_the_workload(self, subject: ManagedUnderTest, kubectl: Kubectl) -> None:
        observed, progress = await subject.target.observe(), await subject.target.progress()
        assert progress.source == ReplicaSource(kubectl.namespace, "app=checkout", observed.uid)
        assert observed.template != ""

    async def test_zero_replicas_of_the_operator_are_not_a_persons(self, subject: ManagedUnderTest) -> None:
        await subject.target.apply(0, take=True)
        observed = await subject.target.observe()
        assert (observed.minimum, observed.scaled_to_zero) == (0, False)
        await subject.target.apply(2)
        assert (await subject.target.observe()).minimum == 2


@pytest.mark.e2e
class TestDeployment(BuiltInContract):
    @pytest.fixture
    def kind(self) -> str:
        return "deployment"

    @pytest.fixture
    def manifest(self) -> ManifestOf:
        return lambda replicas: a_deployment("checkout", replicas=replicas)


@pytest.mark.e2e
class TestStatefulSet(BuiltInContract):
    @pytest.fixture
    def kind(self) -> str:
        return "statefulset"

    @pytest.fixture
    def manifest(self) -> ManifestOf:
        return lambda replicas: a_stateful_set("checkout", replicas=replicas)


@pytest.fixture(scope="session")
async def rollouts(cluster: Kubernetes) -> str:
    """The name of a custom resource for kubectl. Its replicas are in spec.size."""
    kubectl = Kubectl(cluster.kubectl_program, cluster.kubeconfig)
    await kubectl.apply(a_rollout_definition())
    await kubectl("wait", "--for=condition=Established", "crd/rollouts.example.com")
    return "rollouts.example.com"


@pytest.mark.e2e
class TestCustomResource(WorkloadContract):
    @pytest.fixture
    def kind(self, rollouts: str) -> str:
        return rollouts

    @pytest.fixture
    def manifest(self) -> ManifestOf:
        return lambda replicas: a_rollout("checkout", size=replicas)

    async def test_ready_pods_are_counted_by_the_selector_of_the_scale(
        self, subject: ManagedUnderTest, kubectl: Kubectl, kind: str
    ) -> None:
        await kubectl.apply(a_deployment("checkout", replicas=3))
        status = json.dumps({"status": {"replicas": 4, "selector": "app=checkout"}})
        await kubectl("patch", kind, "checkout", "--subresource=status", "--type=merge", "-p", status)
        observed = await eventually(subject.target.observe, lambda observed: observed.ready_replicas == 3, 30)
        assert observed.current_replicas == 2
        progress = await subject.target.progress()
        assert progress.replicas == 4
        assert progress.source == ReplicaSource(kubectl.namespace, "app=checkout", observed.uid)

    async def test_the_operator_does_not_scale_to_zero(self, subject: ManagedUnderTest) -> None:
        with pytest.raises(TargetRefusedError, match=r"spec\.replicas\.min of the policy to 1"):
            await subject.target.apply(0, take=True)
        assert (await subject.target.observe()).minimum == 2


class StaleRecords(LiveRecords):
    """Returns the first record again, as a watch that lags does."""

    def __init__(self, cluster: Cluster, first: WorkloadRecord) -> None:
        super().__init__(cluster)
        self._first = first

    def watched_workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        del namespace, reference
        return self._first


def a_target(kind: str = "Deployment", api_version: str = "apps/v1") -> WorkloadTarget:
    return WorkloadTarget(api_version=api_version, kind=kind, name="checkout")


async def a_stale_workload(connection: Cluster, kubectl: Kubectl) -> Workload:
    """The Deployment `checkout`, whose record stays as it is now."""
    await kubectl.apply(a_deployment("checkout", replicas=2))
    records = StaleRecords(connection, WorkloadRecord.parse(await kubectl.get("deployment", "checkout")))
    return Workload(connection, ApiDiscovery(connection), records, kubectl.namespace, a_target())


@pytest.mark.e2e
async def test_a_change_of_other_fields_does_not_conflict_with_a_first_write(
    cluster: Kubernetes, kubectl: Kubectl
) -> None:
    async with connected(cluster.kubeconfig) as connection:
        workload = await a_stale_workload(connection, kubectl)
        await workload.observe()
        await kubectl("annotate", "deployment", "checkout", "changed=later")
        await workload.apply(5, take=True)
    assert (await kubectl.get("deployment", "checkout"))["spec"]["replicas"] == 5


@pytest.mark.e2e
async def test_a_workload_recreated_since_the_observation_is_not_written(cluster: Kubernetes, kubectl: Kubectl) -> None:
    async with connected(cluster.kubeconfig) as connection:
        workload = await a_stale_workload(connection, kubectl)
        await workload.observe()
        await kubectl("delete", "deployment", "checkout")
        await kubectl.apply(a_deployment("checkout", replicas=3))
        with pytest.raises(TargetNotFoundError, match="created again"):
            await workload.apply(5, take=True)
    assert (await kubectl.get("deployment", "checkout"))["spec"]["replicas"] == 3


@pytest.mark.e2e
async def test_a_missing_permission_is_named(cluster: Kubernetes, kubectl: Kubectl) -> None:
    await kubectl.apply(a_deployment("checkout", replicas=2))
    await kubectl("create", "serviceaccount", "reader")
    await kubectl(
        "create", "role", "reader", "--verb=get,list", "--resource=deployments,horizontalpodautoscalers.autoscaling"
    )
    await kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={kubectl.namespace}:reader")
    kubeconfig = await cluster.kubeconfig_of(kubectl.namespace, "reader")
    await wait_for_rights(Kubectl(cluster.kubectl_program, kubeconfig, kubectl.namespace), "deployments", "hpa")
    async with (
        connected(cluster.kubeconfig) as administrator,
        connected(kubeconfig) as connection,
    ):
        records, discovery, namespace = LiveRecords(administrator), ApiDiscovery(connection), kubectl.namespace
        with pytest.raises(TargetRefusedError, match="patch on deployments/scale"):
            await Workload(connection, discovery, records, namespace, a_target()).apply(5, take=True)
        with pytest.raises(TargetRefusedError, match="get on statefulsets"):
            await Workload(connection, discovery, records, namespace, a_target("StatefulSet")).observe()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("api_version", "kind", "message"),
    [
        ("apps/v1", "Deploiment", "no kind Deploiment in apps/v1"),
        ("shop.example/v1", "Basket", "no API shop.example/v1"),
        ("v1", "ConfigMap", "configmaps of v1 have no scale subresource"),
    ],
)
async def test_a_kind_that_cannot_be_scaled_is_unsupported(
    cluster: Kubernetes, kubectl: Kubectl, api_version: str, kind: str, message: str
) -> None:
    async with connected(cluster.kubeconfig) as connection:
        records, target = LiveRecords(connection), a_target(kind, api_version)
        workload = Workload(connection, ApiDiscovery(connection), records, kubectl.namespace, target)
        with pytest.raises(TargetUnsupportedError, match=message):
            await workload.observe()
