-- The queue can be held, paused and put off, and is leased by turns of agents.
alter table deliveries add column domain text collate "C" not null default '';
alter table deliveries add column held_at bigint;
alter table deliveries add column mark text collate "C" not null default '';

-- What stands after the last @: letters that are no @ are trimmed from the end, and what is left is cut off.
update deliveries set domain = substr(address, length(rtrim(address, replace(address, '@', ''))) + 1);

drop index deliveries_due;
create index deliveries_due on deliveries (agent_id, due_at) where state = 'queued' and held_at is null;
create index deliveries_by_domain on deliveries (domain, due_at) where state = 'queued';

-- Mail that waits until it is resumed: an owner's, to a domain or to all. `scope` and its ids are those of
-- suppressions. Written by people; goes when they resume.
create table pauses (
    scope bytea not null,
    domain text collate "C" not null,
    tenant_id bytea references tenants (id) on delete cascade,
    agent_id bytea references agents (id) on delete cascade,
    note text collate "C" not null,
    created_at bigint not null,
    primary key (scope, domain)
);
