-- By whose clocks and public holidays a policy's demand goes: the trainer learns by them.
alter table policies add column timezone text;
alter table policies add column holidays text;
