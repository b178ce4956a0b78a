-- What failures put off for a webhook and is to be due since it was enabled: what was due below a time is still to be made
-- due. Written by whoever enables a webhook that much waits for, and by each bite; goes with the last, or with the webhook.
create table hurries (
    webhook_id bytea not null primary key references webhooks (id) on delete cascade,
    since bigint not null,
    below bigint not null
);
