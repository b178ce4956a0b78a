-- Which mail agents want their hits on the disk before they are answered is asked every few seconds; most installations
-- have none.
create index agents_with_durable_hits on agents (id) where settings like '%"durable_hits":true%';
