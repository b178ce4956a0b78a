-- A revoked key opens nothing any more; its row stays, without its secret, so that its id is not taken again soon.
alter table token_keys add column revoked_at bigint;

-- What hits add up to, by agent, day (counted from 1970, UTC), kind and verdict. Written with the hits; says nothing
-- about any one reader. Goes by retention.
create table hit_counts (
    agent_id blob not null,
    tenant_id blob not null,
    day bigint not null,
    kind text not null,
    verdict text not null,
    hits bigint not null,
    firsts bigint not null,
    firsts_by_person bigint not null,
    primary key (agent_id, day, kind, verdict)
) without rowid;

create index hit_counts_by_tenant on hit_counts (tenant_id, day);

-- A host under which the links of one sending domain lead through us. Written by administrators, and by the check
-- that must pass before mail is rewritten for it. Goes with its agent.
create table tracking_hosts (
    host text not null primary key,
    tenant_id blob not null references tenants (id) on delete cascade,
    agent_id blob not null references agents (id) on delete cascade,
    domain text not null,
    apple_links text not null,
    android_links text not null,
    checked_at bigint,
    fault text not null,
    created_at bigint not null,
    unique (agent_id, domain)
) without rowid;

-- A message, mail agent or target host whose links lead nowhere any more. Written by administrators.
create table link_blocks (
    kind text not null,
    value text not null,
    created_at bigint not null,
    primary key (kind, value)
) without rowid;
