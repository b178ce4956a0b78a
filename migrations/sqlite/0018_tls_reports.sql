-- How many TLS sessions with the exchangers of a domain came to the same on a day (days since 1970). Written by delivery
-- where reports are sent; kind is a digest of session, which is JSON. Goes after a month.
create table tls_sessions (
    day bigint not null,
    domain text not null,
    kind blob not null,
    session text not null,
    sessions bigint not null,
    primary key (day, domain, kind)
) without rowid;

-- The report that a domain may want about a day. Written with the first session that is counted; whoever moves due_at on
-- has it in hand. readers are those that have not got it yet, as JSON; null: not looked up yet. Goes after a month.
create table tls_reports (
    day bigint not null,
    domain text not null,
    due_at bigint,
    attempts bigint not null,
    readers text,
    primary key (day, domain)
) without rowid;
create index tls_reports_due on tls_reports (due_at) where due_at is not null;
