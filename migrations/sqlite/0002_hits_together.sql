-- The hits of a delivery lie side by side: they are read together, whenever another one is judged.
create table hits_together (
    id blob not null,
    message_id blob not null,
    recipient bigint not null,
    kind text not null,
    link bigint not null,
    target text not null,
    at bigint not null,
    verdict text not null,
    visitor text not null,
    primary key (message_id, recipient, id)
) without rowid;

insert into hits_together select id, message_id, recipient, kind, link, target, at, verdict, visitor from hits;

drop table hits;

alter table hits_together rename to hits;
