-- Forecasts in a tenth of the bytes: one forecast of each policy every few minutes in `predictions`, whole, with the
-- quantiles as real; the newest of each policy in one row of `current_predictions`.

create type forecast_source as enum ('FreshForecast', 'LastForecast', 'SameTimeLastWeek');

alter table predictions rename to predictions_before;
alter table predictions_before rename constraint predictions_pkey to predictions_before_pkey;
drop index predictions_by_target_time;
drop index predictions_by_service;
drop index predictions_by_created_at;

create table predictions (
    created_at timestamptz not null,
    target_time timestamptz not null,
    p10 real not null,
    p50 real not null,
    p80 real not null,
    p90 real not null,
    p95 real not null,
    -- Quantiles of the highest demand from the first bin of the forecast to the end of this one; null where unknown.
    peak_p50 real,
    peak_p80 real,
    peak_p90 real,
    peak_p95 real,
    source forecast_source not null,
    service_name text not null,
    namespace text not null,
    policy text not null,
    model_name text not null,
    model_version text not null
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
-- All points of a forecast have the same key: PostgreSQL keeps such a key once and needs 6 bytes for each further row.
create index predictions_by_policy on predictions (namespace, policy, created_at);
create index predictions_by_service on predictions (service_name, created_at);

create table current_predictions (
    namespace text not null,
    policy text not null,
    service_name text not null,
    created_at timestamptz not null,
    valid_until timestamptz not null,
    source forecast_source not null,
    model_name text not null,
    model_version text not null,
    target_times timestamptz[] not null,
    p10 real[] not null,
    p50 real[] not null,
    p80 real[] not null,
    p90 real[] not null,
    p95 real[] not null,
    peak_p50 real[] not null,
    peak_p80 real[] not null,
    peak_p90 real[] not null,
    peak_p95 real[] not null,
    primary key (namespace, policy)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- PostgreSQL refuses to cast what is too large or too small for a real.
create function pg_temp.as_real(value double precision) returns real
language sql immutable as $$
    select case when abs(value) < 1e-37 then 0 else greatest(least(value, 3.4e38), -3.4e38) end::real
$$;

-- Kept of what was there: the last forecast made in each five minutes of each policy's last week, and fewer days where
-- there are many policies, so that this step writes about 20 million rows at most.
do $migration$
declare
    week constant interval := interval '7 days';
    span interval;
    policies bigint;
    known record;
    last timestamptz;
    newest timestamptz;
begin
    with recursive each as (
        (select namespace, policy from predictions_before order by namespace, policy limit 1)
        union all
        select following.namespace, following.policy from each cross join lateral (
            select namespace, policy from predictions_before
            where (namespace, policy) > (each.namespace, each.policy) order by namespace, policy limit 1) as following)
    select count(*) into policies from each;
    if policies = 0 then
        drop table predictions_before;
        return;
    end if;
    span := least(week, interval '5 minutes' * (20000000 / 36 / policies));
    for known in
        with recursive each as (
            (select namespace, policy from predictions_before order by namespace, policy limit 1)
            union all
            select following.namespace, following.policy from each cross join lateral (
                select namespace, policy from predictions_before
                where (namespace, policy) > (each.namespace, each.policy)
                order by namespace, policy limit 1) as following)
        select namespace, policy from each
    loop
        select max(created_at) into newest from predictions_before
        where namespace = known.namespace and policy = known.policy;
        last := newest;
        while last is not null and last > newest - span loop
            insert into predictions (created_at, target_time, p10, p50, p80, p90, p95, source, service_name, namespace,
                policy, model_name, model_version)
            select created_at, target_time,
                pg_temp.as_real(p10), pg_temp.as_real(p50), pg_temp.as_real(p80), pg_temp.as_real(p90),
                pg_temp.as_real(p95),
                'FreshForecast', service_name, namespace, policy, model_name, model_version
            from predictions_before
            where namespace = known.namespace and policy = known.policy and created_at = last;
            select created_at into last from predictions_before
            where namespace = known.namespace and policy = known.policy
                and created_at < date_bin('5 minutes', last, 'epoch')
            order by created_at desc limit 1;
        end loop;
    end loop;
    drop table predictions_before;
end
$migration$;
