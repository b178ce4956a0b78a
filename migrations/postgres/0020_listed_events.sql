-- The time under which an event is listed: when it was written, or when webhooks may hear of it, if that is later.
alter table events add column listed_at bigint not null default 0;

-- In the engine's own words: older events have the time that their ids begin with, so that whoever holds such an id goes
-- on from there as before; what a node of the release before still writes has the time of that.
alter table events
    alter column listed_at type bigint using ('x' || encode(substring(id from 1 for 6), 'hex'))::bit(48)::bigint,
    alter column listed_at set default (extract(epoch from clock_timestamp()) * 1000)::bigint;

create index events_listed on events (tenant_id, listed_at, id, kind_bit);
drop index events_by_tenant;
create index events_by_tenant on events (tenant_id, id);
