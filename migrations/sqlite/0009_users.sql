-- People who sign in to the console. Written by invitations and by owners.
create table users (
    id blob not null primary key,
    email text not null,
    name text not null,
    password text not null,
    role text not null,
    tenant_id blob references tenants (id) on delete cascade,
    created_at bigint not null
) without rowid;

create unique index users_by_email on users (email);

-- A link that makes a user of whoever follows it first. Goes when it is used or has expired.
create table invitations (
    digest blob not null primary key,
    role text not null,
    tenant_id blob references tenants (id) on delete cascade,
    expires_at bigint not null
) without rowid;

-- A signed-in browser; the cookie's SHA-256. Goes at sign-out, when idle too long, and when it is too old.
create table sessions (
    digest blob not null primary key,
    user_id blob not null references users (id) on delete cascade,
    created_at bigint not null,
    seen_at bigint not null
) without rowid;

create index sessions_by_user on sessions (user_id);

-- What people did in the console. Only ever added to.
create table audit (
    id blob not null primary key,
    at bigint not null,
    actor text not null,
    action text not null,
    object text not null,
    address text not null,
    tenant_id blob
) without rowid;
