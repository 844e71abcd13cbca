-- What mode Auto would have done against what happened, one row for each policy in mode Recommend and each hour.
create table shadow_hours (
    namespace text not null,
    policy text not null,
    since timestamptz not null,
    until timestamptz not null,
    policy_uid text not null,
    target text not null,
    per_replica double precision not null,
    lead_time_seconds double precision not null,
    observed_minutes integer not null,
    covered_minutes integer not null,
    minutes_short double precision not null,
    auto_minutes_short double precision not null,
    replica_hours double precision not null,
    auto_replica_hours double precision not null,
    -- The 60 minutes, compressed by zlib: demand as float32 (NaN where unknown), then replicas, ready, auto_replicas and
    -- auto_ready as int32 (-1 where unknown), little-endian. As arrays they would take four times the space.
    minutes bytea not null,
    primary key (namespace, policy, since)
) with (fillfactor = 80);
create index shadow_hours_by_since on shadow_hours (since);

-- The account over the last days, as in the status.
alter table policies add column shadow jsonb;
