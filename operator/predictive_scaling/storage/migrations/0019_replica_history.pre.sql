-- Floor and replicas of each policy over time: a row for each change, so that charts can show the past.
create table replica_history (
    namespace text not null,
    policy text not null,
    at timestamptz not null,
    floor integer,
    current_replicas integer,
    ready_replicas integer,
    primary key (namespace, policy, at)
);
create index replica_history_by_at on replica_history (at);

-- Decisions of a service, newest first, without reading those of all other services.
create index scaling_decisions_by_service on scaling_decisions (service_name, created_at desc, id desc);
