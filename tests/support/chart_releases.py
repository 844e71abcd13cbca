"""Releases of the chart on a real API server: what they have, and what they keep."""

import json
from typing import Any

from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.chart_processes import get_json
from tests.support.helm import CHART, NAMESPACE, RELEASE, Helm, Object, merged
from tests.support.kubectl import Kubectl

RESTRICTED = {f"pod-security.kubernetes.io/{action}": "restricted" for action in ("enforce", "warn")}
OURS = "app.kubernetes.io/part-of=predictive-scaling"
VALUES: dict[str, Any] = merged(
    {
        "trainer": {"enabled": True},
        "models": {"persistence": {"enabled": True}},
        "kafka": {"bootstrapServers": "127.0.0.1:1"},
    }
)
_KINDS = (
    "deployments,services,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,configmaps,"
    "poddisruptionbudgets,jobs,persistentvolumeclaims,customresourcedefinitions"
)
"""All kinds that VALUES and the dashboards render."""
KEPT = {
    "PersistentVolumeClaim/predictive-scaling-models",
    *(
        f"CustomResourceDefinition/{kind}.predictive-scaling.io"
        for kind in ("scalingpolicies", "businessevents", "scalingdecisions", "scalingbacktests")
    ),
}
"""What an uninstallation leaves."""


async def install(helm: Helm, verb: str, values: dict[str, Any], *options: str) -> str:
    """`helm install` or `helm upgrade` of the release."""
    return await helm(verb, RELEASE, CHART, "--namespace", NAMESPACE, *options, values=values)


async def deployment(cluster: Kubernetes, component: str) -> Object:
    """Return a Deployment of the release from the API server."""
    kubectl = Kubectl(cluster.kubectl_program, cluster.kubeconfig, NAMESPACE)
    return await kubectl.get("deployment", f"{RELEASE}-{component}")


async def names(cluster: Kubernetes) -> set[str]:
    """Return kind and name of all objects of the release."""
    return names_of((await get_json(cluster, _KINDS, "-l", OURS))["items"])


def names_of(objects: list[Object]) -> set[str]:
    """Return kind and name of each object."""
    return {f"{body['kind']}/{body['metadata']['name']}" for body in objects}


async def delete_kept_objects(cluster: Kubernetes) -> None:
    """Delete what a release keeps."""
    for claim in (await get_json(cluster, "pvc", "-l", OURS))["items"]:
        # The controller that removes this finalizer from unused claims does not run here.
        patch = json.dumps({"metadata": {"finalizers": None}})
        name = claim["metadata"]["name"]
        await cluster.kubectl("-n", NAMESPACE, "patch", "pvc", name, "--type=merge", "-p", patch)
    await delete_with_definitions(cluster, "pvc,jobs")


async def delete_with_definitions(cluster: Kubernetes, kinds: str) -> None:
    """Delete the release's objects of these kinds and its custom resource definitions."""
    for definition in (await get_json(cluster, "crds", "-l", OURS))["items"]:
        # The first request for a kind sets up its storage. A deletion of the definition that is first fails, and the
        # API server repeats it minutes later.
        spec = definition["spec"]
        path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}?resourceVersion=0"
        await cluster.kubectl("get", "--raw", path)
    await cluster.kubectl("-n", NAMESPACE, "delete", f"crds,{kinds}", "-l", OURS)
