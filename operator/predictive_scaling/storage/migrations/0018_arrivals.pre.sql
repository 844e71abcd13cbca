-- How long samples take from their time to the database: their lateness, and the clocks of their senders.
create table sample_arrivals (
    service_name text not null,
    metric_name text not null,
    hour timestamptz not null,
    samples bigint not null,
    late bigint not null,
    min_delay_seconds double precision not null,
    primary key (service_name, metric_name, hour)
);
create index sample_arrivals_by_hour on sample_arrivals (hour);
