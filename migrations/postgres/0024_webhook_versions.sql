-- What a webhook's requests were made of before a change, sealed as it was in the webhook's own row, so that an attempt
-- can be shown as it was. Written by changes; goes with the attempts of its time.
create table webhook_versions (
    webhook_id bytea not null references webhooks (id) on delete cascade,
    replaced_at bigint not null,
    url text not null,
    format text not null,
    secret text not null,
    old_secret text not null,
    old_secret_until bigint,
    old_secret_signs boolean not null,
    form_field text not null,
    headers text not null,
    keeps_timestamp boolean not null,
    options text not null,
    primary key (webhook_id, replaced_at)
);

create index webhook_versions_by_age on webhook_versions (replaced_at);

-- The same of a mail agent's authentication key, sealed.
create table agent_keys (
    agent_id bytea not null references agents (id) on delete cascade,
    replaced_at bigint not null,
    authentication_key text not null,
    primary key (agent_id, replaced_at)
);

create index agent_keys_by_age on agent_keys (replaced_at);
