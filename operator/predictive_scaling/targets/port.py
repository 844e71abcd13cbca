"""The port to where replicas live. Every adapter, the one in memory too, passes tests/contract/test_targets.py."""

from dataclasses import dataclass
from typing import Protocol

from predictive_scaling.decision.inputs import Observed


@dataclass(frozen=True, slots=True)
class Applied:
    """A write that the target accepted."""

    floor: int
    changed: bool
    """False where the target had this floor already."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a target has followed its floor; what verification looks at."""

    floor: int
    """Current floor of the target."""
    desired_replicas: int
    """Replicas that the target's own autoscaler requests."""
    replicas: int
    """Replicas that exist."""
    ready_replicas: int
    failure: str | None = None
    """Why replicas cannot be created, from the cluster, such as an exceeded quota; None if unknown."""


class Target(Protocol):
    """One thing whose minimum we own.

    All methods raise TargetNotFoundError, TargetUnsupportedError or ClusterUnavailableError.
    """

    async def observe(self) -> Observed:
        """Observe the target."""
        ...

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        """Set the floor; the same floor twice changes nothing.

        take: take the field from whoever holds it; right for the first write of a take-over only. A floor that was
        given up has no holder.
        Raises TargetConflictError naming the holder when someone else holds the field, or wrote it since it was
        observed; TargetRefusedError, with what to do, when the API refuses the value for good.
        """
        ...

    async def restore(self, floor: int) -> None:
        """Restore the original floor and release the field. Does nothing if we do not own it.

        Where the target's maximum is lower by now, that is what it becomes. Raises as `apply` does.
        """
        ...

    async def progress(self) -> Progress:
        """How far the target has followed."""
        ...
