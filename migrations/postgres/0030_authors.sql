-- Who made a thing, and who changed it last: the address of a person, or the id of a key. Empty where that is not known, or
-- the command line did it.
alter table tenants add column created_by text not null default '';
alter table tenants add column updated_by text not null default '';
alter table agents add column updated_at bigint;
alter table agents add column created_by text not null default '';
alter table agents add column updated_by text not null default '';
alter table credentials add column created_by text not null default '';
alter table claimed_domains add column created_by text not null default '';
alter table template_versions add column created_by text not null default '';
alter table templates add column created_by text not null default '';
alter table webhooks add column created_by text not null default '';
alter table webhooks add column updated_by text not null default '';
alter table tracking_hosts add column created_by text not null default '';
alter table suppressions add column created_by text not null default '';
