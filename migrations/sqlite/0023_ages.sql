-- What is too old is found without going through all that is young.
create index suppressions_by_end on suppressions (expires_at) where expires_at is not null;
create index reports_by_age on reports (received_at);
