-- Whether each event goes to a webhook in a request of its own, in any order: then it can be handed over as it is
-- written.
alter table webhooks add column goes_alone boolean not null default true;
update webhooks set goes_alone = false where options like '%"batch":true%' or options like '%"in_order":true%';
