"""Releases of the chart over their life on a real API server: upgrades, also of an earlier chart; roll-backs; the end.

Helm 4 applies on the server, Helm 3 merges the former objects, the new and the live ones on the client.
"""

import json
import tarfile
from collections.abc import Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.chart_processes import get_json
from tests.support.chart_releases import KEPT, VALUES, deployment, install, names, names_of
from tests.support.eventually import eventually
from tests.support.helm import NAMESPACE, RELEASE, Helm, Object, environment, merged, pod_templates
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_scaling_policy

pytestmark = pytest.mark.e2e

DATA = Path(__file__).parents[1] / "data"
EARLIER_CHART = DATA / "earlier_chart.tgz"
"""The first chart of the project's history: charts/predictive-scaling of the commit that added it, without README and
definitions. It lacks dashboards, sources, remote write and the buffers of ingest."""
EARLIER_DEFINITIONS = DATA / "earlier_definitions.yaml"
"""Of a release before it: without ScalingBacktest and without some fields of policies."""
QUICK = ("--no-hooks", "--disable-openapi-validation")
"""No Job of the release runs, and Helm reads no schemas of the API server, which takes it a third of the time."""
STATUS = {
    "observedGeneration": 1,
    "target": "hpa/checkout",
    "floor": 9,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Reconciled",
            "message": "Works.",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-06-17T12:00:00Z",
        }
    ],
}


@pytest.fixture(params=[3, 4], ids=["helm-3", "helm-4"])
def each_helm(request: pytest.FixtureRequest, helm: Helm, helm_3: Helm, control_plane: Kubernetes) -> Helm:
    """Both major versions of Helm with the rights of the administrator."""
    return replace({3: helm_3, 4: helm}[request.param], kubeconfig=control_plane.kubeconfig)


@pytest.fixture
def shop(control_plane: Kubernetes) -> Kubectl:
    return Kubectl(control_plane.kubectl_program, control_plane.kubeconfig, "shop")


@pytest.fixture
def earlier_chart(tmp_path: Path) -> Path:
    """A folder with the earlier chart and the earlier definitions."""
    with tarfile.open(EARLIER_CHART) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "predictive-scaling"
    definitions = folder / "files" / "crds"
    definitions.mkdir()
    for definition in yaml.safe_load_all(EARLIER_DEFINITIONS.read_text()):
        (definitions / f"{definition['spec']['names']['plural']}.yaml").write_text(json.dumps(definition))
    return folder


async def create_policy(kubectl: Kubectl) -> Object:
    """Create a policy with a status, and return it."""
    await eventually(lambda: kubectl.apply(a_scaling_policy()))
    patch = json.dumps({"status": STATUS})
    await kubectl("patch", "sp", "checkout", "--subresource=status", "--type=merge", "-p", patch)
    return await kubectl.get("sp", "checkout")


async def fields_of_policies(cluster: Kubernetes) -> set[str]:
    """Return the fields of the spec of policies that the definition in the cluster has."""
    definition = await get_json(cluster, "crd", "scalingpolicies.predictive-scaling.io")
    (version,) = definition["spec"]["versions"]
    return set(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])


async def assert_release(cluster: Kubernetes, rendered: list[Object], further: Set[str] = frozenset()) -> None:
    """Assert that the release has these objects and no others, and pods as in these.

    further: objects of another revision that are kept.
    """
    own = [body for body in rendered if "helm.sh/hook" not in body["metadata"].get("annotations", {})]
    # The garbage collector and Helm remove the objects of the other revision in the background.
    expected = names_of(own) | further
    assert await eventually(lambda: names(cluster), expected.__eq__) == expected
    for component, template in pod_templates(own):
        live = (await deployment(cluster, component))["spec"]["template"]
        assert environment(live) == environment(template), component
        assert live["metadata"]["labels"] == template["metadata"]["labels"], component
        for field in ("image", "args", "env", "volumeMounts", "resources"):
            assert live["spec"]["containers"][0][field] == template["spec"]["containers"][0][field], (component, field)
        volumes = [[volume["name"] for volume in pod["spec"]["volumes"]] for pod in (live, template)]
        assert volumes[0] == volumes[1], component


async def identities(cluster: Kubernetes) -> dict[str, tuple[str, Any]]:
    """Return the UID and the selector of each Deployment."""
    deployments = await Kubectl(cluster.kubectl_program, cluster.kubeconfig, NAMESPACE).items("deployments")
    return {body["metadata"]["name"]: (body["metadata"]["uid"], body["spec"]["selector"]) for body in deployments}


