-- A file that mails name by its key. Written by an upload; goes when its owner deletes it, or with its agent.
create table cached_files (
    id blob not null primary key,
    tenant_id blob not null references tenants (id) on delete cascade,
    agent_id blob not null references agents (id) on delete cascade,
    name text not null,
    content_type text not null,
    size_bytes bigint not null,
    body blob,
    file text,
    created_at bigint not null
);

create index cached_files_by_agent on cached_files (agent_id, id);
