"""Whether the loop of ingest turns."""

from predictive_scaling.clock import monotonic
from predictive_scaling.ingest.consumer import Ingest
from predictive_scaling.telemetry.checks import Check

SILENT_SECONDS = 120.0
"""A turn takes half a second; waiting for Kafka or the database counts as turning. Longer than this is a hang."""


def loop_check(worker: Ingest) -> Check:
    """Fails when only a restart can help."""

    async def probe() -> None:
        silent = monotonic() - worker.turned_at
        if silent > SILENT_SECONDS:
            raise TimeoutError(f"the loop of ingest has not turned for {silent:.0f} s")

    return Check("consumer", probe)
