"""The chart on a real API server with the real Helm: install, upgrade, roll back, uninstall; and without Helm."""

import asyncio
import json
import os
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from predictive_scaling.cluster.rights import RESTORE
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.postgresql import PostgreSQL
from tests.support.audit import AuditLog, rights
from tests.support.chart_processes import account_of, get_json, run_job, running
from tests.support.chart_releases import VALUES, delete_with_definitions, deployment, install
from tests.support.chart_values import VALUE_SETS
from tests.support.documents import DOCS, blocks
from tests.support.eventually import eventually
from tests.support.helm import (
    CHART,
    NAMESPACE,
    RELEASE,
    Helm,
    HelmError,
    Object,
    demo_templates,
    merged,
    pod_templates,
)
from tests.support.kubectl import Kubectl, KubectlError
from tests.support.manifests import a_scaling_policy, an_autoscaler

pytestmark = pytest.mark.e2e

GUIDE = (DOCS / "install.md").read_text()
NOT_RUN = {"a-trial-without-a-database-of-your-own-1": "needs a container engine"}
"""Blocks of the guide that cannot run here, and why."""
EXPECTED_OUTPUT = {
    "install-the-chart-1": ["STATUS: deployed", "1. Wait until the operator is ready"],
    "install-the-chart-2": ["successfully rolled out"],
    "create-a-policy-1": ["scalingpolicy.predictive-scaling.io/checkout created", "Recommend"],
    "change-roll-back-1": ["superseded", "Upgrade complete"],
    "change-roll-back-2": ["Rollback was a success"],
    "uninstall-1": ['release "predictive-scaling" uninstalled'],
    "uninstall-2": ["scalingpolicies.predictive-scaling.io"],
    "without-helm-in-the-cluster-1": ["deployment.apps/predictive-scaling-operator serverside-applied"],
}
"""Fragments that the output of a block of the guide contains."""


async def replicas_of(component: str, cluster: Kubernetes) -> int:
    """Return the replicas that the Deployment of a component requests."""
    return (await deployment(cluster, component))["spec"]["replicas"]


async def minimum_of(name: str, kubectl: Kubectl) -> int:
    """Return the minimum of an HPA."""
    return (await kubectl.get("hpa", name))["spec"]["minReplicas"]


