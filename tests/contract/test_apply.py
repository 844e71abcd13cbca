"""Objects that the tests create directly have the fields, managers and annotations of `kubectl apply`."""

from typing import Any

import pytest
import yaml

from tests.support.kubectl import Kubectl, KubectlError
from tests.support.manifests import Manifest, a_business_event, a_deployment, a_scaling_policy, an_autoscaler

pytestmark = pytest.mark.e2e
COLLECTIONS = {
    "BusinessEvent": "businessevents",
    "Deployment": "deployments",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "ScalingPolicy": "scalingpolicies",
}


@pytest.mark.parametrize(
    "manifest",
    [
        a_business_event("checkout", start="2026-06-17T12:00:00Z", end="2026-06-17T13:00:00Z"),
        a_deployment("checkout", replicas=3),
        an_autoscaler("checkout") | {"metadata": {"name": "checkout", "annotations": {"team": "shop <2> & Söhne"}}},
        a_scaling_policy(),
    ],
    ids=lambda manifest: manifest["kind"],
)
async def test_a_created_object_equals_one_of_kubectl_apply(manifest: Manifest, kubectl: Kubectl) -> None:
    kind = COLLECTIONS[manifest["kind"]]
    await kubectl.apply(manifest)
    created = as_applied(await kubectl.get(kind, "checkout"))
    await kubectl("delete", kind, "checkout")
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert created == as_applied(await kubectl.get(kind, "checkout"))


async def test_an_unknown_field_is_refused_with_the_message_of_kubectl(kubectl: Kubectl) -> None:
    with pytest.raises(KubectlError, match=r'unknown field "spec\.replica"'):
        await kubectl.apply(a_scaling_policy(replica=3))


def as_applied(created: dict[str, Any]) -> dict[str, Any]:
    """The object without what differs between two objects of the same manifest, and without its controller's part."""
    metadata = created["metadata"]
    applied = [
        {name: value for name, value in entry.items() if name != "time"}
        for entry in metadata["managedFields"]
        if entry["manager"] == "kubectl-client-side-apply"
    ]
    metadata = {name: metadata.get(name) for name in ("name", "namespace", "labels", "generation")}
    annotations = created["metadata"]["annotations"]
    annotations = {name: text for name, text in annotations.items() if name != "deployment.kubernetes.io/revision"}
    return {"metadata": metadata, "annotations": annotations, "managed": applied, "spec": created["spec"]}
