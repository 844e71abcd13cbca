"""Finds the kinds that the operator may list and watch, before kopf watches them.

A watch of kopf that may not list its objects ends, and then kopf delays the changes of all other kinds indefinitely. A
watch that may list but not watch them fails again and again, and changes come only from the comparison with the API
server.
"""

import json

import structlog

from predictive_scaling.cluster.client import Cluster, Json, ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.cluster.index_comparison import ALL_KINDS, EVENTS, POLICIES, WatchedKind
from predictive_scaling.errors import SettingsError

log = structlog.get_logger(__name__)

_EVENT_NAMES = {
    "horizontalpodautoscalers": "autoscalers_not_watched",
    "deployments": "deployments_not_watched",
    "statefulsets": "stateful_sets_not_watched",
    "scaledobjects": "scaled_objects_not_watched",
}
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def watchable_kinds(cluster: Cluster, namespaces: tuple[str, ...]) -> frozenset[str]:
    """Return the plural names of the kinds to watch; log the missing right and the remedy of each other kind.

    Raises SettingsError if policies or events may not be listed and watched, without which the operator cannot decide
    anything, and ClusterUnavailableError.
    """
    return frozenset({kind.plural for kind in ALL_KINDS if await _is_watchable(cluster, kind, namespaces)})


async def _is_watchable(cluster: Cluster, kind: WatchedKind, namespaces: tuple[str, ...]) -> bool:
    for namespace in namespaces or (None,):
        try:
            await cluster.first_page(kind.collection(namespace), limit=1)
        except ObjectNotFoundError:
            return not kind.is_optional
        except ObjectRefusedError as error:
            _report_refusal(kind, "list", namespace, str(error))
            return False
        refusal = await _refusal_of_watch(cluster, kind, namespace)
        if refusal is not None:
            _report_refusal(kind, "watch", namespace, refusal)
            return False
    return True


async def _refusal_of_watch(cluster: Cluster, kind: WatchedKind, namespace: str | None) -> str | None:
    """Return the API server's message about a missing right to watch; None if it is granted, or cannot be asked for."""
    attributes = {"verb": "watch", "group": _group(kind), "resource": kind.plural, "namespace": namespace or ""}
    review: Json = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    try:
        status = (await cluster.create(_REVIEWS, review)).get("status") or {}
    except (ObjectNotFoundError, ObjectRefusedError) as error:
        # All authenticated users may ask, unless system:basic-user was changed.
        log.info("watch_right_unknown", kind=kind.plural, error=str(error))
        return None
    if status.get("allowed"):
        return None
    return status.get("reason") or f"{kind.plural}.{_group(kind)} may be listed, but not watched"


def _report_refusal(kind: WatchedKind, verb: str, namespace: str | None, message: str) -> None:
    """Log the right to grant. Raises SettingsError for policies and events."""
    where = f"namespace {namespace}" if namespace else "all namespaces"
    if kind in (POLICIES, EVENTS):
        rule = ["get", "list", "watch"] if kind is EVENTS else ["get", "list", "watch", "patch"]
        raise SettingsError(
            f"The operator may not {verb} {kind.plural} in {where}, and decides nothing without them; add a rule "
            f'with apiGroups ["{_group(kind)}"], resources ["{kind.plural}"] and verbs {json.dumps(rule)} to the '
            f"ClusterRole (or Role) of its service account. The API server's message: {message}"
        )
    rights = "watch" if verb == "watch" else "get, list, watch and patch"
    remedy = (
        f"grant the operator's service account {rights} on {kind.plural}.{_group(kind)} in {where}, and restart the "
        "operator"
    )
    log.warning(_EVENT_NAMES[kind.plural], remedy=remedy, error=message)


def _group(kind: WatchedKind) -> str:
    return kind.api.split("/")[2]
