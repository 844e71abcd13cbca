-- Why a decision failed or was rolled back, in one word such as Quota; null for other decisions and for earlier ones.
alter table scaling_decisions add column cause text;
