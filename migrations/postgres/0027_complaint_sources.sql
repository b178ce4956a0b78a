-- Whether who handed a report in is believed about whose mail it was.
alter table reports add column is_vouched boolean not null default false;
