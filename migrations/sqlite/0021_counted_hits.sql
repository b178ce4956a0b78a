-- The ids of hits of which nothing is kept but that there was one, so that none is counted twice when its journal is read
-- again. Written with the counts; goes after a week.
create table counted_hits (
    id blob not null primary key
) without rowid;
