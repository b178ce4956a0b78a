-- What is made of a report: where it came to, what it says of whom, what that changed, and whether it waits for a person.
alter table reports add column came_to text collate "C" not null default '';
alter table reports add column about text collate "C" not null default '';
alter table reports add column cause text collate "C";
alter table reports add column effect text collate "C" not null default '';
alter table reports add column is_open boolean not null default false;

create index reports_by_delivery on reports (message_id, recipient, id);
create index reports_open on reports (id) where is_open;

-- How the latest mails to an address have ended that has failed lately: its failures, and the successes between. Written by
-- bounces, and by deliveries as long as there are bounces; goes when a success has stood for some days, or with age.
create table address_history (
    agent_id bytea not null references agents (id) on delete cascade,
    address text collate "C" not null,
    message_id bytea not null,
    recipient bigint not null,
    at bigint not null,
    failed text collate "C",
    primary key (agent_id, address, message_id, recipient)
);
