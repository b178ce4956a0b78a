-- A mail that is kept ready under a name, in its newest version. Goes when its owner deletes it, or with its agent.
create table templates (
    id blob not null primary key,
    tenant_id blob not null references tenants (id) on delete cascade,
    agent_id blob not null references agents (id) on delete cascade,
    name text not null,
    title text not null,
    version bigint not null,
    created_at bigint not null,
    updated_at bigint not null,
    unique (agent_id, name)
) without rowid;

-- The texts of one version of a template. Written by each change; old ones go when there are many, all with it.
create table template_versions (
    template_id blob not null references templates (id) on delete cascade,
    version bigint not null,
    subject text not null,
    html text,
    plain text,
    created_at bigint not null,
    primary key (template_id, version)
);
