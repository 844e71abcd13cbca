-- Sums of each scored interval, which add up over any window; ratios of ratios do not.
alter table model_performance
    add column since timestamptz,
    add column until timestamptz,
    add column absolute_error double precision,
    add column error double precision,
    add column demand double precision,
    add column relative_error double precision,
    add column relative_samples bigint,
    add column covered_p50 bigint,
    add column covered_p80 bigint,
    add column covered_p90 bigint,
    add column covered_p95 bigint,
    add column quantile double precision,
    add column covered bigint;
alter table model_performance drop constraint model_performance_pkey;
-- Rows from before have no interval: nulls are distinct.
create unique index model_performance_by_interval on model_performance (namespace, policy, since);
create index model_performance_by_since on model_performance (since);
