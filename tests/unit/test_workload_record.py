"""Records of workloads: custom resources may have any content where Deployments are checked by the API server."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.cluster.workload_record import WorkloadRecord

METADATA: dict[str, Any] = {"name": "web", "namespace": "shop", "uid": "1", "resourceVersion": "1"}


def selector_of(selector: Any) -> str | None:
    return WorkloadRecord.parse({"metadata": METADATA, "spec": {"replicas": 2, "selector": selector}}).selector


def an_expression(key: Any, operator: Any, values: Any) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}


@pytest.mark.parametrize(
    ("selector", "query"),
    [
        ({"matchLabels": {"app": "web", "shop.example/tier": ""}}, "app=web,shop.example/tier="),
        (an_expression("app", "In", ["web", "api"]), "app in (web,api)"),
        (an_expression("app", "NotIn", ["web"]), "app notin (web)"),
        (an_expression("app", "Exists", None), "app"),
        (an_expression("app", "DoesNotExist", []), "!app"),
        ({"matchLabels": {"app": "web"}} | an_expression("tier", "Exists", None), "app=web,tier"),
    ],
)
def test_a_label_selector_is_a_query(selector: Any, query: str) -> None:
    assert selector_of(selector) == query


@pytest.mark.parametrize(
    "selector",
    [
        None,
        "app=web",
        {},
        {"matchLabels": {"app": 5}},
        {"matchLabels": {"app": None}},
        {"matchLabels": {5: "web"}},
        {"matchLabels": {"app": "web,tier=api"}},
        {"matchLabels": ["app"]},
        {"matchLabels": {"app": "web"}, "matchExpressions": 5},
        {"matchLabels": {"app": "web"}, "matchExpressions": ["app"]},
        an_expression("app", "In", 5),
        an_expression("app", "In", "web"),
        an_expression("app", "In", [5]),
        an_expression("app", "In", []),
        an_expression("app", "Like", ["web"]),
        an_expression(["app"], ["In"], ["web"]),
    ],
)
def test_a_selector_that_is_invalid_in_any_part_selects_nothing(selector: Any) -> None:
    """Without the invalid part it would select pods of other workloads."""
    assert selector_of(selector) is None


keys = st.sampled_from(["matchLabels", "matchExpressions", "key", "operator", "values", "In", "app"])
junk: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | keys | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(keys, children, max_size=3),
    max_leaves=8,
)


@given(junk)
def test_any_selector_is_read(selector: Any) -> None:
    assert selector_of(selector) != ""
