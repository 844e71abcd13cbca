"""What we leave on a policy before we touch its target: a finalizer, and the minimum that was there before us."""

from typing import Final

from predictive_scaling.handlers.inventory import PolicyRecord
from predictive_scaling.resources.metadata import API_VERSION, GROUP, VERSION, PolicyKey
from predictive_scaling.resources.statuses import Takeover
from predictive_scaling.targets.client import Cluster, Json, ObjectNotFoundError

FINALIZER: Final = f"{GROUP}/restore"


def path_of(key: PolicyKey) -> str:
    """Where the API server has a policy."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{key.namespace}/scalingpolicies/{key.name}"


async def record_takeover(cluster: Cluster, record: PolicyRecord, target: str, takeover: Takeover) -> None:
    """Hold the policy until its target is restored, and write down what to restore. Raises as Cluster does."""
    if FINALIZER not in record.finalizers:
        await cluster.apply(path_of(record.key), _metadata(record, [FINALIZER]), force=True)
    status: Json = {"takeover": takeover.to_manifest(), "target": target}
    await cluster.merge(f"{path_of(record.key)}/status", {"status": status})


async def release(cluster: Cluster, record: PolicyRecord) -> None:
    """Let the policy go, and forget what was to be restored. Raises as Cluster does."""
    try:
        if not record.deleted:
            await cluster.merge(f"{path_of(record.key)}/status", {"status": {"takeover": None}})
        await cluster.apply(path_of(record.key), _metadata(record, []), force=True)
    except ObjectNotFoundError:
        return


async def is_current(cluster: Cluster, record: PolicyRecord) -> bool:
    """Whether the policy is still the one that was decided about: not edited, deleted or re-created since."""
    try:
        metadata = (await cluster.get(path_of(record.key)))["metadata"]
    except ObjectNotFoundError:
        return False
    same = metadata["uid"] == record.uid and metadata.get("generation") == record.generation
    return same and "deletionTimestamp" not in metadata


def _metadata(record: PolicyRecord, finalizers: list[str]) -> Json:
    metadata = {"name": record.key.name, "namespace": record.key.namespace, "uid": record.uid}
    given_up: Json = {"finalizers": finalizers} if finalizers else {}
    return {"apiVersion": API_VERSION, "kind": "ScalingPolicy", "metadata": metadata | given_up}
