-- Pages are read in the order of an index, whatever they are filtered by, without the rows that they leave out.
create index scaling_decisions_by_namespace on scaling_decisions (namespace, created_at desc, id desc);
create index scaling_decisions_by_status on scaling_decisions (status, created_at desc, id desc);
create index current_predictions_by_service on current_predictions (service_name, namespace, policy);
create index business_events_planned on business_events (namespace, name) where confirmed_at is null;
