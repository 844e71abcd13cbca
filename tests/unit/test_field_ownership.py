"""The owner of spec.minReplicas, from managed fields that an API server recorded for user actions."""

import json
from typing import Any

import pytest

from predictive_scaling.cluster.field_ownership import MINIMUM_FROM_POLICY, FieldOwnership, field_ownership

NOON = "2026-06-17T12:00:00Z"
LATER = "2026-06-17T12:05:00Z"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def an_entry(manager: str, time: str = NOON, *, minimum: bool = True, last_applied: bool = False) -> dict[str, Any]:
    annotations = {"f:metadata": {"f:annotations": {f"f:{LAST_APPLIED}": {}}}} if last_applied else {}
    spec = {"f:spec": {"f:minReplicas": {}} if minimum else {"f:maxReplicas": {}}}
    return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": spec | annotations}


def an_hpa(minimum: int | None, *entries: dict[str, Any], last_applied: dict[str, Any] | None = None) -> dict[str, Any]:
    annotations = {} if last_applied is None else {LAST_APPLIED: json.dumps({"spec": last_applied})}
    spec = {} if minimum is None else {"minReplicas": minimum}
    return {"metadata": {"managedFields": list(entries), "annotations": annotations}, "spec": spec}


KUBECTL = an_entry("kubectl-client-side-apply", LATER, last_applied=True)


def test_a_manifest_without_the_field_releases_it() -> None:
    ownership = field_ownership(an_hpa(1, KUBECTL, last_applied={"maxReplicas": 40}))
    assert (ownership.managers, ownership.is_given_up) == ((), True)
    assert ownership.foreign_write == f"kubectl-client-side-apply at {LATER} with 1"


def test_a_manifest_with_one_replica_owns_the_field() -> None:
    ownership = field_ownership(an_hpa(1, KUBECTL, last_applied={"minReplicas": 1}))
    assert (ownership.managers, ownership.is_given_up) == (("kubectl-client-side-apply",), False)


def test_argo_cd_releases_the_field_like_kubectl() -> None:
    entry = an_entry("argocd-controller", last_applied=True)
    assert field_ownership(an_hpa(1, entry, last_applied={"maxReplicas": 40})).is_given_up


@pytest.mark.parametrize("manager", ["kubectl-patch", "kubectl-edit", "helm"])
def test_one_replica_of_a_writer_without_a_last_applied_manifest_is_owned(manager: str) -> None:
    entries = (an_entry("kubectl-client-side-apply", minimum=False, last_applied=True), an_entry(manager, LATER))
    ownership = field_ownership(an_hpa(1, *entries, last_applied={"maxReplicas": 40}))
    assert (ownership.managers, ownership.is_given_up) == ((manager,), False)


@pytest.mark.parametrize(
    ("annotation", "minimum", "is_given_up"),
    [("true", 1, True), ("false", 1, False), ("", 1, False), ("true", 2, False)],
)
def test_one_replica_is_not_owned_where_an_annotation_leaves_the_minimum_to_the_policy(
    annotation: str, minimum: int, is_given_up: bool
) -> None:
    body = an_hpa(minimum, an_entry("helm", LATER))
    body["metadata"]["annotations"][MINIMUM_FROM_POLICY] = annotation
    ownership = field_ownership(body)
    assert (ownership.managers, ownership.is_given_up) == (() if is_given_up else ("helm",), is_given_up)


def test_the_annotation_leaves_our_own_minimum_of_one_to_us() -> None:
    body = an_hpa(1, an_entry("predictive-scaling", LATER))
    body["metadata"]["annotations"][MINIMUM_FROM_POLICY] = "true"
    assert field_ownership(body).managers == ("predictive-scaling",)


def test_a_value_other_than_the_default_is_owned() -> None:
    ownership = field_ownership(an_hpa(2, KUBECTL, last_applied={"maxReplicas": 40}))
    assert ownership.managers == ("kubectl-client-side-apply",)


def test_an_unowned_field_with_the_default_value_is_released() -> None:
    # The only owner applied, on the server side, a manifest without the field.
    assert field_ownership(an_hpa(1, an_entry("kubectl", minimum=False))) == FieldOwnership((), None, True)
    assert field_ownership(an_hpa(None)) == FieldOwnership((), None, True)


def test_each_foreign_write_is_identified_by_its_time() -> None:
    ours = an_entry("predictive-scaling", LATER)
    first = field_ownership(an_hpa(3, ours, an_entry("helm", NOON)))
    later = field_ownership(an_hpa(3, ours, an_entry("helm", LATER)))
    assert first.managers == ("predictive-scaling", "helm")
    assert first.foreign_write != later.foreign_write
    assert field_ownership(an_hpa(9, ours)).foreign_write is None


@pytest.mark.parametrize(
    "entries",
    [
        None,
        {},
        "x",
        [None],
        [{}],
        [{"fieldsV1": None}],
        [{"fieldsV1": {"f:spec": {"f:minReplicas": {}}}, "time": "soon"}],
    ],
)
def test_malformed_managed_fields_do_not_raise(entries: Any) -> None:
    for last_applied in ("{", "[]", "3", '{"spec": null}', None):
        metadata = {"managedFields": entries, "annotations": {LAST_APPLIED: last_applied}}
        field_ownership({"metadata": metadata, "spec": {"minReplicas": 1}})
