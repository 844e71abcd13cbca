-- Chunks of time. With TimescaleDB the tables become hypertables, and drop_chunks is TimescaleDB's. Without it they are
-- PostgreSQL's own partitions, and this file brings functions of the same names and shapes.
--
-- The branch with TimescaleDB has been run on no server of this project's tests, which have no such extension.

create function chunk_width(relation regclass) returns interval
language sql immutable as $$
    -- A day of samples, a week of rollups: about as many rows, and few enough chunks in 400 days.
    select case split_part(relation::text, '.', -1)
        when 'metrics_raw' then interval '1 day'
        when 'metrics_1m' then interval '7 days'
    end
$$;

do $migration$
begin
    if not exists (select from pg_available_extensions where name = 'timescaledb') then
        return;
    end if;
    create extension if not exists timescaledb;
    -- A hypertable cannot be made of a partitioned table.
    create table plain_raw (like metrics_raw including all);
    create table plain_1m (like metrics_1m including all);
    drop table metrics_raw;
    drop table metrics_1m;
    alter table plain_raw rename to metrics_raw;
    alter table plain_1m rename to metrics_1m;
    perform create_hypertable('metrics_raw', 'time', chunk_time_interval => interval '1 day',
        create_default_indexes => false);
    perform create_hypertable('metrics_1m', 'minute', chunk_time_interval => interval '7 days',
        create_default_indexes => false);
exception
    -- There, but not preloaded or not ours to create: the block is undone and PostgreSQL's own partitions serve.
    when insufficient_privilege or feature_not_supported or object_not_in_prerequisite_state or config_file_error then
        raise notice 'timescaledb is available but cannot be used (%), native partitions serve instead', sqlerrm;
end
$migration$;

do $migration$
begin
    if exists (select from pg_extension where extname = 'timescaledb') then
        -- TimescaleDB makes chunks by itself.
        create function create_partitions(relation regclass, days date[]) returns integer
        language sql as $$ select 0 $$;
        return;
    end if;

    create function create_partitions(relation regclass, days date[]) returns integer
    language plpgsql as $$
    -- Makes the partitions that hold these days (UTC) and are missing; says how many it made. There is no default
    -- partition: one would take rows in silently, and keep them from their place for ever.
    declare
        width interval := chunk_width(relation);
        parent name := (select relname from pg_class where oid = relation);
        space name := (select nspname from pg_class join pg_namespace n on n.oid = relnamespace where pg_class.oid = relation);
        start timestamptz;
        chunk text;
        made integer := 0;
    begin
        for start in
            -- Weeks are counted from a Monday.
            select distinct date_bin(width, day::timestamp at time zone 'UTC', timestamptz '2001-01-01 00:00:00+00')
            from unnest(days) as day order by 1
        loop
            chunk := parent || '_' || to_char(start at time zone 'UTC', 'YYYYMMDD');
            continue when to_regclass(format('%I.%I', space, chunk)) is not null;
            -- One at a time; whoever waited looks again. The table's lock and no other: with it the server takes note of
            -- what others made meanwhile. It lets readers and writers pass.
            execute format('lock table only %s in share update exclusive mode', relation);
            continue when to_regclass(format('%I.%I', space, chunk)) is not null;
            -- Made beside the table and attached to it: readers and writers of other partitions go on.
            execute format('create table %I.%I (like %s including all)', space, chunk, relation);
            execute format('alter table %s attach partition %I.%I for values from (%L) to (%L)',
                relation, space, chunk, start, start + width);
            made := made + 1;
        end loop;
        return made;
    end
    $$;

    create function drop_chunks(relation regclass, older_than timestamptz) returns setof text
    language plpgsql as $$
    -- Drops the partitions that hold nothing from older_than on; their names, as TimescaleDB's function gives them.
    declare
        chunk regclass;
    begin
        if chunk_width(relation) is null then
            raise exception '% is not kept in chunks', relation using errcode = 'wrong_object_type';
        end if;
        for chunk in
            select inhrelid::regclass from pg_inherits join pg_class on pg_class.oid = inhrelid
            where inhparent = relation
                -- A plan may look at this before the parent, and so at the names of others, such as indexes.
                and case when relname ~ '_[0-9]{8}$' then
                    to_timestamp(right(relname, 8), 'YYYYMMDD')::timestamp at time zone 'UTC' + chunk_width(relation)
                end <= older_than
            order by relname
        loop
            return next (select format('%I.%I', nspname, relname) from pg_class
                join pg_namespace n on n.oid = relnamespace where pg_class.oid = chunk);
            execute format('drop table %s', chunk);
        end loop;
    end
    $$;

    create function drop_chunks(relation regclass, older_than interval) returns setof text
    language sql as $$
        -- For people: `select drop_chunks('metrics_raw', older_than => interval '30 days')`. The program gives a time.
        select drop_chunks(relation, now() - older_than)
    $$;
end
$migration$;
