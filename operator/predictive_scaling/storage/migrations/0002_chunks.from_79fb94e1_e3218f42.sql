-- Development versions before 0.1.0 created these functions with other locks, and read the names of indexes as times.

do $migration$
begin
    if exists (select from pg_extension where extname = 'timescaledb') then
        return;
    end if;

    create or replace function create_partitions(relation regclass, days date[]) returns integer
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

    create or replace function drop_chunks(relation regclass, older_than timestamptz) returns setof text
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
end
$migration$;
