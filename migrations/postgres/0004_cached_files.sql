-- A file that mails name by its key. Written by an upload; goes when its owner deletes it, or with its agent.
create table cached_files (
    id bytea not null primary key,
    tenant_id bytea not null references tenants (id) on delete cascade,
    agent_id bytea not null references agents (id) on delete cascade,
    name text collate "C" not null,
    content_type text collate "C" not null,
    size_bytes bigint not null,
    body bytea,
    file text collate "C",
    created_at bigint not null
);

create index cached_files_by_agent on cached_files (agent_id, id);
