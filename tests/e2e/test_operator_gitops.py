"""GitOps tools and the operator on a real API server: manifests applied again and again, and the health of objects."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from predictive_scaling.cluster.client import FIELD_MANAGER
from predictive_scaling.cluster.field_ownership import MINIMUM_FROM_POLICY
from predictive_scaling.resources.conditions import format_time
from predictive_scaling.resources.metadata import API_VERSION
from tests.support.argo_cd import EXAMPLES, MANAGER, Application
from tests.support.eventually import eventually
from tests.support.floor_watch import watched_floor
from tests.support.gitops_states import assert_reaches, assert_state, is_in
from tests.support.helm import Helm, HelmError
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_business_event, a_deployment, a_scaling_policy, an_autoscaler
from tests.support.observing import (
    get_condition,
    get_decisions,
    get_minimum,
    record_steady_demand,
    wait_for_condition,
    wait_for_minimum,
)
from tests.support.operator_process import OperatorProcess

pytestmark = pytest.mark.e2e

MIN_REPLICAS = ("spec", "minReplicas")


@pytest.fixture
async def demand(operator: OperatorProcess, namespace: str) -> dict[str, str]:
    """A demand of 880 for the next twelve hours: nine replicas at 100 per replica."""
    await record_steady_demand(operator.database_url, operator.clock, namespace, 880.0, timedelta(hours=12))
    return {"service": namespace, "metric": "requests_per_second", "perReplica": "100"}


def in_git(kubectl: Kubectl, minimum: int | None, **options: Any) -> Application:
    """Return the Application of the HPA `checkout` with this minimum in Git."""
    return Application(kubectl, an_autoscaler("checkout", minimum=minimum), **options)


async def start(application: Application, demand: dict[str, str]) -> None:
    """Synchronize, and wait until a policy raises the floor to 9."""
    kubectl = application.kubectl
    await application.sync()
    await kubectl.apply(a_deployment("checkout"), a_scaling_policy(demand=demand))
    await wait_for_minimum(kubectl, 9)


async def scale(kubectl: Kubectl, floor: int) -> None:
    """Have the operator write another floor."""
    await kubectl("annotate", "--overwrite", "sp", "checkout", f"predictive-scaling.io/pin={floor}")
    await wait_for_minimum(kubectl, floor)


async def edit_by_hand(kubectl: Kubectl) -> None:
    """Cause drift of another field of the HPA."""
    await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", '{"spec":{"maxReplicas":39}}')


@pytest.mark.parametrize("server_side", [False, True], ids=["client-side", "server-side"])
@pytest.mark.parametrize("minimum", [None, 3], ids=["left-out", "ignored"])
async def test_repeated_synchronization_never_lowers_the_floor(
    operator: OperatorProcess, kubectl: Kubectl, demand: dict[str, str], server_side: bool, minimum: int | None
) -> None:
    ignored = () if minimum is None else (MIN_REPLICAS,)
    application = in_git(kubectl, minimum, server_side=server_side, ignored=ignored)
    await start(application, demand)
    for floor in (12, 11):
        assert not await application.heal(), "the floor is drift"
        await edit_by_hand(kubectl)
        before = await get_minimum(kubectl)
        assert await application.heal(), "a change by hand is not corrected"
        synchronized = await application.sync()
        assert synchronized["spec"]["minReplicas"] == before
        assert synchronized["spec"]["maxReplicas"] == 40
        await scale(kubectl, floor)
    await application.sync()
    await operator.wait_for_ticks(2)
    await wait_for_condition(kubectl, "Conflict", "False")
    assert await get_minimum(kubectl) == 11
    assert {decision["spec"]["reason"] for decision in await get_decisions(kubectl)} <= {"ForecastRose", "Pinned"}
    await kubectl("delete", "sp", "checkout")
    assert await get_minimum(kubectl) == (minimum or 1)


@pytest.mark.parametrize(("server_side", "at_first"), [(False, 1), (True, 9)], ids=["client-side", "server-side"])
async def test_a_minimum_that_leaves_git_keeps_the_floor(
    kubectl: Kubectl, demand: dict[str, str], server_side: bool, at_first: int
) -> None:
    application = in_git(kubectl, 3, server_side=server_side, ignored=(MIN_REPLICAS,))
    await start(application, demand)
    await application.sync()
    application.ignored = ()
    del application.manifest["spec"]["minReplicas"]
    # The three-way merge of a client-side apply removes the field, and the API server fills in its default.
    assert (await application.sync())["spec"]["minReplicas"] == at_first
    await wait_for_minimum(kubectl, 9)
    await wait_for_condition(kubectl, "Conflict", "False")
    assert await owners_of_minimum(kubectl) == {FIELD_MANAGER}
    assert not await application.heal()
    await kubectl("delete", "sp", "checkout")
    assert await get_minimum(kubectl) == 3


@pytest.mark.parametrize("server_side", [False, True], ids=["client-side", "server-side"])
async def test_a_manifest_that_insists_on_the_minimum_is_a_conflict_and_not_a_fight(
    operator: OperatorProcess, kubectl: Kubectl, demand: dict[str, str], server_side: bool
) -> None:
    application = in_git(kubectl, 3, server_side=server_side)
    await start(application, demand)
    assert await application.heal()
    conflict = await wait_for_condition(kubectl, "Conflict", "True", "ForeignWriter")
    assert f"{MANAGER} set the minimum to 3" in conflict["message"]
    syncs, decisions = application.syncs, len(await get_decisions(kubectl))
    for _ in range(3):
        await operator.wait_for_ticks(1)
        await application.heal()
    assert (application.syncs, len(await get_decisions(kubectl))) == (syncs, decisions)
    assert await get_minimum(kubectl) == 3
    await assert_reaches("foreign_writer", reader(kubectl, "sp", "checkout"))

    # The remedy of the message: the manifest leaves the field out, and the operator takes it again.
    del application.manifest["spec"]["minReplicas"]
    await application.sync()
    await wait_for_minimum(kubectl, 9)
    await wait_for_condition(kubectl, "Conflict", "False")
    assert not await application.heal()
    assert await owners_of_minimum(kubectl) == {FIELD_MANAGER}


@dataclass(frozen=True)
class Release:
    """A Helm release of the HPA `checkout`."""

    helm: Helm
    options: tuple[str, ...]
    """Of each upgrade."""
    chart: Path
    namespace: str

    def by(self, helm: Helm, *options: str) -> "Release":
        """Return the release as another Helm, or one with other options, upgrades it."""
        return replace(self, helm=replace(helm, kubeconfig=self.helm.kubeconfig), options=options)

    async def upgrade(self, *, annotations: dict[str, str] | None = None, **bounds: Any) -> None:
        """Install or upgrade to this minimum and maximum. Raises HelmError."""
        (self.chart / "templates").mkdir(parents=True, exist_ok=True)
        (self.chart / "Chart.yaml").write_text(json.dumps({"apiVersion": "v2", "name": "checkout", "version": "1.0.0"}))
        autoscaler = an_autoscaler("checkout", **bounds)
        autoscaler["spec"]["behavior"] = DEFAULT_BEHAVIOR
        autoscaler["metadata"]["annotations"] = annotations or {}
        (self.chart / "templates" / "hpa.yaml").write_text(json.dumps(autoscaler))
        options = ("--namespace", self.namespace, *self.options)
        await self.helm("upgrade", "--install", "checkout", self.chart, *options)


DEFAULT_BEHAVIOR = {"scaleDown": {"stabilizationWindowSeconds": 300}}
"""The window of Kubernetes; the HPA controller of the tests has none unless an HPA states it."""
SERVER_SIDE, CLIENT_SIDE = "--server-side=true", "--server-side=false"


@pytest.fixture(params=[3, 4], ids=["helm-3", "helm-4"])
def client_side(request: pytest.FixtureRequest, helm: Helm, helm_3: Helm) -> tuple[Helm, tuple[str, ...]]:
    """The two Helms that merge on the client, with their options."""
    return (helm_3, ()) if request.param == 3 else (helm, (CLIENT_SIDE,))


async def raised_release(
    helm: Helm, options: tuple[str, ...], folder: Path, kubectl: Kubectl, demand: dict[str, str]
) -> Release:
    """Install a chart that states a minimum of 3, and wait until a policy raises the floor to 9."""
    connected_helm = replace(helm, kubeconfig=kubectl.kubeconfig)
    release = Release(connected_helm, options, folder / "chart", kubectl.namespace)
    await release.upgrade(minimum=3)
    await kubectl.apply(a_deployment("checkout"), a_scaling_policy(demand=demand))
    await wait_for_minimum(kubectl, 9)
    return release


async def test_a_server_side_upgrade_of_a_chart_that_states_the_minimum_is_refused_until_it_leaves_it_out(
    helm: Helm, tmp_path: Path, kubectl: Kubectl, demand: dict[str, str]
) -> None:
    release = await raised_release(helm, (SERVER_SIDE,), tmp_path, kubectl, demand)
    with pytest.raises(HelmError, match=rf'conflict with "{FIELD_MANAGER}".*\.spec\.minReplicas'):
        await release.upgrade(minimum=3, maximum=41)
    await release.upgrade(minimum=None, maximum=42)
    autoscaler = (await kubectl.get("hpa", "checkout"))["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (9, 42)
    assert await owners_of_minimum(kubectl) == {FIELD_MANAGER}


async def test_a_client_side_upgrade_that_writes_the_minimum_or_removes_it_is_a_conflict_until_it_is_resumed(
    client_side: tuple[Helm, tuple[str, ...]], tmp_path: Path, kubectl: Kubectl, demand: dict[str, str]
) -> None:
    release = await raised_release(*client_side, tmp_path, kubectl, demand)
    await release.upgrade(minimum=3, maximum=41)
    assert "set the minimum to 3" in (await wait_for_condition(kubectl, "Conflict", "True"))["message"]
    await kubectl("annotate", "sp", "checkout", "predictive-scaling.io/resume=0")
    await wait_for_minimum(kubectl, 9)
    await eventually(lambda: kubectl.get("deployment", "checkout"), lambda found: found["spec"]["replicas"] == 9)
    async with watched_floor(kubectl, tmp_path / "replicas", kind="deployment", field="replicas") as replicas:
        await release.upgrade(minimum=None)
        await eventually(
            lambda: get_condition(kubectl, "Conflict"),
            lambda conflict: conflict["status"] == "True" and "set the minimum to 1" in conflict["message"],
        )
        await kubectl("annotate", "--overwrite", "sp", "checkout", "predictive-scaling.io/resume=1")
        await wait_for_minimum(kubectl, 9)
        # The window of the HPA kept the replicas in the meantime.
        assert set(await replicas.minima()) == {9}
    await wait_for_condition(kubectl, "Conflict", "False")
    await release.upgrade(minimum=None, maximum=42)
    assert await get_minimum(kubectl) == 9


async def test_a_client_side_upgrade_that_removes_the_minimum_by_an_annotation_lowers_no_replicas(
    client_side: tuple[Helm, tuple[str, ...]], tmp_path: Path, kubectl: Kubectl, demand: dict[str, str]
) -> None:
    release = await raised_release(*client_side, tmp_path, kubectl, demand)
    await eventually(lambda: kubectl.get("deployment", "checkout"), lambda found: found["spec"]["replicas"] == 9)
    async with (
        watched_floor(kubectl, tmp_path / "minima") as floor,
        watched_floor(kubectl, tmp_path / "replicas", kind="deployment", field="replicas") as replicas,
    ):
        for maximum in (41, 42):
            await release.upgrade(annotations={MINIMUM_FROM_POLICY: "true"}, minimum=None, maximum=maximum)
            await wait_for_minimum(kubectl, 9)
        assert await owners_of_minimum(kubectl) == {FIELD_MANAGER}
        # Only the first upgrade has a line to remove.
        assert [minimum for minimum, _ in groupby(await floor.wait_for(9))] == [9, 1, 9]
        assert set(await replicas.minima()) == {9}
    await wait_for_condition(kubectl, "Conflict", "False")


async def test_a_server_side_upgrade_of_a_client_side_release_leaves_the_minimum_out_without_lowering_it(
    client_side: tuple[Helm, tuple[str, ...]], helm: Helm, tmp_path: Path, kubectl: Kubectl, demand: dict[str, str]
) -> None:
    release = await raised_release(*client_side, tmp_path, kubectl, demand)
    async with watched_floor(kubectl, tmp_path / "minima") as floor:
        await release.by(helm, SERVER_SIDE).upgrade(minimum=None)
        assert await owners_of_minimum(kubectl) == {FIELD_MANAGER}
        await wait_for_condition(kubectl, "Conflict", "False")
        # From now on the client side, Helm 3 too, has no minimum to remove.
        await release.upgrade(minimum=None, maximum=42)
        assert (await kubectl.get("hpa", "checkout"))["spec"]["maxReplicas"] == 42
        assert set(await floor.wait_for(9)) == {9}
    assert {decision["spec"]["reason"] for decision in await get_decisions(kubectl)} == {"ForecastRose"}


async def owners_of_minimum(kubectl: Kubectl) -> set[str]:
    """Return the field managers of minReplicas."""
    body = json.loads(await kubectl("get", "hpa", "checkout", "-o", "json", "--show-managed-fields"))
    return {
        entry["manager"]
        for entry in body["metadata"]["managedFields"]
        if "f:minReplicas" in entry["fieldsV1"].get("f:spec", {})
    }


def reader(kubectl: Kubectl, kind: str, name: str) -> Callable[[], Awaitable[dict[str, Any]]]:
    return lambda: kubectl.get(kind, name)


def decision_reader(kubectl: Kubectl, policy: str, state: str) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return a reader of a decision of the policy, if possible of one in this state."""

    async def read() -> dict[str, Any]:
        decisions = [body for body in await get_decisions(kubectl) if body["spec"]["policy"] == policy]
        assert decisions
        return next((body for body in decisions if is_in(state, body)), decisions[-1])

    return read


