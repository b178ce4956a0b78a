-- Webhooks: options, tags, a secret in rotation. Secrets and headers are sealed with the master key from now on; the
-- program seals those that are not when it starts. A switch may also say `draft`: only to be tested, seen by nobody.
alter table webhooks add column options text collate "C" not null default '{}';
alter table webhooks add column tags text collate "C" not null default '';
alter table webhooks add column client_key text collate "C" not null default '';
alter table webhooks add column old_secret text collate "C" not null default '';
alter table webhooks add column old_secret_until bigint;
alter table webhooks add column old_secret_signs boolean not null default false;

create index webhooks_tagged on webhooks (tenant_id) where tags <> '';

-- How a webhook fares that fails, or did a moment ago. Written by settlements; goes when it is well, or with it.
create table webhook_health (
    webhook_id bytea not null primary key references webhooks (id) on delete cascade,
    score bigint not null,
    failing_since bigint,
    failures bigint not null,
    exhausted bigint not null,
    pauses bigint not null,
    paused_until bigint,
    is_warned boolean not null,
    last_failure_at bigint,
    last_error text collate "C" not null
);

-- Dispatches stand in lanes, and in one line a webhook, so that nobody's backlog is gone through to find another's.
alter table dispatches add column lane text collate "C" not null default 'fresh';
alter table dispatches add column attempts_before bigint not null default 0;
update dispatches set lane = 'retry' where attempts > 0;
drop index dispatches_due;
create index dispatches_due on dispatches (lane, webhook_id, due_at) where state = 'queued';
create index dispatches_exhausted on dispatches (webhook_id, event_id) where state = 'exhausted';

-- One attempt at a dispatch, with what was answered. Written by settlements; goes after 14 days, or with its dispatch.
create table dispatch_attempts (
    event_id bytea not null,
    webhook_id bytea not null,
    number bigint not null,
    started_at bigint not null,
    status bigint,
    error text collate "C",
    next_at bigint,
    trace text collate "C" not null,
    primary key (event_id, webhook_id, number)
);

create index dispatch_attempts_by_webhook on dispatch_attempts (webhook_id, started_at, event_id);
create index dispatch_attempts_failed on dispatch_attempts (webhook_id, started_at, event_id) where error is not null;

-- The message of a test event, which nobody sent. Written with the event; goes after 14 days.
create table samples (
    id bytea not null primary key,
    tenant_id bytea not null,
    agent_id bytea not null,
    agent_key text collate "C" not null,
    source text collate "C" not null,
    accepted_at bigint not null,
    size_bytes bigint not null,
    facts text collate "C" not null
);

-- Events to be told again to a webhook, a bite at a time. Written by its owner and by the bites; goes with the webhook,
-- or 14 days after its end.
create table replays (
    id bytea not null primary key,
    webhook_id bytea not null references webhooks (id) on delete cascade,
    tenant_id bytea not null,
    filter text collate "C" not null,
    per_second bigint not null,
    state text collate "C" not null,
    due_at bigint,
    cursor bytea not null,
    seen bigint not null,
    queued bigint not null,
    created_at bigint not null,
    ended_at bigint
);

create index replays_by_webhook on replays (webhook_id, id);
create index replays_due on replays (due_at) where state = 'running';

-- A notice about a webhook that somebody is to get by mail. Written with its event; goes when the mail is accepted.
create table notices (
    event_id bytea not null primary key,
    created_at bigint not null
);

-- What is known about the installation itself, by name: that its secrets are sealed with the master key at hand.
create table installation (
    name text collate "C" not null primary key,
    value text collate "C" not null
);
