-- How many mails an address of ours that is warming sent on a day (days since 1970). Written by delivery; goes after a week.
create table source_use (
    source text not null,
    day bigint not null,
    mails bigint not null,
    primary key (source, day)
) without rowid;
