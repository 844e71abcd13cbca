"""Writes the replicas of a workload without an HPA by server-side apply on its scale subresource, and nothing else.

Works for every kind with /scale: Deployments, StatefulSets, and custom resources such as Argo's Rollout.
"""

import asyncio
from dataclasses import replace
from typing import Protocol

from predictive_scaling.cluster.api_discovery import ApiDiscovery, ScalableResource
from predictive_scaling.cluster.client import (
    FIELD_MANAGER,
    Cluster,
    Json,
    ObjectConflictError,
    ObjectNotFoundError,
    ObjectRefusedError,
)
from predictive_scaling.cluster.field_ownership import REPLICAS
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import HorizontalPodAutoscalerRecord, parse, path_of
from predictive_scaling.cluster.object_fields import value_at
from predictive_scaling.cluster.pod_record import parse_pod
from predictive_scaling.cluster.workload_record import WorkloadRecord, WorkloadReference
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.errors import (
    RequestFailedError,
    TargetConflictError,
    TargetNotFoundError,
    TargetRefusedError,
)
from predictive_scaling.resources.target import WorkloadTarget
from predictive_scaling.targets.field_release import release_field
from predictive_scaling.targets.port import Applied, Progress
from predictive_scaling.targets.records import other_manager, replica_source

_ATTEMPTS = 6
_PAUSE_SECONDS = 0.05
"""Before the second attempt, doubled for each further one: the status of a workload changes often while it scales."""


class WorkloadRecords(Protocol):
    """The newest records of workloads: from the watch, or from our own writes."""

    def watched_workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        """Return the newest watched record; None if the kind is not watched or the watch has no such object."""
        ...

    def remember_workload(self, namespace: str, reference: WorkloadReference, record: WorkloadRecord) -> None:
        """Keep the response of our own write until the watch has delivered it."""
        ...

    async def autoscaler_of(self, namespace: str, reference: WorkloadReference) -> HorizontalPodAutoscalerRecord | None:
        """Return an HPA that scales a workload; None if there is none."""
        ...


