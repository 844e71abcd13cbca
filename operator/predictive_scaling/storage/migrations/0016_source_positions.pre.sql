-- What `ingest` has read of each query of a pull source: all of [span_start, span_end) except `missing`.
create table source_positions (
    source text not null,
    -- The identity of the query, its server and its series: a changed query is read from the beginning.
    query text not null,
    metric_name text not null,
    -- Null where the rows of the query name their services.
    service_name text,
    span_start timestamptz not null,
    span_end timestamptz not null,
    missing tstzmultirange not null,
    succeeded_at timestamptz,
    failing_since timestamptz,
    error text,
    updated_at timestamptz not null,
    primary key (source, query)
);