async def create(kubectl: Kubectl, manifest: dict[str, Any]) -> dict[str, Any]:
    return json.loads(await kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(manifest)))


async def edit(kubectl: Kubectl, kind: str, name: str, **spec: Any) -> dict[str, Any]:
    patch = json.dumps({"spec": spec})
    return json.loads(await kubectl("patch", kind, name, "--type=merge", "-o", "json", "-p", patch))


def a_target(name: str) -> dict[str, Any]:
    return {"horizontalPodAutoscaler": {"name": name}}


async def test_policies_have_a_health_in_every_state(kubectl: Kubectl, demand: dict[str, str]) -> None:
    names = ("checkout", "search", "orders", "invoices", "payments")
    await kubectl.apply(a_deployment("checkout"), *(an_autoscaler(name) for name in names))
    unseen = {**demand, "service": f"{demand['service']}-unseen"}
    to_zero = {"behavior": "Static", "replicas": 0, "after": "1m"}
    assert_state("created", await create(kubectl, a_scaling_policy("search", mode="Recommend", demand=demand)))
    await kubectl.apply(
        a_scaling_policy("checkout", demand=demand),
        a_scaling_policy("off", mode="Off", target=a_target("checkout"), demand=demand),
        a_scaling_policy("orders", suspend=True, demand=demand),
        a_scaling_policy("invoices", fallback={"behavior": "HoldFloor", "after": "1m"}, demand=unseen),
        a_scaling_policy("payments", fallback=to_zero, replicas={"min": 0, "max": 40}, demand=unseen),
        a_scaling_policy("missing", demand=demand),
        a_scaling_policy("stalled", forecast={"timezone": "Europe/Pari"}, target=a_target("orders"), demand=demand),
    )
    for name, state in {
        "checkout": "auto",
        "search": "recommend",
        "off": "off",
        "orders": "suspended",
        "invoices": "fallback",
        "missing": "target_missing",
        "stalled": "stalled",
        "payments": "refused",
    }.items():
        await assert_reaches(state, reader(kubectl, "sp", name), seconds=60)

    for name, state in {"search": "recommended", "payments": "failed", "checkout": "succeeded"}.items():
        await assert_reaches(state, decision_reader(kubectl, name, state))

    assert_state("edited", await edit(kubectl, "sp", "search", replicas={"max": 39}))
    await kubectl.apply(a_scaling_policy("second", target=a_target("checkout"), demand=demand))
    await assert_reaches("held_target", reader(kubectl, "sp", "second"))
    await scale(kubectl, 12)
    await assert_reaches("pinned", reader(kubectl, "sp", "checkout"))


