"""Rewinds consumption to a time.

Uses the recorded history of offsets in product time, because producers set Kafka's record times. Both the group and
the database are rewound, because the higher of the two offsets is used when a partition is assigned.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from predictive_scaling.clock import Clock
from predictive_scaling.errors import SettingsError
from predictive_scaling.ingest.administration import KafkaAdministration
from predictive_scaling.storage.ingest_offsets import IngestOffsets


@dataclass(frozen=True, slots=True)
class Rewound:
    """The offsets of a partition before and after the rewind."""

    partition: int
    before: int
    after: int


async def rewind(
    administration: KafkaAdministration,
    offsets: IngestOffsets,
    *,
    topic: str,
    group: str,
    to: datetime,
    raw_retention: timedelta,
    clock: Clock,
) -> list[Rewound]:
    """Rewind each partition to its offset at `to`; partitions first read later restart from the beginning.

    Samples that still exist are not duplicated. Samples whose rows were deleted would count twice in the rollups, so a
    time before the retention of raw samples raises SettingsError. Raises IngestRunningError
    while the group has members, KafkaUnavailableError, DatabaseUnavailableError.
    """
    now = clock.now()
    if not now - raw_retention <= to <= now:
        earliest = (now - raw_retention).isoformat(timespec="seconds")
        raise SettingsError(f"--to is {to.isoformat()}; allowed: from {earliest} (retention of raw samples) to now")
    await administration.require_no_members(group)
    known = await offsets.of_topic(topic)
    recorded = await offsets.at(topic, to)
    first = await administration.first_offsets(topic, sorted(known))
    # The group is ahead of the database after a manual reset that skipped messages; those are read again too.
    committed = await administration.committed(group, topic, sorted(known)) if known else {}
    before = {partition: max(offset.next_offset, committed.get(partition, 0)) for partition, offset in known.items()}
    targets = {partition: max(recorded.get(partition, 0), first[partition]) for partition in known}
    rewound = {partition: target for partition, target in targets.items() if target < before[partition]}
    if rewound:
        await administration.rewind_group(group, topic, rewound)
        await offsets.rewind(topic, rewound, now)
    return [Rewound(partition, before[partition], target) for partition, target in sorted(rewound.items())]
