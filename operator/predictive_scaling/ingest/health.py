"""The liveness check of the ingest loop; separate, as the consumer itself needs no health types."""

from predictive_scaling.clock import monotonic
from predictive_scaling.ingest.consumer import Ingest
from predictive_scaling.telemetry.checks import Check

MAX_ITERATION_SECONDS = 120.0
"""An iteration takes half a second, and retries count as iterations; a longer time is a hang."""


def loop_check(worker: Ingest) -> Check:
    """Return a check that fails when only a restart helps."""

    async def probe() -> None:
        silent = monotonic() - worker.turned_at
        if silent > MAX_ITERATION_SECONDS:
            raise TimeoutError(f"the ingest loop has made no progress for {silent:.0f} s")

    return Check("consumer", probe)
