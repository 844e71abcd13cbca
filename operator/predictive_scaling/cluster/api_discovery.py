"""The resources that the API server offers: plural, scale subresource, and the field that holds the replicas."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakValueDictionary

from predictive_scaling.clock import monotonic
from predictive_scaling.cluster.client import Cluster, Json, ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.cluster.field_ownership import REPLICAS
from predictive_scaling.cluster.object_fields import FieldPath
from predictive_scaling.errors import (
    ClusterUnavailableError,
    ExtensionUnavailableError,
    TargetRefusedError,
    TargetUnsupportedError,
)

EXPIRY_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 30.0
"""A kind that was missing, or whose API did not respond, is looked up again after this time."""
MAX_KINDS: Final = 512
_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass(frozen=True, slots=True)
class ScalableResource:
    """A namespaced resource with a scale subresource."""

    api_version: str
    kind: str
    plural: str
    replicas: FieldPath = REPLICAS
    """Path of the field that /scale writes, within the object."""

    def path(self, namespace: str, name: str) -> str:
        """Return the URL path of an object."""
        return f"{_root(self.api_version)}/namespaces/{namespace}/{self.plural}/{name}"


@dataclass(slots=True)
class _Lookup:
    """Result of a lookup, and the monotonic second until which it is valid."""

    until: float
    result: ScalableResource | TargetUnsupportedError | TargetRefusedError | ExtensionUnavailableError


@dataclass(slots=True)
class ApiDiscovery:
    """Finds resources by API version and kind; results are cached, and concurrent lookups share one request."""

    cluster: Cluster
    _lookups: dict[tuple[str, str], _Lookup] = field(default_factory=dict[tuple[str, str], _Lookup])
    _locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(
        default_factory=WeakValueDictionary[tuple[str, str], asyncio.Lock]
    )
    """Locks of the lookups that run: an API that hangs delays no lookup of another kind."""

    async def resource(self, api_version: str, kind: str) -> ScalableResource:
        """Return the resource of a kind; upper and lower case in `kind` do not matter.

        Raises TargetUnsupportedError if the API server does not have the kind, or if it has no scale subresource;
        TargetRefusedError if the operator may not read the API's resources; ClusterUnavailableError, of which
        ExtensionUnavailableError is kept like a result: the policies that name a dead API share its requests.
        """
        key = (api_version, kind.lower())
        lookup = self._valid(key)
        if lookup is None:
            lock = self._locks.setdefault(key, asyncio.Lock())
            async with lock:
                lookup = self._valid(key) or await self._look_up(api_version, kind)
                self._keep(key, lookup)
        if isinstance(lookup.result, ScalableResource):
            return lookup.result
        # A new error each time: a raised exception keeps its traceback.
        raise type(lookup.result)(str(lookup.result))

    def _valid(self, key: tuple[str, str]) -> _Lookup | None:
        lookup = self._lookups.get(key)
        return lookup if lookup is not None and monotonic() < lookup.until else None

    def _keep(self, key: tuple[str, str], lookup: _Lookup) -> None:
        self._lookups.pop(key, None)
        if len(self._lookups) >= MAX_KINDS:
            del self._lookups[next(iter(self._lookups))]
        self._lookups[key] = lookup

    async def _look_up(self, api_version: str, kind: str) -> _Lookup:
        try:
            return _Lookup(monotonic() + EXPIRY_SECONDS, await self._find(api_version, kind))
        except (TargetUnsupportedError, TargetRefusedError) as error:
            return _Lookup(monotonic() + RETRY_SECONDS, error)
        except ClusterUnavailableError as error:
            expired = self._lookups.get((api_version, kind.lower()))
            if expired is not None and isinstance(expired.result, ScalableResource):
                return _Lookup(monotonic() + RETRY_SECONDS, expired.result)
            if isinstance(error, ExtensionUnavailableError):
                return _Lookup(monotonic() + RETRY_SECONDS, error)
            raise

    async def _find(self, api_version: str, kind: str) -> ScalableResource:
        resources = await self._resources(api_version, kind)
        names = {resource["name"]: resource for resource in resources}
        found = next(
            (
                resource
                for name, resource in names.items()
                if "/" not in name and str(resource.get("kind")).lower() == kind.lower()
            ),
            None,
        )
        if found is None:
            raise TargetUnsupportedError(
                f"the API server has no kind {kind} in {api_version}; correct apiVersion and kind of "
                "spec.target.workload, or install the CustomResourceDefinition of the kind"
            )
        plural = found["name"]
        if f"{plural}/scale" not in names or not found.get("namespaced", True):
            raise TargetUnsupportedError(
                f"{plural} of {api_version} have no scale subresource; use a kind that has one, such as a Deployment, "
                "or declare subresources.scale in its CustomResourceDefinition"
            )
        return ScalableResource(api_version, found["kind"], plural, await self._replicas(api_version, plural))

    async def _resources(self, api_version: str, kind: str) -> list[Json]:
        try:
            listed = await self.cluster.get(_root(api_version))
        except ObjectNotFoundError as error:
            raise TargetUnsupportedError(
                f"the API server has no API {api_version}, so no kind {kind}; correct apiVersion of "
                "spec.target.workload, or install the CustomResourceDefinition of the kind"
            ) from error
        except ObjectRefusedError as error:
            raise TargetRefusedError(
                f"the operator may not list the resources of {api_version}; bind its service account to the "
                f"ClusterRole system:discovery. The API server's message: {error}"
            ) from error
        return [resource for resource in listed.get("resources") or () if isinstance(resource.get("name"), str)]

    async def _replicas(self, api_version: str, plural: str) -> FieldPath:
        """The field that /scale writes: spec.replicas unless a CustomResourceDefinition states another one."""
        group, _, version = api_version.rpartition("/")
        if "." not in group or group.endswith(".k8s.io"):
            return REPLICAS
        try:
            definition = await self.cluster.get(f"{_CRDS}/{plural}.{group}")
        except (ObjectNotFoundError, ObjectRefusedError):
            # An aggregated API, or a definition that the operator may not read.
            return REPLICAS
        return _path_of(definition, version) or REPLICAS


def _path_of(definition: Mapping[str, Any], version: str) -> FieldPath | None:
    """The specReplicasPath of a version, such as .spec.replicas; None if it has none."""
    for candidate in definition.get("spec", {}).get("versions") or ():
        if candidate.get("name") == version:
            scale = (candidate.get("subresources") or {}).get("scale") or {}
            return tuple(str(scale.get("specReplicasPath", "")).strip(".").split(".")) if scale else None
    return None


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
