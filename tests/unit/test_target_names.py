"""The target that a status names is found again, also for a policy that names another one by now."""

import pytest

from predictive_scaling.resources.target import NamedTarget, TargetSpec, WorkloadTarget
from predictive_scaling.targets.registry import target_named


@pytest.mark.parametrize(
    ("api_version", "kind", "text"),
    [
        ("apps/v1", "Deployment", "deployment/checkout"),
        ("apps/v1", "StatefulSet", "statefulset/checkout"),
        ("v1", "ReplicationController", "replicationcontroller.v1/checkout"),
        ("argoproj.io/v1alpha1", "Rollout", "rollout.v1alpha1.argoproj.io/checkout"),
        ("agones.dev/v1", "Fleet", "fleet.v1.agones.dev/checkout"),
    ],
)
def test_a_workload_is_found_by_its_text(api_version: str, kind: str, text: str) -> None:
    spec = TargetSpec(workload=WorkloadTarget(api_version=api_version, kind=kind, name="checkout"))
    assert str(spec) == text
    named = target_named(text)
    assert named is not None
    assert named.workload is not None
    # The text has no upper case; kinds are compared without case.
    assert (named.workload.api_version, named.workload.kind.lower()) == (api_version, kind.lower())
    assert str(named) == text


def test_an_hpa_is_found_by_its_text() -> None:
    assert target_named("hpa/checkout") == TargetSpec(horizontal_pod_autoscaler=NamedTarget(name="checkout"))


@pytest.mark.parametrize("text", ["", "hpa", "hpa/", "deployment/", "deployment/Not valid", "rollout./x", "cronjob/x"])
def test_another_text_names_no_target(text: str) -> None:
    assert target_named(text) is None
