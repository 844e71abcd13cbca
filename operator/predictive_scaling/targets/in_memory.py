"""A target without a cluster, for tests. It fulfills the contract of the port and follows its floor on demand."""

from dataclasses import dataclass
from datetime import datetime

from predictive_scaling.cluster.client import FIELD_MANAGER
from predictive_scaling.cluster.field_ownership import DEFAULT_MINIMUM
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.errors import (
    ClusterUnavailableError,
    TargetConflictError,
    TargetNotFoundError,
    TargetRefusedError,
)
from predictive_scaling.targets.port import Applied, Progress, ReplicaSource

_OTHER_MANAGER = "kubectl-client-side-apply"


@dataclass(slots=True)
class InMemoryTarget:
    """Replicas as numbers. `foreign_write` simulates another writer, `settle` the controllers."""

    minimum: int = 1
    maximum: int = 100
    replicas: int = 1
    ready_replicas: int = 1
    uid: str = "in-memory"
    managers: tuple[str, ...] = (_OTHER_MANAGER,)
    owner: str | None = None
    failure: str | None = None
    exists: bool = True
    reachable: bool = True
    writes: int = 0
    """Number of writes that changed the target."""
    foreign_writes: int = 1
    """Number of writes of the floor by other managers, including the creation of the target."""
    given_up: bool = False
    """Whether the floor is the API's default, filled in when its manager removed the field."""
    source: ReplicaSource | None = None
    """Where its pods are; None where its replicas are not pods."""
    written_at: datetime | None = None
    """The time of the last write of the floor, by the clock that stamps its pods."""
    template: str = "first"
    """The pod template of its workload."""
    observed_writes: int | None = None
    """foreign_writes at the last observation; None before the first."""

    async def observe(self) -> Observed:
        self._check()
        self.observed_writes = self.foreign_writes
        return Observed(
            uid=self.uid,
            minimum=self.minimum,
            maximum=self.maximum,
            current_replicas=self.replicas,
            ready_replicas=self.ready_replicas,
            target_utilization=None,
            utilization=None,
            scaled_to_zero=self.replicas == 0 < self.minimum,
            owner=self.owner,
            floor_managers=self.managers,
            foreign_write=self._foreign_write,
            floor_given_up=self.given_up,
            template=self.template,
        )

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        self._check()
        if floor > self.maximum:
            raise TargetRefusedError(f"minReplicas {floor} exceeds maxReplicas {self.maximum}")
        if FIELD_MANAGER in self.managers:
            changed = floor != self.minimum
            self.managers = (FIELD_MANAGER,) if changed else self.managers
        elif take and self.observed_writes not in (None, self.foreign_writes):
            raise TargetConflictError(f"the floor was changed since it was observed, by {self._foreign_write}")
        elif take:
            changed, self.managers = True, (FIELD_MANAGER,)
        elif self.managers and floor != self.minimum:
            raise TargetConflictError(f"another manager holds the floor: {self.managers[0]}")
        else:
            changed, self.managers = True, (FIELD_MANAGER, *self.managers)
        self.minimum, self.given_up = floor, False
        self.writes += changed
        return Applied(floor, changed=changed)

    async def restore(self, floor: int) -> None:
        self._check()
        if FIELD_MANAGER not in self.managers:
            return
        floor = min(floor, self.maximum)
        self.writes += floor != self.minimum
        self.minimum = floor
        self.managers = tuple(manager for manager in self.managers if manager != FIELD_MANAGER)

    async def progress(self) -> Progress:
        self._check()
        return Progress(
            self.minimum,
            max(self.minimum, self.replicas),
            self.replicas,
            self.ready_replicas,
            self.failure,
            floor_manager=None if FIELD_MANAGER in self.managers else next(iter(self.managers), None),
            maximum=self.maximum,
            floor_written_at=self.written_at,
            source=self.source,
        )

    def foreign_write(self, minimum: int, manager: str = _OTHER_MANAGER) -> None:
        """Set the floor as another manager, like `kubectl apply` of a manifest with minReplicas."""
        if minimum != self.minimum:
            self.minimum, self.managers, self.given_up = minimum, (manager,), False
            self.foreign_writes += 1

    def share(self, minimum: int, manager: str = "argocd-controller") -> None:
        """Apply the floor as another manager by server-side apply: with our value, both hold the field."""
        if minimum != self.minimum:
            self.foreign_write(minimum, manager)
        elif manager not in self.managers:
            self.managers = (manager, *self.managers)

    def lower_maximum(self, maximum: int) -> None:
        """Lower the maximum as a user, and with it a floor above it, like config/admission in the API server."""
        self.maximum, self.minimum = maximum, min(self.minimum, maximum)

    def give_up(self) -> None:
        """Remove the floor, like a client-side apply of a manifest without it: the API fills in its default."""
        self.minimum, self.managers, self.given_up = DEFAULT_MINIMUM, (), True
        self.foreign_writes += 1

    def settle(self, *, ready: bool = True) -> None:
        """Create the replicas of the floor, like the controllers."""
        self.replicas = max(self.replicas, self.minimum)
        if ready:
            self.ready_replicas = self.replicas

    @property
    def _foreign_write(self) -> str | None:
        others = [manager for manager in self.managers if manager != FIELD_MANAGER]
        if not others and not self.given_up:
            return None
        return f"{others[0] if others else _OTHER_MANAGER}, write {self.foreign_writes}"

    def _check(self) -> None:
        if not self.reachable:
            raise ClusterUnavailableError("The target's API does not respond")
        if not self.exists:
            raise TargetNotFoundError("The target does not exist")
