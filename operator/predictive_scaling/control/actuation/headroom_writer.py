"""Reads and writes the objects that reserve headroom."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from predictive_scaling.cluster.api_discovery import ApiDiscovery
from predictive_scaling.cluster.client import (
    Cluster,
    Json,
    ObjectConflictError,
    ObjectNotFoundError,
    ObjectRefusedError,
)
from predictive_scaling.control.actuation.headroom_objects import (
    BUFFER_GROUP,
    INPUTS_ANNOTATION,
    POLICY_LABEL,
    SELECTOR,
    HeadroomRequest,
    PlaceholderOptions,
    capacity_buffer,
    headroom_name,
    placeholders,
)
from predictive_scaling.errors import (
    PredictiveScalingError,
    RequestFailedError,
    RequestTimedOutError,
    TargetNotFoundError,
)
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import NodeHeadroomStatus
from predictive_scaling.resources.vocabulary import HeadroomMethod

log = structlog.get_logger(__name__)

_DEPLOYMENTS: Final = "/apis/apps/v1/{}deployments"
_BUFFERS: Final = f"/apis/{BUFFER_GROUP}/{{version}}/{{}}capacitybuffers"
_COUNTED = ("pods", "cpu", "memory", "requests.", "limits.")
"""What placeholder pods use of a ResourceQuota: the replicas that are to replace them would be refused."""
_FAILURES = frozenset({("ReplicaFailure", "True"), ("ReadyForProvisioning", "False")})
"""Types and statuses of the conditions that say why headroom does not exist."""


class HeadroomRefusedError(PredictiveScalingError):
    """Headroom cannot be reserved; the message says why and what to do."""

    reason = "HeadroomRefused"


@dataclass(frozen=True, slots=True)
class HeadroomObject:
    """A CapacityBuffer or a Deployment of placeholders, as the API server returned it."""

    path: str
    method: HeadroomMethod
    body: Json

    @property
    def replicas(self) -> int:
        """The number of replicas that it reserves capacity for."""
        return int((self.body.get("spec") or {}).get("replicas") or 0)

    @property
    def inputs(self) -> str:
        """The digest of what it was made from; empty if it has none."""
        return str((self.body["metadata"].get("annotations") or {}).get(INPUTS_ANNOTATION, ""))

    @property
    def policy_uid(self) -> str:
        """The uid of its policy; empty if it names none: then it is not ours."""
        return str((self.body["metadata"].get("labels") or {}).get(POLICY_LABEL, ""))

    def status(self, replicas: int) -> NodeHeadroomStatus:
        """Return the status of a policy that needs headroom for this number of replicas."""
        status = self.body.get("status") or {}
        ready = status.get("readyReplicas" if self.method is HeadroomMethod.PLACEHOLDERS else "replicas")
        messages = (
            str(condition.get("message") or condition.get("reason") or "")
            for condition in status.get("conditions") or ()
            if (condition.get("type"), condition.get("status")) in _FAILURES
        )
        return NodeHeadroomStatus(
            replicas=replicas, method=self.method, ready=int(ready or 0), message=next(messages, None)
        )


@dataclass(frozen=True, slots=True)
class HeadroomSnapshot:
    """What exists at the start of a pass."""

    buffer_version: str | None
    """The version of the CapacityBuffer API; None if the API server does not serve it."""
    objects: Mapping[str, HeadroomObject]
    """All of them, by path."""
    refused: Mapping[HeadroomMethod, str] = field(default_factory=dict[HeadroomMethod, str])
    """Why objects of a method could not be listed: a missing right, with the remedy. They are not written either."""
    _by_policy: dict[str, dict[str, HeadroomObject]] = field(
        init=False, default_factory=dict[str, dict[str, HeadroomObject]]
    )

    def __post_init__(self) -> None:
        for path, existing in self.objects.items():
            self._by_policy.setdefault(existing.policy_uid, {})[path] = existing

    def of(self, policy_uid: str) -> Mapping[str, HeadroomObject]:
        """Return the objects of one policy, by path."""
        return self._by_policy.get(policy_uid, {})


@dataclass(slots=True)
class HeadroomWriter:
    """The objects of all policies. All methods raise ClusterUnavailableError."""

    cluster: Cluster
    options: PlaceholderOptions
    namespaces: tuple[str, ...] = ()
    """What is watched; none means all."""
    _discovery: ApiDiscovery = field(init=False)

    def __post_init__(self) -> None:
        self._discovery = ApiDiscovery(self.cluster)

    async def read(self) -> HeadroomSnapshot:
        """Return what exists."""
        refused: dict[HeadroomMethod, str] = {}
        version = await self._buffer_version(refused)
        collections = [(_DEPLOYMENTS, HeadroomMethod.PLACEHOLDERS)]
        if version is not None:
            collections.append((_BUFFERS.replace("{version}", version), HeadroomMethod.CAPACITY_BUFFER))
        scopes = [f"namespaces/{namespace}/" for namespace in self.namespaces] or [""]
        objects: dict[str, HeadroomObject] = {}
        for collection, method in collections:
            for scope in scopes:
                for body in await self._list(collection.format(scope), method, refused):
                    metadata = body["metadata"]
                    namespaced = collection.format(f"namespaces/{metadata['namespace']}/")
                    path = f"{namespaced}/{metadata['name']}"
                    existing = HeadroomObject(path, method, body)
                    if existing.policy_uid:
                        objects[path] = existing
        return HeadroomSnapshot(version, objects, refused)

    async def ensure(
        self, request: HeadroomRequest, requested: HeadroomMethod, snapshot: HeadroomSnapshot
    ) -> HeadroomObject:
        """Create or change the object of a request, if it differs, and return it.

        Raises HeadroomRefusedError, ObjectRefusedError, TargetNotFoundError or TargetUnsupportedError with what to do.
        """
        if requested is not HeadroomMethod.PLACEHOLDERS and HeadroomMethod.CAPACITY_BUFFER in snapshot.refused:
            # Auto does not change to placeholders: the capacity would be reserved twice.
            raise HeadroomRefusedError(snapshot.refused[HeadroomMethod.CAPACITY_BUFFER])
        version = _buffer_version_for(requested, snapshot.buffer_version)
        namespace = f"namespaces/{request.policy.namespace}/"
        if version is None:
            method, collection = HeadroomMethod.PLACEHOLDERS, _DEPLOYMENTS.format(namespace)
            inputs = request.inputs(self.options.image, self.options.priority_class)
        else:
            method = HeadroomMethod.CAPACITY_BUFFER
            collection = _BUFFERS.replace("{version}", version).format(namespace)
            inputs = request.inputs(version)
        if method in snapshot.refused:
            raise HeadroomRefusedError(snapshot.refused[method])
        path = f"{collection}/{request.name}"
        existing = snapshot.objects.get(path)
        if existing is not None and (existing.inputs, existing.replicas) == (inputs, request.replicas):
            return existing
        grows = existing is None or request.replicas > existing.replicas
        body = await self._placeholders(request, grows=grows) if version is None else capacity_buffer(request, version)
        log.info("node_headroom_set", policy=str(request.policy), replicas=request.replicas, method=method.value)
        if existing is not None:
            return HeadroomObject(path, method, await self.cluster.apply(path, body, force=True))
        try:
            return HeadroomObject(path, method, await self.cluster.create(collection, body))
        except ObjectConflictError:
            raise HeadroomRefusedError(
                f"{body['kind']} {request.name} exists and was not created for this policy; rename or delete it"
            ) from None

    async def release_placeholders(self, policy: PolicyKey, policy_uid: str, replicas: int) -> None:
        """Delete placeholders of a policy, whose capacity as many new replicas are about to take. Never raises.

        The scheduler then evicts none of them. Where it evicts a placeholder that its Deployment deletes at the same
        time, the replica can wait five minutes for the next attempt (kubernetes/kubernetes#141694).
        """
        path = f"{_DEPLOYMENTS.format(f'namespaces/{policy.namespace}/')}/{headroom_name(policy.name)}"
        try:
            existing = HeadroomObject(path, HeadroomMethod.PLACEHOLDERS, await self.cluster.get(path))
            if existing.policy_uid == policy_uid and existing.replicas and replicas > 0:
                await self.cluster.merge(path, {"spec": {"replicas": max(0, existing.replicas - replicas)}})
        except ObjectNotFoundError:
            pass
        except PredictiveScalingError as error:
            log.warning("placeholders_not_released", policy=str(policy), error=str(error))

    async def delete(self, path: str) -> None:
        """Delete an object; a refusal is logged, and the deletion repeated in the next pass."""
        try:
            await self.cluster.delete(path)
            log.info("node_headroom_removed", path=path)
        except ObjectNotFoundError:
            pass
        except (ObjectRefusedError, RequestFailedError, RequestTimedOutError) as error:
            log.warning("node_headroom_not_removed", path=path, error=str(error))

    async def _placeholders(self, request: HeadroomRequest, *, grows: bool) -> Json:
        if request.replicas and grows:
            await self._check_quotas(request.policy.namespace)
        return placeholders(request, await self._template(request), self.options)

    async def _template(self, request: HeadroomRequest) -> Json:
        reference, namespace = request.workload, request.policy.namespace
        resource = await self._discovery.resource(reference.api_version, reference.kind)
        try:
            body = await self.cluster.get(resource.path(namespace, reference.name))
        except ObjectNotFoundError:
            raise TargetNotFoundError(f"{reference.kind} {reference.name} not found in namespace {namespace}") from None
        template = (body.get("spec") or {}).get("template")
        if not isinstance(template, dict):
            raise HeadroomRefusedError(
                f"{reference.kind} {reference.name} has no spec.template to make placeholder pods from; install the "
                "CapacityBuffer API, or remove nodeHeadroom from the policy"
            )
        return template

    async def _check_quotas(self, namespace: str) -> None:
        """Raise HeadroomRefusedError if a ResourceQuota counts placeholders: they would use what replicas need."""
        path = f"/api/v1/namespaces/{namespace}/resourcequotas"
        try:
            quotas = await self.cluster.items(path)
        except ObjectRefusedError as error:
            raise HeadroomRefusedError(
                f"grant the operator's service account list on resourcequotas: {error}"
            ) from error
        for quota in quotas:
            spec = quota.get("spec") or {}
            counted = [name for name in spec.get("hard") or {} if name.startswith(_COUNTED)]
            if counted and not spec.get("scopeSelector") and not spec.get("scopes"):
                name = quota["metadata"]["name"]
                raise HeadroomRefusedError(
                    f"ResourceQuota {name} counts {', '.join(sorted(counted))}, so placeholder pods would use what the "
                    "replicas need; limit the quota to priority classes with scopeSelector, or install the "
                    "CapacityBuffer API"
                )

    async def _buffer_version(self, refused: dict[HeadroomMethod, str]) -> str | None:
        """The version of the CapacityBuffer API to use; None if the cluster does not serve it, or it is unknown."""
        try:
            group = await self.cluster.get(f"/apis/{BUFFER_GROUP}")
        except ObjectNotFoundError:
            return None
        except (ObjectRefusedError, RequestFailedError, RequestTimedOutError) as error:
            refused[HeadroomMethod.CAPACITY_BUFFER] = f"whether CapacityBuffers are served is unknown: {error}"
            return None
        return str((group.get("preferredVersion") or {}).get("version") or "") or None

    async def _list(self, path: str, method: HeadroomMethod, refused: dict[HeadroomMethod, str]) -> list[Json]:
        try:
            return await self.cluster.items(path, labelSelector=SELECTOR)
        except ObjectNotFoundError:  # the group serves other kinds only
            return []
        except ObjectRefusedError as error:
            if method is HeadroomMethod.PLACEHOLDERS:
                grant = "get, list, create, patch and delete on deployments"
            else:
                grant = f"list, create, patch and delete on capacitybuffers.{BUFFER_GROUP}"
            refused[method] = f"grant the operator's service account {grant}: {error}"
            return []


def _buffer_version_for(requested: HeadroomMethod, served: str | None) -> str | None:
    """The version of the CapacityBuffer API to use; None for placeholders.

    Raises HeadroomRefusedError if the policy requests the API and the cluster does not have it.
    """
    if requested is HeadroomMethod.PLACEHOLDERS:
        return None
    if requested is HeadroomMethod.CAPACITY_BUFFER and served is None:
        raise HeadroomRefusedError(
            f"the API server does not serve CapacityBuffers ({BUFFER_GROUP}); install a node autoscaler that does, or "
            "set spec.nodeHeadroom.method to Placeholders"
        )
    return served
