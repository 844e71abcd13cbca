-- Samples, rollups, and everything that is recorded. Times come from the program, never from now().

create table metrics_raw (
    time timestamptz not null,
    service_name text not null,
    metric_name text not null,
    series bigint not null,
    value double precision not null,
    labels jsonb not null default '{}',
    primary key (service_name, metric_name, series, time)
) partition by range (time);

create table metrics_1m (
    minute timestamptz not null,
    service_name text not null,
    metric_name text not null,
    series bigint not null,
    sum double precision not null,
    count bigint not null,
    min double precision not null,
    max double precision not null,
    last double precision not null,
    last_time timestamptz not null,
    -- Minute before series: the demand of many services over a span is read in the order of this key.
    primary key (service_name, metric_name, minute, series)
) partition by range (minute);

create table series (
    service_name text not null,
    metric_name text not null,
    series bigint not null,
    labels jsonb not null,
    last_day date not null,
    primary key (service_name, metric_name, series)
);

create table predictions (
    created_at timestamptz not null,
    service_name text not null,
    target_time timestamptz not null,
    p10 double precision not null,
    p50 double precision not null,
    p80 double precision not null,
    p90 double precision not null,
    p95 double precision not null,
    model_name text not null,
    model_version text not null,
    namespace text not null,
    policy text not null,
    source text not null,
    valid_until timestamptz not null,
    primary key (namespace, policy, created_at, target_time)
);
create index predictions_by_target_time on predictions (namespace, policy, target_time, created_at desc);
create index predictions_by_service on predictions (service_name, target_time);
create index predictions_by_created_at on predictions (created_at);

create table scaling_decisions (
    id text primary key,
    created_at timestamptz not null,
    service_name text not null,
    namespace text not null,
    policy text not null,
    policy_uid text not null,
    generation bigint not null,
    target text not null,
    decision_type text not null check (decision_type in ('scale_up', 'scale_down')),
    status text not null check (status in ('pending', 'executing', 'verifying', 'succeeded', 'failed', 'rolled_back',
        'recommended', 'superseded', 'cancelled')),
    from_replicas integer not null,
    to_replicas integer not null,
    uncapped_replicas integer not null,
    source text not null,
    reason text not null,
    message text not null,
    mode text not null,
    attempts integer not null,
    started_at timestamptz,
    finished_at timestamptz,
    deadline_at timestamptz,
    forecast jsonb,
    limits text[] not null,
    event text,
    outcome text
);
create index scaling_decisions_by_created_at on scaling_decisions (created_at desc, id desc);
create index scaling_decisions_by_policy on scaling_decisions (namespace, policy, created_at desc, id desc);
create index scaling_decisions_by_finished_at on scaling_decisions (finished_at);
create index scaling_decisions_unfinished on scaling_decisions (deadline_at)
    where status in ('pending', 'executing', 'verifying');

create table model_performance (
    created_at timestamptz not null,
    model_name text not null,
    model_version text not null,
    service_name text not null,
    namespace text not null,
    policy text not null,
    period interval not null,
    mape double precision,
    wape double precision,
    bias double precision,
    coverage double precision,
    samples bigint not null,
    primary key (namespace, policy, model_name, created_at)
);
create index model_performance_by_created_at on model_performance (created_at);

create table business_events (
    namespace text not null,
    name text not null,
    type text,
    start_time timestamptz not null,
    end_time timestamptz not null,
    multiplier double precision,
    min_replicas integer,
    priority integer not null,
    policies text[] not null,
    updated_at timestamptz not null,
    learned_multiplier double precision,
    primary key (namespace, name, start_time)
);
create index business_events_by_start_time on business_events (start_time);

create table policies (
    namespace text not null,
    policy text not null,
    service_name text not null,
    metric_name text not null,
    mode text not null,
    target text not null,
    min_replicas integer not null,
    max_replicas integer not null,
    floor integer,
    current_replicas integer,
    ready_replicas integer,
    source text,
    limited boolean not null,
    conditions jsonb not null,
    last_decision_at timestamptz,
    advice jsonb,
    forecast jsonb,
    updated_at timestamptz not null,
    primary key (namespace, policy)
);

create table commands (
    id bigint generated always as identity primary key,
    created_at timestamptz not null,
    kind text not null,
    arguments jsonb not null,
    status text not null default 'asked' check (status in ('asked', 'claimed', 'answered')),
    claimed_at timestamptz,
    answer jsonb,
    answered_at timestamptz
);
create index commands_open on commands (id) where status <> 'answered';

-- The position alone is no key: a topic that is deleted and made again counts from 0 once more.
create table dead_letters (
    topic text not null,
    partition integer not null,
    message_offset bigint not null,
    topic_id text not null,
    reason text not null,
    detail text not null,
    raw bytea not null,
    raw_size integer not null,
    received_at timestamptz not null,
    primary key (topic, partition, message_offset, topic_id)
);
create index dead_letters_by_received_at on dead_letters (received_at);

create table ingest_offsets (
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    topic_id text not null,
    updated_at timestamptz not null,
    primary key (topic, partition)
);

-- Where each partition was read at a minute of product time: the way back for `ingest rewind`.
create table ingest_history (
    topic text not null,
    partition integer not null,
    minute timestamptz not null,
    next_offset bigint not null,
    primary key (topic, partition, minute)
);
