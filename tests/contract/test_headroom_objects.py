"""The objects that reserve node headroom, on a real API server with the CRD of CapacityBuffers and restricted pods."""

from predictive_scaling.cluster.client import connected
from predictive_scaling.cluster.workload_record import WorkloadReference
from predictive_scaling.control.actuation.headroom_objects import HeadroomRequest, PlaceholderOptions
from predictive_scaling.control.actuation.headroom_writer import HeadroomWriter
from predictive_scaling.errors import RequestFailedError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.vocabulary import HeadroomMethod
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_deployment, a_scaling_policy

OPTIONS = PlaceholderOptions("registry.k8s.io/pause:3.10", "system-cluster-critical")


async def test_a_buffer_and_placeholders_are_accepted_changed_and_deleted(
    cluster: Kubernetes, kubectl: Kubectl
) -> None:
    await cluster.install_capacity_buffers()
    # The garbage collector deletes objects whose owner does not exist.
    await kubectl.apply(a_deployment("shop"), a_scaling_policy("shop"))
    uid = (await kubectl.get("sp", "shop"))["metadata"]["uid"]
    await cluster.kubectl(
        "label", "namespace", kubectl.namespace, "pod-security.kubernetes.io/enforce=restricted", "--overwrite"
    )
    async with connected(cluster.kubeconfig) as client:
        await keep_change_and_delete(HeadroomWriter(client, OPTIONS, (kubectl.namespace,)), kubectl.namespace, uid)


async def keep_change_and_delete(writer: HeadroomWriter, namespace: str, uid: str) -> None:
    await eventually(lambda: served_version(writer), lambda version: version == "v1beta1")
    reference = WorkloadReference("apps/v1", "Deployment", "shop")
    for method in (HeadroomMethod.CAPACITY_BUFFER, HeadroomMethod.PLACEHOLDERS):
        for replicas in (3, 3, 5):
            request = HeadroomRequest(PolicyKey(namespace, "shop"), uid, replicas, reference, "release")
            kept = await writer.ensure(request, method, await writer.read())
            assert (kept.replicas, kept.method) == (replicas, method)
    existing = (await writer.read()).of(uid)
    assert sorted(headroom.replicas for headroom in existing.values()) == [5, 5]
    for path in existing:
        await writer.delete(path)
    assert (await writer.read()).objects == {}


async def served_version(writer: HeadroomWriter) -> str | None:
    """The version of CapacityBuffers; None while the API server, which answers 429, begins to store them."""
    try:
        return (await writer.read()).buffer_version
    except RequestFailedError:
        return None
