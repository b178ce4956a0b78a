-- What the console looks up in a store of any size.

-- A word of a message: of its subject, a tag, or a recipient. `term` is a hash of tenant and word. Written a moment after
-- acceptance, by one node; goes with its message. How far it has come stands in `installation` as `searched_to`.
create table search_terms (
    term bigint not null,
    message_id blob not null,
    primary key (term, message_id)
) without rowid;

create index deliveries_by_state on deliveries (tenant_id, state, message_id) where state <> 'delivered';

-- How often something happened within five minutes (`slot`, counted from 1970): one writer's share of it. Written with
-- what is counted; goes after two days.
create table recent_statistics (
    tenant_id blob not null,
    slot bigint not null,
    agent_id blob not null,
    what text not null,
    share bigint not null,
    total bigint not null,
    primary key (tenant_id, slot, agent_id, what, share)
) without rowid;

create index events_bounced on events (tenant_id, id) where kind in ('hard_bounced', 'soft_bounced');
create index events_looked on events (tenant_id, id) where kind in ('opened', 'clicked');

-- A running program. Written by itself, over and over; goes when it has been silent for a day.
create table nodes (
    name text not null primary key,
    facts text not null,
    started_at bigint not null,
    seen_at bigint not null
) without rowid;

-- The second factor: a sealed secret, and what is left of the recovery codes, as SHA-256. `totp_step` is the last one that
-- was used, so that a code is good once.
alter table users add column totp text not null default '';
alter table users add column totp_step bigint not null default 0;
alter table users add column recovery text not null default '[]';

-- A session that still waits for the second factor.
alter table sessions add column is_waiting boolean not null default false;

-- An invitation may also be for somebody who is there, and forgot the password.
alter table invitations add column user_id blob references users (id) on delete cascade;
