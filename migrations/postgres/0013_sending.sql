-- A key that signs for a domain of a tenant; its private half is sealed. Written by people and by the look for its
-- record; goes a week after it was retired, or with its tenant.
create table signing_keys (
    tenant_id bytea not null references tenants (id) on delete cascade,
    domain text collate "C" not null,
    selector text collate "C" not null,
    algorithm text collate "C" not null,
    state text collate "C" not null,
    public_key text collate "C" not null,
    sealed_key text collate "C" not null,
    created_at bigint not null,
    state_since bigint not null,
    primary key (tenant_id, domain, selector)
);

create index signing_keys_waiting on signing_keys (state_since) where state = 'waiting';

-- What a domain wants of those who send it mail, as it was fetched (RFC 8461). Written by delivery; void when it expired.
create table sts_policies (
    domain text collate "C" not null primary key,
    policy_id text collate "C" not null,
    policy text collate "C" not null,
    expires_at bigint not null
);
