-- Development versions before 0.1.0 had no outcomes.
alter table scaling_decisions add column outcome text;
