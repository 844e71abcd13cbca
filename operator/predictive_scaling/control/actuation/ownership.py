"""Marks a policy before its target is written: a finalizer, and the original minimum."""

from typing import Final

from predictive_scaling.cluster.client import Cluster, Json, ObjectNotFoundError
from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.control.policy_memory import OwnMetadata
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.resources.metadata import API_VERSION, GROUP, VERSION, PolicyKey
from predictive_scaling.resources.statuses import Takeover

FINALIZER: Final = f"{GROUP}/restore"


def path_of(key: PolicyKey) -> str:
    """Return the API path of a policy."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{key.namespace}/scalingpolicies/{key.name}"


def is_held(record: PolicyRecord, state: PolicyState) -> bool:
    """Whether the policy has our finalizer, according to the newer of the watch and our last write."""
    own = state.own_metadata
    newest = own.finalizers if own is not None and own.resource_version > record.resource_version else record.finalizers
    return FINALIZER in newest


async def record_takeover(
    cluster: Cluster, record: PolicyRecord, state: PolicyState, target: str, takeover: Takeover
) -> None:
    """Set the finalizer and record what to restore. Raises as Cluster does."""
    if not is_held(record, state):
        await _set_finalizers(cluster, record, state, [FINALIZER])
    # A merge patch keeps what it does not name: a field that is not set any more has to be taken out by name.
    optional = ("takenFrom", "resume", "generation", "floor", "replaces", "autoScalingGroup")
    cleared = dict.fromkeys(optional) | takeover.to_manifest()
    async with state.status_lock:
        await cluster.merge(f"{path_of(record.key)}/status", {"status": {"takeover": cleared, "target": target}})
        state.take_over(takeover, target)


def is_recorded(state: PolicyState, target: str, takeover: Takeover) -> bool:
    """Whether the policy's status already records it."""
    written = state.written_status
    return written is not None and written.takeover == takeover and state.target == target


async def release(cluster: Cluster, record: PolicyRecord, state: PolicyState) -> None:
    """Remove the finalizer and the record of what to restore. Raises as Cluster does."""
    try:
        if not record.deleted:
            async with state.status_lock:
                await cluster.merge(f"{path_of(record.key)}/status", {"status": {"takeover": None}})
        await _set_finalizers(cluster, record, state, [])
    except ObjectNotFoundError:
        return


async def is_current(cluster: Cluster, record: PolicyRecord, state: PolicyState) -> bool:
    """Whether the policy is unchanged since the decision: not edited, deleted or re-created."""
    try:
        metadata = ObjectMetadata.of(await cluster.get(path_of(record.key)))
    except ObjectNotFoundError:
        return False
    if metadata.uid != record.uid:
        return False
    state.note_metadata(_own(metadata))
    return metadata.generation == record.generation and metadata.deleted_at is None


async def _set_finalizers(cluster: Cluster, record: PolicyRecord, state: PolicyState, finalizers: list[str]) -> None:
    answer = await cluster.apply(path_of(record.key), _metadata(record, finalizers), force=True)
    state.note_metadata(_own(ObjectMetadata.of(answer)))


def _own(metadata: ObjectMetadata) -> OwnMetadata:
    return OwnMetadata(metadata.resource_version, metadata.finalizers)


def _metadata(record: PolicyRecord, finalizers: list[str]) -> Json:
    metadata = {"name": record.key.name, "namespace": record.key.namespace, "uid": record.uid}
    given_up: Json = {"finalizers": finalizers} if finalizers else {}
    return {"apiVersion": API_VERSION, "kind": "ScalingPolicy", "metadata": metadata | given_up}
