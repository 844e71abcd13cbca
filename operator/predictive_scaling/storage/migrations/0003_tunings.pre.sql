-- What safety costs each policy: its frontier over the last days, and the quantile that its prices chose.
create table tunings (
    namespace text not null,
    policy text not null,
    tuned_at timestamptz not null,
    since timestamptz not null,
    until timestamptz not null,
    under_provisioned_minute double precision,
    replica_hour double precision,
    quantile double precision not null,
    moved_at timestamptz,
    rising boolean,
    turns integer not null,
    hpa_target double precision not null,
    advised_target double precision not null,
    saved double precision not null,
    hours_saved double precision not null,
    message text not null,
    recorded_share double precision not null,
    alone double precision[] not null,
    points double precision[][] not null,
    primary key (namespace, policy)
);

-- Before, a mirror did not say how its policies add their series up.
alter table policies add column aggregation text not null default 'Sum';