async def test_events_and_backtests_have_a_health_in_every_state(operator: OperatorProcess, kubectl: Kubectl) -> None:
    now = operator.clock.now()

    def a_span(begin: timedelta, end: timedelta) -> dict[str, Any]:
        return {"start": format_time(now + begin), "end": format_time(now + end), "expect": {"multiplier": "2"}}

    hours = timedelta(hours=1)
    assert_state("created", await create(kubectl, a_business_event("scheduled", **a_span(48 * hours, 50 * hours))))
    recurrence = {"rrule": "FREQ=DAILY", "timezone": "Europe/Pari", "start": "18:00", "duration": "2h"}
    await kubectl.apply(
        a_business_event("active", **a_span(-hours, 48 * hours)),
        a_business_event("finished", **a_span(-4 * hours, -2 * hours)),
        a_business_event("stalled", recurrence=recurrence, expect={"minReplicas": 4}),
    )
    for name in ("scheduled", "active", "finished", "stalled"):
        await assert_reaches(name, reader(kubectl, "be", name))
    assert_state("edited", await edit(kubectl, "be", "scheduled", priority=2))

    spec = {"policy": "nobody"}
    backtest = {"apiVersion": API_VERSION, "kind": "ScalingBacktest", "metadata": {"name": "mistaken"}, "spec": spec}
    assert_state("created", await create(kubectl, backtest))
    await assert_reaches("pending", reader(kubectl, "sb", "mistaken"))
    await assert_reaches("failed", reader(kubectl, "sb", "mistaken"), seconds=60)


async def test_the_settings_for_argo_cd_are_added_to_its_own(kubectl: Kubectl) -> None:
    of_argo_cd = replace(kubectl, namespace="argocd")
    rendered = json.loads(await of_argo_cd("create", "--dry-run=client", "-o", "json", "-k", EXAMPLES))
    assert rendered["metadata"]["name"] == "argocd-cm"
    rendered["metadata"]["namespace"] = kubectl.namespace
    await kubectl("create", "configmap", "argocd-cm", "--from-literal=url=https://argocd.example.com")
    await kubectl("apply", "--server-side", "--field-manager=scaling", "-f", "-", stdin=json.dumps(rendered))
    settings = json.loads(await kubectl("get", "configmap", "argocd-cm", "-o", "json"))["data"]
    assert settings == rendered["data"] | {"url": "https://argocd.example.com"}
