-- Series whose values are totals: their demand is the rate, computed from the last total of each minute.
alter table series add column is_counter boolean not null default false;
create index series_counters on series (service_name, metric_name) where is_counter;
