"""The CRDs as users meet them: files, examples and `kubectl explain`."""

from pathlib import Path

import pytest

from predictive_scaling.resources import crd
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.kubectl import Kubectl

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


@pytest.fixture
def dry_run(cluster: Kubernetes) -> Kubectl:
    """kubectl for dry runs, which need no namespace."""
    return Kubectl(cluster.kubectl_program, cluster.kubeconfig)


@pytest.mark.parametrize(
    ("path", "description"),
    [
        ("scalingpolicy", "Raises and lowers the minimum of a target ahead of demand."),
        ("scalingpolicy.spec.forecast", "Quantile of peak demand over the lead time that the floor covers"),
        ("scalingpolicy.spec.forecast.horizon", "How far ahead demand is forecast, from 1m to 24h."),
        ("scalingpolicy.spec.forecast.timezone", "Time zone of the daily and weekly seasonality"),
        ("scalingpolicy.spec.forecast.holidays", "an ISO 3166 code such as FR"),
        (
            "scalingpolicy.spec.scaleDown",
            "The floor is not lowered below the highest recommendation of this time. Default: 10m.",
        ),
        ("scalingpolicy.status.takeover", "The target's original minimum."),
        ("businessevent.spec.recurrence", "from the IANA database, such as Europe/Paris"),
        ("scalingdecision.spec", "Recommended floor before limits, in replicas."),
    ],
)
async def test_kubectl_explain_describes_a_field(dry_run: Kubectl, path: str, description: str) -> None:
    assert description in " ".join((await dry_run("explain", path)).split())


async def test_the_examples_apply_as_one_folder(kubectl: Kubectl) -> None:
    shop = Kubectl(kubectl.program, kubectl.kubeconfig, "shop")
    try:
        first = await shop("apply", "--validate=strict", "-f", ROOT / "examples")
        second = await shop("apply", "--validate=strict", "-f", ROOT / "examples")

        assert "scalingpolicy.predictive-scaling.io/checkout created" in first
        assert all(line.endswith(" unchanged") for line in second.splitlines())
        assert {policy["spec"]["mode"] for policy in await shop.items("sp")} == {"Auto", "Recommend"}
        assert {"recurrence" in event["spec"] for event in await shop.items("be")} == {True, False}
    finally:
        await shop("delete", "--ignore-not-found", "-f", ROOT / "examples")


@pytest.mark.usefixtures("keda")
async def test_the_examples_for_keda_apply_as_one_folder(kubectl: Kubectl) -> None:
    shop = Kubectl(kubectl.program, kubectl.kubeconfig, "shop")
    try:
        await shop("apply", "-f", ROOT / "examples" / "00-namespace.yaml")
        await shop("apply", "--validate=strict", "-f", ROOT / "examples" / "keda")
        assert (await shop.get("sp", "emails"))["spec"]["target"] == {"scaledObject": {"name": "emails"}}
    finally:
        await shop("delete", "--ignore-not-found", "-f", ROOT / "examples" / "keda")


async def test_the_examples_for_argo_cd_apply_as_one_folder(kubectl: Kubectl) -> None:
    shop, folder = Kubectl(kubectl.program, kubectl.kubeconfig, "shop"), ROOT / "examples" / "argocd" / "shop"
    try:
        await shop("apply", "-f", ROOT / "examples" / "00-namespace.yaml")
        await shop("apply", "--validate=strict", "-f", folder)
        targets = {name: (await shop.get("sp", name))["spec"]["target"] for name in ("checkout", "legacy")}
        assert targets == {name: {"horizontalPodAutoscaler": {"name": name}} for name in targets}
    finally:
        await shop("delete", "--ignore-not-found", "-f", folder)


def test_the_files_agree_with_the_models() -> None:
    assert crd.differing(ROOT / "crds") == []


def test_the_files_are_small_enough_for_client_side_apply() -> None:
    assert {name for name, text in crd.files().items() if len(text.encode()) > 200_000} == set()
