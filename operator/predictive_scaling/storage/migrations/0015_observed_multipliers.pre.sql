-- The multiplier of demand that was observed during an occurrence with a declared multiplier, and the comparison of both:
-- AsDeclared, MultiplierTooLow or MultiplierTooHigh; null while unknown.
alter table business_events
    add column observed_multiplier double precision,
    add column multiplier_verdict text;
