"""A control plane per file, with the namespaces of the chart's tests, and Helm for it."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from predictive_scaling.stack.components import ClusterOptions
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.stack import Stack
from tests.support.chart_releases import RESTRICTED, delete_kept_objects
from tests.support.helm import NAMESPACE, RELEASE, Helm


@pytest.fixture(scope="module")
async def control_plane() -> AsyncGenerator[Kubernetes]:
    """A control plane without our custom resources, and namespaces that admit only restricted pods."""
    async with Stack([Part.KUBERNETES], cluster=ClusterOptions(scheduler=True, audited=True)) as stack:
        namespaces = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
            for name in (NAMESPACE, "shop", "search")
        ]
        await stack.kubernetes.apply(namespaces, "namespaces")
        yield stack.kubernetes


@pytest.fixture(scope="module")
def cluster_helm(helm: Helm, control_plane: Kubernetes) -> Helm:
    """Helm with the rights of the administrator."""
    return replace(helm, kubeconfig=control_plane.kubeconfig)


@pytest.fixture
async def clean(control_plane: Kubernetes, cluster_helm: Helm) -> AsyncGenerator[None]:
    """No release and nothing that a release keeps, at the end either."""
    yield
    await cluster_helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--no-hooks")
    await delete_kept_objects(control_plane)
