-- A domain that a tenant says it sends from. Written by its owner; goes when that one removes it. The mail agents that may
-- send from it stand in `domains`, once it has been shown to be the tenant's; until then they wait in `agents`.
create table claimed_domains (
    tenant_id bytea not null references tenants (id) on delete cascade,
    name text collate "C" not null,
    bounce_prefix text collate "C" not null,
    agents text collate "C" not null,
    created_at bigint not null,
    verified_at bigint,
    primary key (tenant_id, name)
);
