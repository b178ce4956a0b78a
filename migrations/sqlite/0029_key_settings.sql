-- What may be set on a credential: a JSON object, in which nothing that is not said is so.
alter table credentials add column settings text not null default '{}';
