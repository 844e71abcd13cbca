-- What the leading operator shows as external metrics, for the replicas that stand by: every one of them is an endpoint.
create table external_readings (
    namespace text not null,
    policy text not null,
    service_name text not null,
    demand double precision,
    demand_at timestamptz,
    demand_until timestamptz,
    forecast double precision,
    forecast_at timestamptz,
    forecast_until timestamptz,
    primary key (namespace, policy)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
