-- A policy that cannot be read has a row as well: its conditions say what is wrong, and the rest is not known.
alter table policies
    alter column service_name drop not null,
    alter column metric_name drop not null,
    alter column aggregation drop not null,
    alter column mode drop not null,
    alter column target drop not null,
    alter column min_replicas drop not null,
    alter column max_replicas drop not null;
