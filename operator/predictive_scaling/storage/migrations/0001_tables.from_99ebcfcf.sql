-- Development versions before 0.1.0 had another order of columns in this index, and no outcomes.
drop index predictions_by_target_time;
create index predictions_by_target_time on predictions (namespace, policy, target_time, created_at desc);
create index predictions_by_service on predictions (service_name, target_time);
alter table scaling_decisions add column outcome text;
