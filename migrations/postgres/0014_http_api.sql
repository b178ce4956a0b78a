-- What may be set on a tenant, as JSON: its limits.
alter table tenants add column settings text collate "C" not null default '{}';
alter table tenants add column updated_at bigint not null default 0;
update tenants set updated_at = created_at;

-- An answer that is kept, so that the same request again is answered again instead of being carried out again. Written
-- with what the request did; goes after a day.
create table kept_answers (
    agent_id bytea not null,
    key bytea not null,
    fingerprint bytea not null,
    status bigint not null,
    location text collate "C" not null,
    body text collate "C" not null,
    kept_until bigint not null,
    written_at bigint not null,
    primary key (agent_id, key)
);

create index kept_answers_by_end on kept_answers (kept_until);

-- How often something happened on a day of UTC: one writer's share of it. Written with what is counted; goes by retention.
create table statistics (
    tenant_id bytea not null,
    day bigint not null,
    agent_id bytea not null,
    what text collate "C" not null,
    share bigint not null,
    total bigint not null,
    primary key (tenant_id, day, agent_id, what, share)
);

-- A tenant's events in their order, for those who fetch them.
create index events_by_tenant on events (tenant_id, id, kind_bit);
