"""Going back: reading again what was read from a moment on.

Goes by our own history of offsets, in product time: Kafka's record times are the producers' business. The group is set
back as well as the database, because of the two the higher offset counts when a partition is assigned.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from predictive_scaling.clock import Clock
from predictive_scaling.errors import SettingsError
from predictive_scaling.ingest.administration import KafkaAdministration
from predictive_scaling.storage.ingest_offsets import IngestOffsets


@dataclass(frozen=True, slots=True)
class Rewound:
    """A partition and the offsets it went from and to."""

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
    """Set every partition back to where it was read at `to`; those that were first read later begin anew.

    Samples that are still there change nothing when they are read again. Those whose rows have been dropped would count
    twice in the rollups: going back further than raw samples are kept raises SettingsError. Raises IngestRunningError
    while the group has members, KafkaUnavailableError, DatabaseUnavailableError.
    """
    now = clock.now()
    if not now - raw_retention <= to <= now:
        earliest = (now - raw_retention).isoformat(timespec="seconds")
        raise SettingsError(f"--to is {to.isoformat()}; allowed: from {earliest} (raw samples are kept so long) to now")
    await administration.refuse_running(group)
    known = await offsets.of_topic(topic)
    then = await offsets.at(topic, to)
    first = await administration.first_offsets(topic, sorted(known))
    # The group is ahead of the database where someone reset it to skip messages: those are wanted again as well.
    committed = await administration.committed(group, topic, sorted(known)) if known else {}
    before = {partition: max(it.next_offset, committed.get(partition, 0)) for partition, it in known.items()}
    targets = {partition: max(then.get(partition, 0), first[partition]) for partition in known}
    back = {partition: target for partition, target in targets.items() if target < before[partition]}
    if back:
        await administration.set_group_back(group, topic, back)
        await offsets.set_back(topic, back, now)
    return [Rewound(partition, before[partition], target) for partition, target in sorted(back.items())]
