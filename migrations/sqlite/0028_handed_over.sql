-- What has left and waits for its report is found when that is waited for no more.
create index deliveries_handed_over on deliveries (due_at) where state = 'handed_over';
