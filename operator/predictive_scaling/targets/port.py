"""The port of targets. Every adapter, including the one in memory, passes tests/contract/test_targets.py."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from predictive_scaling.decision.inputs import Observed
from predictive_scaling.resources.statuses import Takeover
from predictive_scaling.resources.vocabulary import FailureCause


@dataclass(frozen=True, slots=True)
class Applied:
    """A write that the target accepted."""

    floor: int
    changed: bool
    """False if the target had this floor already."""


@dataclass(frozen=True, slots=True)
class ReplicaSource:
    """Where the replicas of a target are pods: what verification reads to explain a late raise."""

    namespace: str
    selector: str
    """The label selector of the pods, as a query of the API server."""
    workload_uid: str
    """The uid of the workload that creates the pods."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why replicas of a target that are not pods are late."""

    cause: FailureCause | None
    """None if it is unknown."""
    details: str = ""
    """A phrase with the details, or why the cause is unknown; empty if there is nothing to say."""
    is_pending: bool = False
    """Whether a later request may return the cause without a change by a person."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a target has followed its floor; the input of verification."""

    floor: int
    """Current floor of the target."""
    desired_replicas: int
    """Replicas that the target's own autoscaler requests."""
    replicas: int
    """Replicas that exist."""
    ready_replicas: int
    failure: str | None = None
    """Why replicas cannot be created, from the cluster, such as an exceeded quota; None if unknown."""
    held_by: str | None = None
    """Why the replicas do not follow the floor for now, as the user configured it; None if they follow."""
    floor_manager: str | None = None
    """The other field manager that holds the floor; None if the operator holds it, or nobody."""
    excess: str | None = None
    """Why more replicas remain than are requested; None if unknown or if none do."""
    explanation: Explanation | None = None
    """Why replicas are late, if they are, where no pods say it; None if unknown."""
    maximum: int | None = None
    """Maximum of a target whose API lowers the floor with it (config/admission, AWS); None for others."""
    floor_written_at: datetime | None = None
    """The time of the operator's last write of the floor by the clock that stamps pods; None if the target's API does
    not record it: the time when the decision was recorded, shortly before, takes its place."""
    source: ReplicaSource | None = None
    """Its pods; None if its replicas are not pods, or cannot be selected."""


class Target(Protocol):
    """A target whose minimum the operator owns.

    All methods raise TargetNotFoundError, TargetUnsupportedError or ClusterUnavailableError.
    """

    async def observe(self) -> Observed:
        """Observe the target."""
        ...

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        """Set the floor; the same floor twice changes nothing.

        take: take the field from its current manager; only for the first write of a take-over. A floor that was
        given up has no manager.
        Raises TargetConflictError with the manager if another manager holds the field or wrote it since it was
        observed; TargetRefusedError with the remedy if the API refuses the value permanently.
        """
        ...

    async def restore(self, floor: int) -> None:
        """Restore the original floor and release the field. Does nothing if we do not own it.

        If the target's maximum is lower by now, the floor becomes that maximum. Raises as `apply` does.
        """
        ...

    async def progress(self) -> Progress:
        """Return how far the target has followed its floor."""
        ...


@runtime_checkable
class WithoutManagers(Protocol):
    """A target whose API does not record who wrote the floor: it compares the floor with the recorded write."""

    def recall(self, takeover: Takeover) -> None:
        """Set the recorded writes; called before any other method. Without it no write counts as ours."""
        ...

    def recorded(self, takeover: Takeover, floor: int) -> Takeover:
        """Return the take-over to record before `floor` is written. Call it after `observe`."""
        ...


@runtime_checkable
class ExplainsDelay(Protocol):
    """A target whose replicas are not pods: it explains a late raise itself."""

    def explain_delay(self, progress: Progress, waited_seconds: float) -> Explanation:
        """Return why a raise of `waited_seconds` (real time) ago is late. Never waits and never raises."""
        ...


def with_record(target: Target, takeover: Takeover | None) -> Target:
    """Return the target; one without managers recalls the recorded writes."""
    if isinstance(target, WithoutManagers) and takeover is not None:
        target.recall(takeover)
    return target