async def test_an_upgrade_of_the_earlier_chart_its_roll_back_and_another_upgrade_keep_the_policy(
    control_plane: Kubernetes,
    cluster_helm: Helm,
    each_helm: Helm,
    shop: Kubectl,
    earlier_chart: Path,
    clean: None,
) -> None:
    own = ("--namespace", NAMESPACE)
    await each_helm("install", RELEASE, earlier_chart, *own, *QUICK, values=VALUES)
    assert "nodeHeadroom" not in await fields_of_policies(control_plane)
    policy, before = await create_policy(shop), await identities(control_plane)
    earlier = list(yaml.safe_load_all(await each_helm("get", "manifest", RELEASE, *own)))
    await assert_release(control_plane, earlier)
    changed = {"settings": {"tick": "30s"}, "operator": {"replicas": 3}, "dashboards": {"enabled": True}}
    # The objects of the Job `restore` are rendered only with a connection. The release owns the names already.
    connected = ("--dry-run=server", "--take-ownership")
    later = await cluster_helm.template(merged(changed, VALUES), *connected)
    new_kind = "CustomResourceDefinition/scalingbacktests.predictive-scaling.io"
    assert new_kind in names_of(later) - names_of(earlier)
    for revision in (2, 4):
        # As in the guide: the defaults of the chart that the values of the release lack are taken.
        await install(each_helm, "upgrade", changed, "--reset-then-reuse-values", *QUICK)
        await assert_release(control_plane, later)
        operator = await deployment(control_plane, "operator")
        assert environment(operator["spec"]["template"])["PREDICTIVE_SCALING_TICK"] == "30s"
        assert operator["spec"]["replicas"] == 3
        assert "nodeHeadroom" in await fields_of_policies(control_plane)
        assert await identities(control_plane) == before
        await assert_same(shop, policy)
        if revision == 2:
            await each_helm("rollback", RELEASE, "1", *own, "--no-hooks")
            await assert_release(control_plane, earlier, {new_kind})
            assert (await deployment(control_plane, "operator"))["spec"]["replicas"] == 2
            assert "nodeHeadroom" not in await fields_of_policies(control_plane)
            assert await identities(control_plane) == before
            await assert_same(shop, policy)
    assert f"REVISION: {revision}" in await each_helm("status", RELEASE, *own)


async def assert_same(kubectl: Kubectl, policy: Object) -> None:
    """Assert that the policy exists with the same identity, spec and status."""
    found = await kubectl.get("sp", policy["metadata"]["name"])
    assert found["metadata"]["uid"] == policy["metadata"]["uid"]
    assert found["status"] == policy["status"]
    # A later definition fills in defaults of its own.
    assert policy["spec"].items() <= found["spec"].items()


async def test_an_upgrade_changes_what_changed_and_a_roll_back_takes_it_back(
    control_plane: Kubernetes, each_helm: Helm, clean: None
) -> None:
    await install(each_helm, "install", VALUES, *QUICK)
    first = await deployment(control_plane, "operator")
    changed = merged({"settings": {"tick": "30s"}, "operator": {"replicas": 3}, "crds": {"keep": False}}, VALUES)
    await install(each_helm, "upgrade", changed, *QUICK)
    second = await deployment(control_plane, "operator")
    assert environment(second["spec"]["template"])["PREDICTIVE_SCALING_TICK"] == "30s"
    assert second["spec"]["replicas"] == 3
    assert second["spec"]["selector"] == first["spec"]["selector"]
    assert second["metadata"]["uid"] == first["metadata"]["uid"]

    await each_helm("rollback", RELEASE, "1", "--namespace", NAMESPACE, "--no-hooks")
    third = await deployment(control_plane, "operator")
    assert third["spec"]["template"] == first["spec"]["template"]
    assert third["spec"]["replicas"] == 2


async def test_uninstalling_keeps_definitions_policies_and_models_and_nothing_else(
    control_plane: Kubernetes, each_helm: Helm, shop: Kubectl, clean: None
) -> None:
    await eventually(lambda: names(control_plane), set().__eq__)
    await install(each_helm, "install", VALUES, *QUICK)
    assert {"Deployment/predictive-scaling-trainer", "ClusterRole/scaling-predictive-scaling"} < await names(
        control_plane
    )
    await eventually(lambda: shop.apply(a_scaling_policy("kept")))

    await each_helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--no-hooks")
    assert await eventually(lambda: names(control_plane), lambda left: left <= KEPT) == KEPT
    assert (await shop.get("scalingpolicy", "kept"))["metadata"]["name"] == "kept"

    await install(each_helm, "install", VALUES, *QUICK)
    assert (await deployment(control_plane, "operator"))["spec"]["replicas"] == 2
