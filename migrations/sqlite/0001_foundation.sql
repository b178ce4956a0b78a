-- A tenant is a customer of the installation. Written by administrators; goes when one removes it.
create table tenants (
    id blob not null primary key,
    slug text not null unique,
    name text not null,
    created_at bigint not null
) without rowid;

-- A mail agent is the unit of isolation inside a tenant. Goes with its tenant.
create table agents (
    id blob not null primary key,
    tenant_id blob not null references tenants (id) on delete cascade,
    key text not null unique,
    name text not null,
    settings text not null,
    created_at bigint not null,
    unique (tenant_id, name)
) without rowid;

-- A domain that an agent may send from. Goes with its agent.
create table domains (
    agent_id blob not null references agents (id) on delete cascade,
    name text not null,
    created_at bigint not null,
    primary key (agent_id, name)
) without rowid;

-- An API key or SMTP password; only the digest of its secret is kept. Goes when revoked.
create table credentials (
    id blob not null primary key,
    tenant_id blob not null references tenants (id) on delete cascade,
    agent_id blob not null references agents (id) on delete cascade,
    kind text not null,
    name text not null,
    digest blob not null unique,
    created_at bigint not null
) without rowid;

-- A subscription to events. Goes when its owner deletes it.
create table webhooks (
    id blob not null primary key,
    tenant_id blob not null references tenants (id) on delete cascade,
    agent_id blob references agents (id) on delete cascade,
    url text not null,
    description text not null,
    format text not null,
    events bigint not null,
    hits text not null,
    relay bigint not null,
    switch text not null,
    secret text not null,
    form_field text not null,
    headers text not null,
    keeps_timestamp boolean not null,
    created_at bigint not null,
    updated_at bigint not null
) without rowid;

create index webhooks_by_tenant on webhooks (tenant_id, id);

-- A secret that tokens are sealed with. Written on first start and by rotation; never goes by itself.
create table token_keys (
    id bigint not null primary key,
    secret blob not null,
    created_at bigint not null
);

-- An accepted submission. Written by acceptance; goes by retention when all its deliveries have ended.
create table messages (
    id blob not null primary key,
    tenant_id blob not null,
    agent_id blob not null,
    agent_key text not null,
    source text not null,
    accepted_at bigint not null,
    size_bytes bigint not null,
    facts text not null
) without rowid;

create index messages_by_tenant on messages (tenant_id, id);

-- What was handed in: the mail itself, or the name of the file that holds it. Goes before its message.
create table contents (
    message_id blob not null primary key,
    body blob,
    file text
);

-- One recipient's copy of a message and its fate; the queue. Written by acceptance, leases and settlements.
create table deliveries (
    message_id blob not null,
    recipient bigint not null,
    tenant_id blob not null,
    agent_id blob not null,
    address text not null,
    state text not null,
    due_at bigint,
    lease text,
    attempts bigint not null,
    accepted_at bigint not null,
    expires_at bigint not null,
    settled_at bigint,
    reason text,
    primary key (message_id, recipient)
) without rowid;

create index deliveries_due on deliveries (due_at) where state = 'queued';

-- One attempt at a delivery, with its dialogue. Written by settlements; goes with its message.
create table attempts (
    message_id blob not null,
    recipient bigint not null,
    number bigint not null,
    started_at bigint not null,
    ended_at bigint not null,
    route text not null,
    peer text not null,
    tls text not null,
    outcome text not null,
    code bigint,
    diagnostic text not null,
    rule text not null,
    dialogue text not null,
    primary key (message_id, recipient, number)
) without rowid;

-- Something that happened to a delivery. Written once, in the transaction of the change it tells of.
create table events (
    id blob not null primary key,
    message_id blob not null,
    recipient bigint not null,
    tenant_id blob not null,
    agent_id blob not null,
    kind text not null,
    kind_bit bigint not null,
    ordinal bigint not null,
    at bigint not null,
    address text not null,
    detail text not null,
    relay bigint not null,
    relay_at bigint not null,
    is_test boolean not null,
    unique (message_id, recipient, kind, ordinal)
) without rowid;

-- One event owed to one webhook, and its fate; the other queue. Goes with its webhook or by retention.
create table dispatches (
    event_id blob not null,
    webhook_id blob not null,
    state text not null,
    due_at bigint,
    lease text,
    attempts bigint not null,
    created_at bigint not null,
    settled_at bigint,
    last_status bigint,
    last_error text,
    primary key (event_id, webhook_id)
) without rowid;

create index dispatches_due on dispatches (due_at) where state = 'queued';
create index dispatches_by_webhook on dispatches (webhook_id, event_id);

-- One request for a pixel or a tracked link. Goes by retention.
create table hits (
    id blob not null primary key,
    message_id blob not null,
    recipient bigint not null,
    kind text not null,
    link bigint not null,
    target text not null,
    at bigint not null,
    verdict text not null,
    visitor text not null
) without rowid;

create index hits_by_delivery on hits (message_id, recipient, id);

-- That a recipient has opened, or followed a link, for the first time: by anyone who is no scanner, and by a person.
create table firsts (
    message_id blob not null,
    recipient bigint not null,
    kind text not null,
    link bigint not null,
    who text not null,
    hit_id blob not null,
    primary key (message_id, recipient, kind, link, who)
) without rowid;

-- An address that an agent leaves alone. Written by bounces, complaints and people; goes when it expires.
create table suppressions (
    agent_id blob not null references agents (id) on delete cascade,
    address text not null,
    tenant_id blob not null,
    reason text not null,
    created_at bigint not null,
    expires_at bigint,
    primary key (agent_id, address)
) without rowid;

-- Mail that came to us about our mail, kept for people to see: reports, and what postmaster gets. Goes by retention.
create table reports (
    id blob not null primary key,
    message_id blob,
    recipient bigint,
    kind text not null,
    received_at bigint not null,
    sender text not null,
    outcome text not null,
    content blob not null
) without rowid;
