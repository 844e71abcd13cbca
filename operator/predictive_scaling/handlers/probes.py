"""What liveness and readiness of the operator mean."""

from collections.abc import Callable

from predictive_scaling.clock import monotonic
from predictive_scaling.handlers.inventory import Inventory
from predictive_scaling.telemetry.checks import Check, Degraded

_DEAF_SECONDS = 120.0


def beat_check(name: str, beat_at: Callable[[], float], limit_seconds: float) -> Check:
    """Does a loop still turn? Only a restart mends one that does not."""

    async def probe() -> None:
        age = monotonic() - beat_at()
        if age > limit_seconds:
            raise TimeoutError(f"the last turn was {age:.0f} s ago, more than {limit_seconds:.0f} s")

    return Check(name, probe)


def watch_check(inventory: Inventory, runs: Callable[[], bool]) -> Check:
    """Do the watches show what we wrote ourselves? One that never does is deaf, and only a restart mends it."""

    async def probe() -> None:
        if not runs():
            raise RuntimeError("the watch is not running")
        deaf = inventory.deaf_for()
        if deaf > _DEAF_SECONDS:
            raise TimeoutError(f"the watch owes us a write of ours for {deaf:.0f} s")

    return Check("watch", probe)


def leader_check(leads: Callable[[], bool]) -> Check:
    """Does this process lead? A standby is well too; it says so."""

    async def probe() -> None:
        if not leads():
            raise Degraded("standby: another operator leads, or none does yet")

    return Check("leader", probe, required=False)
