-- A tenant is a customer of the installation. Written by administrators; goes when one removes it.
create table tenants (
    id bytea not null primary key,
    slug text collate "C" not null unique,
    name text collate "C" not null,
    created_at bigint not null
);

-- A mail agent is the unit of isolation inside a tenant. Goes with its tenant.
create table agents (
    id bytea not null primary key,
    tenant_id bytea not null references tenants (id) on delete cascade,
    key text collate "C" not null unique,
    name text collate "C" not null,
    settings text collate "C" not null,
    created_at bigint not null,
    unique (tenant_id, name)
);

-- A domain that an agent may send from. Goes with its agent.
create table domains (
    agent_id bytea not null references agents (id) on delete cascade,
    name text collate "C" not null,
    created_at bigint not null,
    primary key (agent_id, name)
);

-- An API key or SMTP password; only the digest of its secret is kept. Goes when revoked.
create table credentials (
    id bytea not null primary key,
    tenant_id bytea not null references tenants (id) on delete cascade,
    agent_id bytea not null references agents (id) on delete cascade,
    kind text collate "C" not null,
    name text collate "C" not null,
    digest bytea not null unique,
    created_at bigint not null
);

-- A subscription to events. Goes when its owner deletes it.
create table webhooks (
    id bytea not null primary key,
    tenant_id bytea not null references tenants (id) on delete cascade,
    agent_id bytea references agents (id) on delete cascade,
    url text collate "C" not null,
    description text collate "C" not null,
    format text collate "C" not null,
    events bigint not null,
    hits text collate "C" not null,
    relay bigint not null,
    switch text collate "C" not null,
    secret text collate "C" not null,
    form_field text collate "C" not null,
    headers text collate "C" not null,
    keeps_timestamp boolean not null,
    created_at bigint not null,
    updated_at bigint not null
);

create index webhooks_by_tenant on webhooks (tenant_id, id);

-- A secret that tokens are sealed with. Written on first start and by rotation; never goes by itself.
create table token_keys (
    id bigint not null primary key,
    secret bytea not null,
    created_at bigint not null
);

-- An accepted submission. Written by acceptance; goes by retention when all its deliveries have ended.
create table messages (
    id bytea not null primary key,
    tenant_id bytea not null,
    agent_id bytea not null,
    agent_key text collate "C" not null,
    source text collate "C" not null,
    accepted_at bigint not null,
    size_bytes bigint not null,
    facts text collate "C" not null
);

create index messages_by_tenant on messages (tenant_id, id);

-- What was handed in: the mail itself, or the name of the file that holds it. Goes before its message.
create table contents (
    message_id bytea not null primary key,
    body bytea,
    file text collate "C"
);

-- One recipient's copy of a message and its fate; the queue. Written by acceptance, leases and settlements.
create table deliveries (
    message_id bytea not null,
    recipient bigint not null,
    tenant_id bytea not null,
    agent_id bytea not null,
    address text collate "C" not null,
    state text collate "C" not null,
    due_at bigint,
    lease text collate "C",
    attempts bigint not null,
    accepted_at bigint not null,
    expires_at bigint not null,
    settled_at bigint,
    reason text collate "C",
    primary key (message_id, recipient)
);

create index deliveries_due on deliveries (due_at) where state = 'queued';

-- One attempt at a delivery, with its dialogue. Written by settlements; goes with its message.
create table attempts (
    message_id bytea not null,
    recipient bigint not null,
    number bigint not null,
    started_at bigint not null,
    ended_at bigint not null,
    route text collate "C" not null,
    peer text collate "C" not null,
    tls text collate "C" not null,
    outcome text collate "C" not null,
    code bigint,
    diagnostic text collate "C" not null,
    rule text collate "C" not null,
    dialogue text collate "C" not null,
    primary key (message_id, recipient, number)
);

-- Something that happened to a delivery. Written once, in the transaction of the change it tells of.
create table events (
    id bytea not null primary key,
    message_id bytea not null,
    recipient bigint not null,
    tenant_id bytea not null,
    agent_id bytea not null,
    kind text collate "C" not null,
    kind_bit bigint not null,
    ordinal bigint not null,
    at bigint not null,
    address text collate "C" not null,
    detail text collate "C" not null,
    relay bigint not null,
    relay_at bigint not null,
    is_test boolean not null,
    unique (message_id, recipient, kind, ordinal)
);

-- One event owed to one webhook, and its fate; the other queue. Goes with its webhook or by retention.
create table dispatches (
    event_id bytea not null,
    webhook_id bytea not null,
    state text collate "C" not null,
    due_at bigint,
    lease text collate "C",
    attempts bigint not null,
    created_at bigint not null,
    settled_at bigint,
    last_status bigint,
    last_error text collate "C",
    primary key (event_id, webhook_id)
);

create index dispatches_due on dispatches (due_at) where state = 'queued';
create index dispatches_by_webhook on dispatches (webhook_id, event_id);

-- One request for a pixel or a tracked link. Goes by retention.
create table hits (
    id bytea not null primary key,
    message_id bytea not null,
    recipient bigint not null,
    kind text collate "C" not null,
    link bigint not null,
    target text collate "C" not null,
    at bigint not null,
    verdict text collate "C" not null,
    visitor text collate "C" not null
);

create index hits_by_delivery on hits (message_id, recipient, id);

-- That a recipient has opened, or followed a link, for the first time: by anyone who is no scanner, and by a person.
create table firsts (
    message_id bytea not null,
    recipient bigint not null,
    kind text collate "C" not null,
    link bigint not null,
    who text collate "C" not null,
    hit_id bytea not null,
    primary key (message_id, recipient, kind, link, who)
);

-- An address that an agent leaves alone. Written by bounces, complaints and people; goes when it expires.
create table suppressions (
    agent_id bytea not null references agents (id) on delete cascade,
    address text collate "C" not null,
    tenant_id bytea not null,
    reason text collate "C" not null,
    created_at bigint not null,
    expires_at bigint,
    primary key (agent_id, address)
);

-- Mail that came to us about our mail, kept for people to see: reports, and what postmaster gets. Goes by retention.
create table reports (
    id bytea not null primary key,
    message_id bytea,
    recipient bigint,
    kind text collate "C" not null,
    received_at bigint not null,
    sender text collate "C" not null,
    outcome text collate "C" not null,
    content bytea not null
);
