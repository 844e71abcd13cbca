-- What was learned about the target of a policy, as in the status.
alter table policies add column learned jsonb;
