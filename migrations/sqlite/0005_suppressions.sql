-- Suppressions get scopes beyond one agent, domains, actions and a history.
alter table suppressions rename to suppressions_of_agents;

-- An address or domain that is left alone by an agent, a tenant (no agent) or the installation (neither). `scope` is the
-- id of the narrowest of these, or empty. Written by bounces, complaints, readers and people; goes when it expires.
create table suppressions (
    target text not null,
    scope blob not null,
    tenant_id blob references tenants (id) on delete cascade,
    agent_id blob references agents (id) on delete cascade,
    kind text not null,
    action text not null,
    reason text not null,
    note text not null,
    created_at bigint not null,
    expires_at bigint,
    primary key (target, scope)
) without rowid;

insert into suppressions (target, scope, tenant_id, agent_id, kind, action, reason, note, created_at, expires_at)
select address, agent_id, tenant_id, agent_id, 'address', 'suppress', reason, '', created_at, expires_at
from suppressions_of_agents;

drop table suppressions_of_agents;

create index suppressions_by_scope on suppressions (scope, target);
create index suppressions_by_tenant on suppressions (tenant_id, target, scope);

-- What was done to suppressions, by whom and why. Written with each change; goes by retention.
create table suppression_history (
    target text not null,
    scope blob not null,
    at bigint not null,
    change text not null,
    action text not null,
    reason text not null,
    note text not null,
    actor text not null,
    expires_at bigint,
    primary key (target, scope, at, change)
) without rowid;

create index suppression_history_by_age on suppression_history (at);
