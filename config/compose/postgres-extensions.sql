-- Runs once, when docker-compose.yml creates the database: the statements' statistics that the runbook reads.
create extension if not exists pg_stat_statements;
