"""The objects that reserve headroom fit where the workload's own pods fit, and do nothing else."""

from typing import Any

import pytest

from predictive_scaling.cluster.workload_record import WorkloadReference
from predictive_scaling.control.actuation.headroom_objects import (
    POLICY_LABEL,
    HeadroomRequest,
    PlaceholderOptions,
    capacity_buffer,
    placeholders,
)
from predictive_scaling.resources.metadata import PolicyKey

OPTIONS = PlaceholderOptions("registry.example/pause:1", "placeholder")
LABELS = {"app": "checkout"}


def a_request(name: str = "checkout", replicas: int = 3) -> HeadroomRequest:
    """Headroom for replicas of deployments/checkout."""
    return HeadroomRequest(
        PolicyKey("shop", name), "uid-1", replicas, WorkloadReference("apps/v1", "Deployment", "checkout"), "r1"
    )


def pod_of(**spec: Any) -> dict[str, Any]:
    """The placeholder pod of a workload whose pods have this spec."""
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "web", "image": "web:1"}], **spec}}
    return placeholders(a_request(), template, OPTIONS)["spec"]["template"]["spec"]


def test_a_placeholder_requests_what_the_containers_and_sidecars_request() -> None:
    requests = {"requests": {"cpu": "2"}, "limits": {"memory": "1Gi"}}
    pod = pod_of(
        containers=[{"name": "web", "image": "web:1", "resources": requests | {"claims": [{"name": "gpu"}]}}],
        initContainers=[
            {"name": "migrate", "image": "web:1", "resources": {"requests": {"cpu": "8"}}},
            {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
        ],
    )
    assert [(container["name"], container["resources"]) for container in pod["containers"]] == [
        ("web", requests),
        ("proxy", {"requests": {"cpu": "1"}}),
    ]
    assert {container["image"] for container in pod["containers"]} == {OPTIONS.image}
    assert pod["priorityClassName"] == OPTIONS.priority_class


def test_a_placeholder_has_no_label_of_the_workload_so_that_no_service_selects_it() -> None:
    body = placeholders(a_request(), {"metadata": {"labels": LABELS}, "spec": {"containers": []}}, OPTIONS)
    labels = body["spec"]["template"]["metadata"]["labels"]
    assert not labels.keys() & LABELS.keys()
    assert labels.items() >= body["spec"]["selector"]["matchLabels"].items()
    assert labels[POLICY_LABEL] == "uid-1"


def test_a_placeholder_goes_where_the_workload_may_go() -> None:
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    pod = pod_of(nodeSelector={"pool": "web"}, tolerations=tolerations, volumes=[{"name": "data"}], nodeName="n1")
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"pool": "web"}, tolerations)
    assert "volumes" not in pod
    assert "nodeName" not in pod


def test_placeholders_keep_apart_as_the_workload_keeps_apart() -> None:
    required, preferred = (f"{word}DuringSchedulingIgnoredDuringExecution" for word in ("required", "preferred"))
    own, other = {"matchLabels": LABELS}, {"matchLabels": {"app": "database"}}
    terms = [{"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"} for selector in (own, other)]
    affinity = {"podAntiAffinity": {required: terms, preferred: [{"weight": 5, "podAffinityTerm": terms[0]}]}}
    rule = {"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    spread = [
        rule | {"topologyKey": key, "labelSelector": selector} for key, selector in (("zone", own), ("rack", other))
    ]
    pod = pod_of(affinity=affinity, topologySpreadConstraints=spread)
    apart = pod["affinity"]["podAntiAffinity"]
    between_placeholders = apart[required][2]["labelSelector"]["matchLabels"]
    assert (apart[required][:2], len(apart[required])) == (terms, 3)
    assert between_placeholders[POLICY_LABEL] == "uid-1"
    assert [term["weight"] for term in apart[preferred]] == [5, 5]
    # The API server refuses two constraints with the same topologyKey and whenUnsatisfiable.
    assert [(term["topologyKey"], term["labelSelector"]) for term in pod["topologySpreadConstraints"]] == [
        ("zone", {"matchLabels": between_placeholders}),
        ("rack", other),
    ]


def test_a_buffer_refers_to_the_workload() -> None:
    spec = capacity_buffer(a_request(), "v1beta1")["spec"]
    assert spec["scalableRef"] == {"apiGroup": "apps", "kind": "Deployment", "name": "checkout"}
    assert spec["replicas"] == 3


def test_names_are_valid_and_differ_for_long_names() -> None:
    names = [a_request("c" * length).name for length in (8, 54, 55, 60, 63)]
    assert all(len(name) <= 63 and name.endswith("headroom") for name in names)
    assert len(set(names)) == len(names)


def test_inputs_differ_for_a_new_release_or_size() -> None:
    digests = {a_request().inputs("image"), a_request(replicas=4).inputs("image"), a_request().inputs("other image")}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("expression", "selects"),
    [
        ({"key": "app", "operator": "In", "values": ["checkout", "search"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["checkout"]}, False),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
        ({"key": "app", "operator": "Unknown"}, False),
        ("no expression", False),
    ],
)
def test_a_rule_between_the_workloads_pods_is_recognized_by_its_expressions(expression: Any, *, selects: bool) -> None:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    term = {"labelSelector": {"matchExpressions": [expression]}, "topologyKey": "kubernetes.io/hostname"}
    pod = pod_of(affinity={"podAntiAffinity": {required: [term]}})
    assert len(pod["affinity"]["podAntiAffinity"][required]) == (2 if selects else 1)
