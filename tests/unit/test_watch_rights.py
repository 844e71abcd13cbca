"""A kind that the operator may not list or watch is not watched, and the missing right is named."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from predictive_scaling.cluster.client import ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.cluster.index_comparison import ALL_KINDS
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.errors import SettingsError, TargetRefusedError
from predictive_scaling.handlers.rights import watchable_kinds
from tests.support.cluster import InMemoryCluster

ALL = {kind.plural for kind in ALL_KINDS}


class RefusingCluster(InMemoryCluster):
    """An API server whose answer to each read of one kind is an error."""

    def __init__(self, plural: str, error: Exception) -> None:
        super().__init__()
        self.plural, self.error = plural, error

    async def get(self, path: str) -> dict[str, Any]:
        if self.plural in path:
            raise self.error
        return await super().get(path)

    async def first_page(self, path: str, *, limit: int, **query: str) -> list[dict[str, Any]]:
        if path.endswith(self.plural):
            raise self.error
        return await super().first_page(path, limit=limit, **query)


def refusing(plural: str) -> RefusingCluster:
    return RefusingCluster(plural, ObjectRefusedError(f'{plural} is forbidden: User "operator" cannot list resource'))


@pytest.mark.parametrize("namespaces", [(), ("shop",)])
@pytest.mark.parametrize(
    ("resource", "event"),
    [
        ("horizontalpodautoscalers.autoscaling", "autoscalers_not_watched"),
        ("deployments.apps", "deployments_not_watched"),
        ("statefulsets.apps", "stateful_sets_not_watched"),
        ("scaledobjects.keda.sh", "scaled_objects_not_watched"),
    ],
)
async def test_targets_that_cannot_be_listed_are_not_watched(
    resource: str, event: str, namespaces: tuple[str, ...]
) -> None:
    plural = resource.partition(".")[0]
    with capture_logs() as entries:
        assert await watchable_kinds(refusing(plural), namespaces) == ALL - {plural}
    (entry,) = entries
    assert entry["event"] == event
    assert f"get, list, watch and patch on {resource}" in entry["remedy"]


@pytest.mark.parametrize(
    ("plural", "verbs"),
    [("scalingpolicies", '"get", "list", "watch", "patch"'), ("businessevents", '"get", "list", "watch"')],
)
async def test_a_missing_right_on_our_own_kinds_names_the_rule(plural: str, verbs: str) -> None:
    rule = rf'"predictive-scaling.io"\], resources \["{plural}"\] and verbs \[{verbs}\] to the ClusterRole'
    with pytest.raises(SettingsError, match=rule):
        await watchable_kinds(refusing(plural), ())


@pytest.mark.parametrize(("namespaces", "where"), [((), "all namespaces"), (("pay", "shop"), "namespace shop")])
@pytest.mark.parametrize("reason", ["RBAC: no rule", ""])
async def test_a_kind_that_can_be_listed_but_not_watched_names_that_right(
    namespaces: tuple[str, ...], where: str, reason: str
) -> None:
    cluster = InMemoryCluster()
    cluster.unwatchable["deployments", namespaces[-1] if namespaces else ""] = reason
    with capture_logs() as entries:
        assert await watchable_kinds(cluster, namespaces) == ALL - {"deployments"}
    (entry,) = entries
    assert entry["event"] == "deployments_not_watched"
    assert f"service account watch on deployments.apps in {where}, and restart" in entry["remedy"]
    assert entry["error"] == (reason or "deployments.apps may be listed, but not watched")


async def test_without_the_right_to_watch_policies_nothing_is_decided() -> None:
    cluster = InMemoryCluster()
    cluster.unwatchable["scalingpolicies", ""] = "RBAC: no rule"
    with pytest.raises(SettingsError, match=r"may not watch scalingpolicies in all namespaces.*RBAC: no rule"):
        await watchable_kinds(cluster, ())


async def test_all_kinds_are_watched_where_rights_cannot_be_reviewed() -> None:
    class Unreviewed(InMemoryCluster):
        async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
            raise ObjectRefusedError(f"POST {path}: forbidden")

    assert await watchable_kinds(Unreviewed(), ()) == ALL


async def test_without_keda_its_objects_are_not_watched() -> None:
    cluster = RefusingCluster("scaledobjects", ObjectNotFoundError("no such API"))
    with capture_logs() as entries:
        assert await watchable_kinds(cluster, ()) == ALL - {"scaledobjects"}
    assert not entries
    assert await watchable_kinds(InMemoryCluster(), ()) == ALL


async def test_a_missing_right_to_read_an_hpa_is_named() -> None:
    cache = InformerCache(refusing("horizontalpodautoscalers"))
    with pytest.raises(TargetRefusedError, match=r"watch and patch on horizontalpodautoscalers\.autoscaling"):
        await cache.autoscaler("shop", "checkout")