def as_list(bodies: Iterable[Object]) -> str:
    """Return objects as the text of a List."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(bodies)})


def as_pod(component: str, template: Object) -> Object:
    """Return a pod of a template."""
    metadata = {"name": component, "namespace": NAMESPACE, "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


async def test_the_api_server_accepts_every_object_and_every_pod_of_every_set_of_values(
    helm: Helm, control_plane: Kubernetes, tmp_path: Path
) -> None:
    await control_plane.install_prometheus_operator()
    bodies: dict[str, Object] = {}
    for values in VALUE_SETS.values():
        objects = await helm.template(values)
        templates = (*pod_templates(objects), *demo_templates(objects))
        pods = [as_pod(component, template) for component, template in templates]
        bodies |= {json.dumps(body, sort_keys=True): body for body in (*objects, *pods)}
    (tmp_path / "objects.json").write_text(as_list(bodies.values()))
    accepted = await control_plane.kubectl(
        "create", "--dry-run=server", "--validate=strict", "-f", "objects.json", folder=tmp_path
    )
    assert "Warning" not in accepted
    assert accepted.count("(server dry run)") == len(bodies) > 100


async def test_the_namespaces_of_these_tests_refuse_a_pod_that_is_not_restricted(
    helm: Helm, control_plane: Kubernetes
) -> None:
    kubectl = Kubectl(control_plane.kubectl_program, control_plane.kubeconfig, NAMESPACE)
    objects = await helm.template({"pods": {"securityContext": {"allowPrivilegeEscalation": True}}})
    pod = as_pod("api", dict(pod_templates(objects))["api"])
    with pytest.raises(KubectlError, match='violates PodSecurity "restricted'):
        await kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


async def test_processes_of_an_installation_work_with_their_rights_and_its_end_restores_targets(
    control_plane: Kubernetes, cluster_helm: Helm, postgres: PostgreSQL, clean: None, tmp_path: Path
) -> None:
    url = await postgres.create_database("chart")
    kubectl = Kubectl(control_plane.kubectl_program, control_plane.kubeconfig, NAMESPACE)
    await kubectl("create", "secret", "generic", "db", f"--from-literal=DATABASE_URL={url}")
    installation = asyncio.create_task(install(cluster_helm, "install", VALUES))
    assert "0001" in await run_job(control_plane, "migrate", tmp_path)
    notes = await installation
    assert "kubectl -n scaling rollout status deployment/predictive-scaling-operator" in notes

    shop = Kubectl(control_plane.kubectl_program, control_plane.kubeconfig, "shop")
    await shop.apply(an_autoscaler("checkout", minimum=1))
    await eventually(lambda: shop.apply(a_scaling_policy(replicas={"min": 3, "max": 40})))
    async with AsyncExitStack() as processes:
        for component in ("operator", "api", "ingest", "trainer"):
            template = (await deployment(control_plane, component))["spec"]["template"]
            node = {"PREDICTIVE_SCALING_MODELS_DIR": str(tmp_path / "models")}
            node |= await account_of(control_plane, template["spec"])
            # Kafka does not run, so ingest cannot be ready.
            path = "/health/live" if component == "ingest" else "/health/ready"
            await processes.enter_async_context(
                running(control_plane, component, template, tmp_path / component, node, path)
            )
        await eventually(lambda: minimum_of("checkout", shop), (3).__eq__, seconds=60)
        uninstallation = asyncio.create_task(cluster_helm("uninstall", RELEASE, "--namespace", NAMESPACE))
        job = asyncio.create_task(run_job(control_plane, "restore", tmp_path / "restore"))
        await eventually(lambda: replicas_of("operator", control_plane), (0).__eq__, seconds=60)
    assert "policies whose targets were restored: 1" in await job
    await uninstallation
    assert await minimum_of("checkout", shop) == 1
    policy = await shop.get("scalingpolicy", "checkout")
    assert policy["spec"]["mode"] == "Auto"
    assert "finalizers" not in policy["metadata"]
    for component in ("operator", "restore"):
        assert "is forbidden" not in (tmp_path / component / "log").read_text()
    used = AuditLog(control_plane.audit_log).used_rights(f"system:serviceaccount:{NAMESPACE}:{RELEASE}-operator")
    restoring = rights([rule.to_manifest() for rule in RESTORE])
    assert {right._replace(name="") for right in restoring} <= used, "the Job uses what it has beyond the operator"
    await shop("delete", "scalingpolicy", "checkout")


async def test_kubectl_applies_the_rendered_objects_and_a_changed_migration(
    helm: Helm, control_plane: Kubernetes, clean: None, tmp_path: Path
) -> None:
    for tag in ("1.0", "1.1"):
        objects = await helm.template(merged({"image": {"tag": tag}}, VALUES))
        (tmp_path / "objects.json").write_text(as_list(objects))
        await control_plane.kubectl("apply", "--server-side", "-f", "objects.json", folder=tmp_path)
        (container,) = (await deployment(control_plane, "api"))["spec"]["template"]["spec"]["containers"]
        assert container["image"] == f"predictive-scaling:{tag}"
    jobs = await get_json(control_plane, "jobs")
    assert len(jobs["items"]) == 2
    await control_plane.kubectl("delete", "-f", "objects.json", "--wait=false", folder=tmp_path)


async def test_external_metrics_of_another_provider_are_not_replaced(
    control_plane: Kubernetes, cluster_helm: Helm, clean: None
) -> None:
    spec = {"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100}
    spec |= {"versionPriority": 100, "insecureSkipTLSVerify": True, "service": {"name": "keda", "namespace": "shop"}}
    name = "v1beta1.external.metrics.k8s.io"
    api = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name}, "spec": spec}
    await control_plane.apply([api], "other-provider")
    values = merged({"externalMetrics": {"enabled": True, "certificateSecret": "tls"}}, VALUES)
    try:
        with pytest.raises(HelmError, match=f'APIService "{name}" in namespace "" exists and cannot be imported'):
            await install(cluster_helm, "install", values, "--no-hooks")
    finally:
        await control_plane.kubectl("delete", "apiservice", name)


async def test_editors_of_a_namespace_may_edit_policies_and_only_read_decisions(
    control_plane: Kubernetes, cluster_helm: Helm, clean: None
) -> None:
    await install(cluster_helm, "install", VALUES, "--no-hooks")
    await control_plane.kubectl("-n", "shop", "create", "rolebinding", "editors", "--clusterrole=edit", "--user=ed")
    editor = Kubectl(control_plane.kubectl_program, control_plane.kubeconfig, "shop")

    async def may(verb: str, resource: str, *options: str) -> bool:
        try:
            return "yes" in await editor("auth", "can-i", verb, resource, *options, "--as=ed")
        except KubectlError:  # kubectl exits with 1 for "no"
            return False

    await eventually(lambda: may("create", "scalingpolicies.predictive-scaling.io"))
    await eventually(lambda: may("list", "scalingdecisions.predictive-scaling.io"))
    assert not await may("create", "scalingdecisions.predictive-scaling.io")
    assert not await may("update", "scalingpolicies.predictive-scaling.io", "--subresource=status")


async def test_every_command_of_the_installation_guide_works_in_its_order(
    control_plane: Kubernetes, cluster_helm: Helm, postgres: PostgreSQL, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "helm").symlink_to(cluster_helm.program)
    (programs / "kubectl").symlink_to(control_plane.kubectl_program)
    variables = {
        **cluster_helm.environment(),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "DATABASE_URL": await postgres.create_database("guide"),
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    exports = ""
    assert NOT_RUN.keys() < {block.name for block in blocks(GUIDE)}
    for block in blocks(GUIDE):
        if block.language != "bash" or block.name in NOT_RUN:
            continue
        if block.name == "what-you-need-1":
            exports = block.text
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", f"{exports}\n{block.text}"),
            cwd=CHART.parents[1],
            env=variables,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = asyncio.create_task(process.communicate())
        if "helm install" in block.text or "helm upgrade" in block.text:
            await run_job(control_plane, "migrate", tmp_path / block.name, "predictive-scaling")
        if "helm uninstall" in block.text:
            await run_job(control_plane, "restore", tmp_path / block.name, "predictive-scaling")
        printed = (await output)[0].decode()
        assert process.returncode == 0, f"{block.name}: {printed}"
        for fragment in EXPECTED_OUTPUT.get(block.name, ()):
            assert fragment in printed
    await delete_with_definitions(control_plane, "clusterroles,clusterrolebindings")
