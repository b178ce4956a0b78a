-- People who sign in to the console. Written by invitations and by owners.
create table users (
    id bytea not null primary key,
    email text collate "C" not null,
    name text collate "C" not null,
    password text collate "C" not null,
    role text collate "C" not null,
    tenant_id bytea references tenants (id) on delete cascade,
    created_at bigint not null
);

create unique index users_by_email on users (email);

-- A link that makes a user of whoever follows it first. Goes when it is used or has expired.
create table invitations (
    digest bytea not null primary key,
    role text collate "C" not null,
    tenant_id bytea references tenants (id) on delete cascade,
    expires_at bigint not null
);

-- A signed-in browser; the cookie's SHA-256. Goes at sign-out, when idle too long, and when it is too old.
create table sessions (
    digest bytea not null primary key,
    user_id bytea not null references users (id) on delete cascade,
    created_at bigint not null,
    seen_at bigint not null
);

create index sessions_by_user on sessions (user_id);

-- What people did in the console. Only ever added to.
create table audit (
    id bytea not null primary key,
    at bigint not null,
    actor text collate "C" not null,
    action text collate "C" not null,
    object text collate "C" not null,
    address text collate "C" not null,
    tenant_id bytea
);
