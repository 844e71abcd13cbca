"""A ServiceAccount with the rights of the operator, for processes outside the cluster."""

import asyncio
from pathlib import Path

from predictive_scaling.clock import monotonic
from predictive_scaling.cluster.rights import cluster_role
from predictive_scaling.errors import StackError
from predictive_scaling.stack.kubernetes import Kubernetes

_DEADLINE_SECONDS = 60.0
_POLL_SECONDS = 0.2


async def operator_kubeconfig(cluster: Kubernetes, namespace: str, name: str = "predictive-scaling") -> Path:
    """Create the account with the ClusterRole of config/cluster-role.yaml, and return a kubeconfig with its token.

    The API server grants the rights on return: it authorizes from a cache, which new roles reach a moment later.
    Raises StackError when it does not grant them within a minute.
    """
    role = cluster_role()
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"]}
    binding = {"apiVersion": role["apiVersion"], "kind": "ClusterRoleBinding", "metadata": {"name": name}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    await cluster.apply([role, account, binding | {"roleRef": reference, "subjects": [subject]}], f"account-{name}")
    await _wait_for_rights(cluster, f"system:serviceaccount:{namespace}:{name}")
    return await cluster.kubeconfig_of(namespace, name)


async def _wait_for_rights(cluster: Kubernetes, user: str) -> None:
    deadline = monotonic() + _DEADLINE_SECONDS
    while True:
        try:
            await cluster.kubectl("auth", "can-i", "list", "pods", "--all-namespaces", f"--as={user}")
        except StackError as error:  # kubectl exits with 1 for "no"
            if monotonic() > deadline:
                raise StackError(f"the API server does not grant {user} the rights of its ClusterRole") from error
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return
