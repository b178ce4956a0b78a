-- The hits of a delivery lie side by side: they are read together, whenever another one is judged.
create table hits_together (
    id bytea not null,
    message_id bytea not null,
    recipient bigint not null,
    kind text collate "C" not null,
    link bigint not null,
    target text collate "C" not null,
    at bigint not null,
    verdict text collate "C" not null,
    visitor text collate "C" not null,
    primary key (message_id, recipient, id)
);

insert into hits_together select id, message_id, recipient, kind, link, target, at, verdict, visitor from hits;

drop table hits;

alter table hits_together rename to hits;