class Workload:
    """A workload as a target."""

    def __init__(
        self,
        cluster: Cluster,
        discovery: ApiDiscovery,
        records: WorkloadRecords,
        namespace: str,
        target: WorkloadTarget,
    ) -> None:
        self._cluster = cluster
        self._discovery = discovery
        self._records = records
        self._namespace = namespace
        self._reference = WorkloadReference(target.api_version, target.kind, target.name)
        self._observed: WorkloadRecord | None = None

    async def observe(self) -> Observed:
        record = self._observed = await self._record(counted=True)
        autoscaler = await self._records.autoscaler_of(self._namespace, self._reference)
        return Observed(
            uid=record.uid,
            minimum=record.desired,
            maximum=None,
            current_replicas=record.desired,
            ready_replicas=record.ready,
            target_utilization=None,
            utilization=None,
            # A zero that the operator wrote is not a person's.
            scaled_to_zero=record.desired == 0 and FIELD_MANAGER not in record.managers,
            owner=None if autoscaler is None else autoscaler.owner or f"HorizontalPodAutoscaler/{autoscaler.name}",
            floor_managers=record.managers,
            foreign_write=record.foreign_write,
            floor_given_up=record.given_up,
            floor_field="replicas",
            template=record.template,
            is_scaled_directly=True,
        )

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        before = await self._record()
        seen = self._observed or before
        if seen.uid != before.uid:
            name = f"{self._reference.kind} {self._namespace}/{self._reference.name}"
            raise TargetNotFoundError(f"{name} was deleted and created again; the new object is observed next")
        if take and seen.foreign_write != before.foreign_write:
            raise TargetConflictError(
                f"{'.'.join(REPLICAS)} was changed since it was observed, by {before.foreign_write}"
            )
        if take:
            await self._check_autoscalers()
        after = await self._write(before, floor, force=take or before.given_up)
        return Applied(after.desired, changed=(after.desired, after.managers) != (before.desired, before.managers))

    async def _check_autoscalers(self) -> None:
        """Raise TargetConflictError if an HPA scales the workload: the watch may not have shown a new one yet."""
        try:
            bodies = await self._cluster.items(path_of(self._namespace, "").rstrip("/"))
        except ObjectRefusedError as error:
            raise TargetRefusedError(
                f"the operator may not list the HPAs of {self._namespace}, one of which may scale "
                f"{self._reference.kind} {self._reference.name}; grant its service account list on "
                f"horizontalpodautoscalers. The API server's message: {error}"
            ) from error
        scaling = next((record.name for record in map(parse, bodies) if record.scales(self._reference)), None)
        if scaling is not None:
            raise TargetConflictError(
                f"HorizontalPodAutoscaler {scaling} scales it already; use target.horizontalPodAutoscaler {scaling}, "
                "or delete that HPA"
            )

    async def restore(self, floor: int) -> None:
        record = await self._record()
        if FIELD_MANAGER not in record.managers:
            return
        if record.desired != floor:
            await self._write(record, floor, force=False)
        resource = await self._resource()
        path = resource.path(self._namespace, self._reference.name)
        try:
            self._remember(WorkloadRecord.parse(await release_field(self._cluster, path), resource.replicas))
        except ObjectNotFoundError as error:
            raise self._not_found(resource) from error

    async def progress(self) -> Progress:
        """Return how far the workload has followed; the API server records no time for writes through /scale."""
        record = await self._record(counted=True)
        return Progress(
            floor=record.desired,
            desired_replicas=record.desired,
            replicas=record.existing,
            ready_replicas=record.ready,
            failure=record.failure,
            floor_manager=other_manager(record.managers),
            source=replica_source(self._namespace, record),
        )

    async def _write(self, record: WorkloadRecord, replicas: int, *, force: bool) -> WorkloadRecord:
        """Apply the replicas. A forced write fails if the field was written again since the record."""
        resource = await self._resource()
        path = f"{resource.path(self._namespace, self._reference.name)}/scale"
        is_versioned = force or not self._can_apply
        for attempt in range(_ATTEMPTS):
            try:
                await self._send(path, record, replicas, force=force)
            except ObjectNotFoundError as error:
                raise self._not_found(resource) from error
            except (ObjectConflictError, ObjectRefusedError) as error:
                # Another field may have changed since the record, such as the status.
                await asyncio.sleep(_PAUSE_SECONDS * 2**attempt)
                live = await self._live(resource, record)
                is_unchanged = live.foreign_write == record.foreign_write
                if not (is_versioned and is_unchanged and isinstance(error, ObjectConflictError)):
                    raise _explained(error, replicas, f"{resource.plural}/scale") from error
                record = live
            else:
                return self._remember(await self._read(resource))
        raise RequestFailedError(f"{path} changed during each of {_ATTEMPTS} writes; the write is retried later")

    async def _send(self, path: str, record: WorkloadRecord, replicas: int, *, force: bool) -> None:
        # With the uid the write fails if the object was recreated; with the version, if it changed since the record.
        metadata = {"name": self._reference.name, "namespace": self._namespace, "uid": record.uid}
        if force or not self._can_apply:
            metadata["resourceVersion"] = str(record.resource_version)
        scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {"replicas": replicas}}
        if self._can_apply:
            await self._cluster.apply(path, scale, force=force)
            return
        others = [manager for manager in record.managers if manager != FIELD_MANAGER]
        if others and FIELD_MANAGER not in record.managers and not force:
            raise TargetConflictError(f"another manager holds the replicas: {others[0]}")
        if replicas == 0:
            raise TargetRefusedError(
                f"the API server does not record who scales a {self._reference.kind} to zero, so the operator could "
                "not distinguish its own zero from a person's; set spec.replicas.min of the policy to 1"
            )
        await self._cluster.merge(path, scale)

    @property
    def _can_apply(self) -> bool:
        """Whether /scale supports server-side apply: that of a custom resource fails with an invalid conversion.

        A merge patch of the same version has no conflicts; the record shows whether another manager holds the field.
        """
        return self._reference.group == "apps"

    async def _live(self, resource: ScalableResource, record: WorkloadRecord) -> WorkloadRecord:
        """Read the workload. Raises TargetNotFoundError if it was deleted or recreated."""
        live = await self._read(resource)
        if live.uid != record.uid:
            raise TargetNotFoundError(
                f"{resource.path(self._namespace, self._reference.name)} was deleted and created again; the new object "
                "is observed next"
            )
        return live

    async def _record(self, *, counted: bool = False) -> WorkloadRecord:
        """Return the newest record.

        counted: with the replicas that exist and are ready, and the selector of the pods. For a custom resource they
        take further requests, which a write does not need.
        """
        watched = self._records.watched_workload(self._namespace, self._reference)
        if watched is not None:
            return watched
        resource = await self._resource()
        body = await self._body(resource)
        record = WorkloadRecord.parse(body, resource.replicas)
        return await self._counted(resource, body, record) if counted and self._reference.group != "apps" else record

    def _remember(self, record: WorkloadRecord) -> WorkloadRecord:
        self._records.remember_workload(self._namespace, self._reference, record)
        return record

    async def _resource(self) -> ScalableResource:
        return await self._discovery.resource(self._reference.api_version, self._reference.kind)

    async def _read(self, resource: ScalableResource) -> WorkloadRecord:
        return WorkloadRecord.parse(await self._body(resource), resource.replicas)

    async def _body(self, resource: ScalableResource) -> Json:
        path = resource.path(self._namespace, self._reference.name)
        body = await self._get(resource, path)
        if self._reference.group != "apps" and value_at(body, resource.replicas) is None:
            field = ".".join(resource.replicas)
            raise TargetRefusedError(
                f"{field} of {path} is not set, and the API server scales a custom resource only with a value; set "
                "it once, or give it a default in the CustomResourceDefinition. If the definition names another field "
                "for the replicas, grant the operator's service account get on customresourcedefinitions"
            )
        return body

    async def _counted(self, resource: ScalableResource, body: Json, record: WorkloadRecord) -> WorkloadRecord:
        """The record of a custom resource with the status of /scale; its ready pods are listed if it counts none."""
        scale = await self._get(resource, f"{resource.path(self._namespace, self._reference.name)}/scale")
        existing, ready = value_at(scale, ("status", "replicas")) or 0, value_at(body, ("status", "readyReplicas"))
        selector = value_at(scale, ("status", "selector"))
        if not isinstance(selector, str) or not selector:
            selector = None
        if not isinstance(ready, int):
            ready = existing if selector is None else await self._ready_pods(selector)
        return replace(record, existing=existing, ready=ready, selector=selector or record.selector)

    async def _get(self, resource: ScalableResource, path: str) -> Json:
        try:
            return await self._cluster.get(path)
        except ObjectNotFoundError as error:
            raise self._not_found(resource) from error
        except ObjectRefusedError as error:
            part = "/scale" if path.endswith("/scale") else ""
            raise TargetRefusedError(
                f"the operator may not read {path}; grant its service account get on {resource.plural}{part}. "
                f"The API server's message: {error}"
            ) from error

    async def _ready_pods(self, selector: str) -> int:
        """The number of ready pods of a selector, for kinds that do not count them."""
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        try:
            pods = await self._cluster.items(path, labelSelector=selector, fieldSelector="status.phase=Running")
        except ObjectRefusedError as error:
            raise TargetRefusedError(
                f"{self._reference.kind} {self._reference.name} does not count its ready replicas, and the operator "
                f"may not list the pods of {self._namespace}; grant its service account list on pods. "
                f"The API server's message: {error}"
            ) from error
        return sum(pod.is_ready for pod in map(parse_pod, pods) if pod is not None)

    def _not_found(self, resource: ScalableResource) -> TargetNotFoundError:
        return TargetNotFoundError(
            f'{resource.plural} "{self._reference.name}" not found in namespace {self._namespace}; create it, or '
            "correct spec.target.workload.name"
        )


def _explained(
    error: ObjectConflictError | ObjectRefusedError, replicas: int, resource: str
) -> TargetConflictError | TargetRefusedError:
    if isinstance(error, ObjectConflictError):
        return TargetConflictError(f"another manager holds the replicas: {error}")
    advice = "allow the write, or change spec.replicas of the policy"
    if "is forbidden: User" in str(error):
        advice = f"grant the operator's service account patch on {resource}"
    return TargetRefusedError(f"the API server refused {replicas} replicas; {advice}. Its message: {error}")
