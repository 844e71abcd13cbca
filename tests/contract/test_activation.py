"""config/tenancy on a real API server: users who edit policies, and users who may let them write to their targets."""

import asyncio
import json
import os
import re
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.documents import DOCS, blocks
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl, KubectlError, new_namespace
from tests.support.manifests import a_scaling_policy

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
RESOURCES = "scalingpolicies.predictive-scaling.io"
PAGE = (DOCS / "tenancy.md").read_text()
COMMANDS = [block for block in blocks(PAGE) if block.anchor == "who-may-switch-to-auto" and block.language == "bash"]
USERS = {
    "visitor": ("list",),
    "developer": ("create", "patch"),
    "engineer": ("create", "patch", "activate"),
    "administrator": ("create", "patch", "activate"),
}
"""The users of a namespace, with verbs that they have on policies."""
NEEDS = f"needs the verb activate on {RESOURCES} in this namespace; use mode Recommend"


@dataclass(frozen=True)
class Tenant:
    """kubectl of the users of a namespace, each with the token of a ServiceAccount; the engineer may activate."""

    visitor: Kubectl
    developer: Kubectl
    engineer: Kubectl
    administrator: Kubectl
    printed: tuple[str, ...]
    """What each command of the page printed, except the first."""


@pytest.fixture(scope="module")
async def roles(cluster: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[None]:
    """The roles and the admission policy, as the page applies them."""
    await run(COMMANDS[0].text, cluster, "default", tmp_path_factory.mktemp("roles"))
    yield
    await cluster.kubectl("delete", "-f", str(ROOT / "config" / "tenancy"))


@pytest.fixture(scope="module")
async def users(roles: None, cluster: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Tenant]:
    """A namespace with its users, as the page makes them."""
    async with new_namespace(cluster, f"tenant-{uuid.uuid4().hex[:10]}") as kubectl:
        namespace = kubectl.namespace
        for name in USERS:
            await kubectl("create", "serviceaccount", name)
        folder = tmp_path_factory.mktemp("tenant")
        printed = [await run(block.text, cluster, namespace, folder) for block in COMMANDS[1:]]
        for name, role in (("visitor", "view"), ("administrator", "admin")):
            await kubectl(
                "create", "rolebinding", name, f"--clusterrole={role}", f"--serviceaccount={namespace}:{name}"
            )
        users = {
            name: Kubectl(cluster.kubectl_program, await cluster.kubeconfig_of(namespace, name), namespace)
            for name in USERS
        }
        # A controller adds the rules to Kubernetes' roles, and the API server uses a new policy after about a second.
        for name, verbs in USERS.items():
            for verb in verbs:
                await eventually(lambda name=name, verb=verb: may(users[name], verb), seconds=60)
        await eventually(lambda: is_refused(users["developer"]), seconds=60)
        yield Tenant(**users, printed=tuple(printed))


@pytest.fixture
async def tenant(users: Tenant) -> AsyncGenerator[Tenant]:
    """The users of a namespace, in which no policy exists."""
    yield users
    await users.administrator.delete_all("sp")
    await eventually(lambda: users.administrator.items("sp"), lambda policies: not policies)


async def run(commands: str, cluster: Kubernetes, namespace: str, folder: Path) -> str:
    """Run commands of the page as written, in another namespace than `shop`, and return what they print."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    if not (programs / "kubectl").exists():
        (programs / "kubectl").symlink_to(cluster.kubectl_program)
    environment = {"KUBECONFIG": str(cluster.kubeconfig), "PATH": f"{programs}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", re.sub(r"\bshop\b", namespace, commands)),
        cwd=ROOT,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def may(user: Kubectl, verb: str) -> bool:
    try:
        return (await user("auth", "can-i", verb, RESOURCES)).strip() == "yes"
    except KubectlError:  # the answer is no
        return False


async def is_refused(user: Kubectl) -> bool:
    """Whether the admission policy is in use: a dry run of a policy in mode Auto is refused."""
    try:
        await create(user, "probe", "Auto", "--dry-run=server")
    except KubectlError as error:
        return NEEDS in str(error)
    return False


async def create(user: Kubectl, name: str, mode: str, *options: str) -> None:
    await user("create", *options, "-f", "-", stdin=json.dumps(a_scaling_policy(name, mode=mode)))


async def patch(user: Kubectl, name: str, **spec: Any) -> None:
    await user("patch", RESOURCES, name, "--type=merge", "-p", json.dumps({"spec": spec}))


async def mode_of(user: Kubectl, name: str) -> str:
    return (await user.get("scalingpolicy", name))["spec"]["mode"]


async def test_only_users_with_the_verb_let_a_policy_write(tenant: Tenant) -> None:
    developer, engineer = tenant.developer, tenant.engineer
    assert tenant.printed[-1].strip().endswith("yes")
    await create(developer, "checkout", "Recommend")
    with pytest.raises(
        KubectlError, match=r"serviceaccount:.*:developer may not activate ScalingPolicy .*/cart"
    ) as error:
        await create(developer, "cart", "Auto")
    assert NEEDS in str(error.value)
    with pytest.raises(KubectlError, match="may not activate ScalingPolicy"):
        await patch(developer, "checkout", mode="Auto")
    assert await mode_of(developer, "checkout") == "Recommend"
    await patch(engineer, "checkout", mode="Auto")
    await create(tenant.administrator, "cart", "Auto")
    assert await mode_of(developer, "checkout") == "Auto"


async def test_a_policy_that_writes_stays_editable_except_for_its_target(tenant: Tenant) -> None:
    developer = tenant.developer
    await create(tenant.engineer, "checkout", "Auto")
    await patch(developer, "checkout", replicas={"max": 50})
    await developer("annotate", RESOURCES, "checkout", "predictive-scaling.io/paused=true")
    with pytest.raises(KubectlError, match="may not activate ScalingPolicy"):
        await patch(developer, "checkout", target={"horizontalPodAutoscaler": {"name": "cart"}})
    await patch(tenant.engineer, "checkout", target={"horizontalPodAutoscaler": {"name": "cart"}})
    await patch(developer, "checkout", mode="Recommend", target={"horizontalPodAutoscaler": {"name": "search"}})
    with pytest.raises(KubectlError, match="may not activate ScalingPolicy"):
        await patch(developer, "checkout", mode="Auto")
    await developer("delete", RESOURCES, "checkout")


async def test_the_operator_and_generated_names_need_no_exception(tenant: Tenant) -> None:
    await create(tenant.engineer, "checkout", "Auto")
    finalizers = {"metadata": {"finalizers": ["predictive-scaling.io/restore"]}}
    await tenant.developer("patch", RESOURCES, "checkout", "--type=merge", "-p", json.dumps(finalizers))
    await tenant.developer("patch", RESOURCES, "checkout", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    manifest = a_scaling_policy(mode="Auto") | {"metadata": {"generateName": "checkout-"}}
    await tenant.engineer("create", "-f", "-", stdin=json.dumps(manifest))
    with pytest.raises(KubectlError, match="may not activate ScalingPolicy"):
        await tenant.developer("create", "-f", "-", stdin=json.dumps(manifest))


async def test_users_read_by_view_and_decisions_are_read_only(tenant: Tenant) -> None:
    await create(tenant.developer, "checkout", "Recommend")
    assert "checkout" in await tenant.visitor("get", RESOURCES)
    with pytest.raises(KubectlError, match='cannot create resource "scalingpolicies"'):
        await create(tenant.visitor, "cart", "Recommend")
    decision = {"apiVersion": "predictive-scaling.io/v1alpha1", "kind": "ScalingDecision", "metadata": {"name": "d"}}
    with pytest.raises(KubectlError, match='cannot create resource "scalingdecisions"'):
        await tenant.administrator("create", "-f", "-", "--validate=false", stdin=json.dumps(decision))


async def test_the_quota_of_the_page_counts_policies_and_events(
    cluster: Kubernetes, kubectl: Kubectl, tmp_path: Path
) -> None:
    (command,) = [block for block in blocks(PAGE) if block.anchor == "limits" and block.language == "bash"]
    await run(command.text, cluster, kubectl.namespace, tmp_path)

    async def used() -> dict[str, str]:
        quota = json.loads(await kubectl("get", "quota", "predictive-scaling", "-o", "json"))
        return quota.get("status", {}).get("used", {})

    # The API server refuses both kinds until the quota controller has counted them; it looks for new kinds every 30 s.
    counted = {f"count/{RESOURCES}": "0", "count/businessevents.predictive-scaling.io": "0"}
    await eventually(used, counted.__eq__, seconds=90)
    await kubectl.apply(a_scaling_policy("counted", mode="Recommend"))
    await eventually(used, (counted | {f"count/{RESOURCES}": "1"}).__eq__, seconds=90)
