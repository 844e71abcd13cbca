-- What retention deletes in batches is found by an index, and chunks are dropped one at a time.
create index ingest_history_by_minute on ingest_history (minute);
create index commands_by_created_at on commands (created_at);
create index business_events_by_end_time on business_events (end_time);
create index series_by_last_day on series (last_day);
create index series_by_service on series (service_name, last_day);

do $migration$
begin
    if exists (select from pg_extension where extname = 'timescaledb') then
        create function oldest_chunk_end(relation regclass) returns timestamptz
        language sql stable as $$
            select min(range_end) from timescaledb_information.chunks
            where format('%I.%I', hypertable_schema, hypertable_name)::regclass = relation
        $$;
        return;
    end if;
    create function oldest_chunk_end(relation regclass) returns timestamptz
    language sql stable as $$
        -- The end of the oldest chunk; null where there is none. `drop_chunks(relation, this)` drops that one alone.
        select min(case when relname ~ '_[0-9]{8}$' then
            to_timestamp(right(relname, 8), 'YYYYMMDD')::timestamp at time zone 'UTC' + chunk_width(relation) end)
        from pg_inherits join pg_class on pg_class.oid = inhrelid where inhparent = relation
    $$;
end
$migration$;
