-- The queue can be held, paused and put off, and is leased by turns of agents.
alter table deliveries add column domain text not null default '';
alter table deliveries add column held_at bigint;
alter table deliveries add column mark text not null default '';

-- What stands after the last @: letters that are no @ are trimmed from the end, and what is left is cut off.
update deliveries set domain = substr(address, length(rtrim(address, replace(address, '@', ''))) + 1);

drop index deliveries_due;
create index deliveries_due on deliveries (agent_id, due_at) where state = 'queued' and held_at is null;
create index deliveries_by_domain on deliveries (domain, due_at) where state = 'queued';

-- Mail that waits until it is resumed: an owner's, to a domain or to all. `scope` and its ids are those of
-- suppressions. Written by people; goes when they resume.
create table pauses (
    scope blob not null,
    domain text not null,
    tenant_id blob references tenants (id) on delete cascade,
    agent_id blob references agents (id) on delete cascade,
    note text not null,
    created_at bigint not null,
    primary key (scope, domain)
) without rowid;
