-- Which occurrences took place: those that were still in their BusinessEvent when they were over. The others are planned.
alter table business_events add column confirmed_at timestamptz;
-- Nobody knows any more which of the past ones were moved or deleted beforehand: they stay.
update business_events set confirmed_at = greatest(updated_at, end_time) where end_time <= now();

-- When each BusinessEvent takes place, as a fingerprint, and since when it does: an edit does not change the past.
create table business_event_schedules (
    namespace text not null,
    name text not null,
    schedule text not null,
    since timestamptz,
    primary key (namespace, name)
);
