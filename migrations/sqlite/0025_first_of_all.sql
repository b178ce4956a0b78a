-- The first hit of a recipient (per link, for clicks) whoever it is by claims a row of its own from now on ('all'),
-- beside the first that is no scanner's ('anyone') and the first by a person ('person'). Until now nobody knew it: the
-- first that is no scanner's is the nearest.
insert into firsts (message_id, recipient, kind, link, who, hit_id)
select message_id, recipient, kind, link, 'all', hit_id
from firsts
where who = 'anyone';
