-- A copy of the ScalingBacktests, so that the HTTP API works without the cluster.
create table backtests (
    uid text primary key,
    namespace text not null,
    name text not null,
    policy text,
    created_at timestamptz not null,
    phase text not null,
    input_hash text,
    status jsonb not null
);
create index backtests_by_name on backtests (namespace, name, uid);
create index backtests_by_input_hash on backtests (input_hash);

-- The result of each input once: the policy, the events, the demand and the options.
create table backtest_results (
    input_hash text primary key,
    created_at timestamptz not null,
    result jsonb not null,
    report bytea not null
);
create index backtest_results_by_created_at on backtest_results (created_at);
