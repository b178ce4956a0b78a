-- The time under which an event is listed: when it was written, or when webhooks may hear of it, if that is later.
alter table events add column listed_at bigint not null default 0;

-- In the engine's own words: older events have the time that their ids begin with, so that whoever holds such an id goes
-- on from there as before.
update events set listed_at =
    instr('123456789ABCDEF', substr(hex(id), 1, 1)) * 17592186044416
    + instr('123456789ABCDEF', substr(hex(id), 2, 1)) * 1099511627776
    + instr('123456789ABCDEF', substr(hex(id), 3, 1)) * 68719476736
    + instr('123456789ABCDEF', substr(hex(id), 4, 1)) * 4294967296
    + instr('123456789ABCDEF', substr(hex(id), 5, 1)) * 268435456
    + instr('123456789ABCDEF', substr(hex(id), 6, 1)) * 16777216
    + instr('123456789ABCDEF', substr(hex(id), 7, 1)) * 1048576
    + instr('123456789ABCDEF', substr(hex(id), 8, 1)) * 65536
    + instr('123456789ABCDEF', substr(hex(id), 9, 1)) * 4096
    + instr('123456789ABCDEF', substr(hex(id), 10, 1)) * 256
    + instr('123456789ABCDEF', substr(hex(id), 11, 1)) * 16
    + instr('123456789ABCDEF', substr(hex(id), 12, 1)) * 1;

create index events_listed on events (tenant_id, listed_at, id, kind_bit);
drop index events_by_tenant;
create index events_by_tenant on events (tenant_id, id);
