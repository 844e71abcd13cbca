"""Samples that were pulled from a source: values that are read again may have changed, and history may be old."""

from collections.abc import Sequence
from datetime import timedelta

from predictive_scaling.storage.database import Connection
from predictive_scaling.storage.samples import STAGE, Sample, keep, stage

# A value that was read again and differs: late rows changed it. Sums in another order differ in the last digits.
CORRECT = """
with changed as (
    update metrics_raw as raw set value = incoming.value
    from incoming
    where raw.service_name = incoming.service_name and raw.metric_name = incoming.metric_name
        and raw.series = incoming.series and raw.time = incoming.time
        and raw.time between %(first)s and %(last)s
        and abs(raw.value - incoming.value) > 1e-9 * greatest(abs(raw.value), abs(incoming.value))
    returning raw.service_name, raw.metric_name, raw.series, raw.time)
insert into corrected
select distinct service_name, metric_name, series, date_bin('1 minute', time, 'epoch') from changed
"""

STAGE_CORRECTED = """
create temporary table if not exists corrected (
    service_name text, metric_name text, series bigint, minute timestamptz)
on commit delete rows
"""

# Locked before they are computed again, so that no row of a concurrent writer is missing in the sum. By an upsert that
# changes nothing: TimescaleDB cannot lock compressed rows with SELECT … FOR UPDATE, but an upsert decompresses them.
LOCK_CORRECTED = """
insert into metrics_1m as rollup (minute, service_name, metric_name, series, sum, count, min, max, last, last_time)
select minute, service_name, metric_name, series, sum, count, min, max, last, last_time
from metrics_1m as known join corrected using (service_name, metric_name, series, minute)
where known.minute between %(first_minute)s and %(last)s
order by service_name, metric_name, minute, series
on conflict (service_name, metric_name, minute, series) do update set count = rollup.count
"""

RECOMPUTE_CORRECTED = """
update metrics_1m as rollup
set sum = new.sum, count = new.count, min = new.min, max = new.max, last = new.last, last_time = new.last_time
from (
    select service_name, metric_name, series, minute, sum(value) as sum, count(*) as count, min(value) as min,
        max(value) as max, (array_agg(value order by time desc))[1] as last, max(time) as last_time
    from metrics_raw join corrected using (service_name, metric_name, series)
    where time >= minute and time < minute + interval '1 minute'
        and time >= %(first_minute)s and time < %(end)s
    group by 1, 2, 3, 4) as new
where rollup.service_name = new.service_name and rollup.metric_name = new.metric_name
    and rollup.minute = new.minute and rollup.series = new.series
    and rollup.minute between %(first_minute)s and %(last)s
"""

# The raw rows of these minutes are gone or soon will be, so that only the rollup tells whether they are known.
KEEP_HISTORY = """
with kept as (
    insert into metrics_1m (minute, service_name, metric_name, series, sum, count, min, max, last, last_time)
    select date_bin('1 minute', time, 'epoch') as minute, service_name, metric_name, series, sum(value), count(*),
        min(value), max(value), (array_agg(value order by time desc))[1], max(time)
    from (
        select distinct on (service_name, metric_name, series, time)
            time, service_name, metric_name, series, value
        from incoming) as once
    group by 1, 2, 3, 4
    order by 2, 3, 1, 4
    on conflict do nothing
    returning count)
select coalesce(sum(count), 0)::int8 from kept
"""

# A transaction may stage samples twice: those of the last weeks, and those of the history.
CLEAR_STAGE = "truncate incoming"


async def keep_corrected(connection: Connection, samples: Sequence[Sample]) -> tuple[int, int]:
    """Write samples as `samples.keep` does; a known sample takes a new value, and so does its rollup.

    Return the numbers of new samples and of corrected minutes.
    """
    new = await keep(connection, samples)
    if new == len(samples):
        return new, 0
    first, last = min(sample.time for sample in samples), max(sample.time for sample in samples)
    first_minute = first.replace(second=0, microsecond=0)
    span = {"first": first, "first_minute": first_minute, "last": last, "end": last + timedelta(minutes=1)}
    async with connection.cursor() as cursor:
        await cursor.execute(STAGE_CORRECTED)
        corrected = (await cursor.execute(CORRECT, span)).rowcount
        if corrected:
            await cursor.execute(LOCK_CORRECTED, span)
            await cursor.execute(RECOMPUTE_CORRECTED, span)
    return new, corrected


async def keep_history(connection: Connection, samples: Sequence[Sample]) -> int:
    """Write the rollups of samples whose raw rows are, or soon will be, deleted; return the number of new samples.

    A minute that has a rollup stays as it is, so the samples of a minute and series must come together. Requires
    `Samples.prepare` with history for their times.
    """
    if not samples:
        return 0
    async with connection.cursor() as cursor:
        await cursor.execute(STAGE)
        await cursor.execute(CLEAR_STAGE)
        await stage(cursor, samples)
        row = await (await cursor.execute(KEEP_HISTORY)).fetchone()
        return row[0] if row else 0
