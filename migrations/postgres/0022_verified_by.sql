-- What showed that a claimed domain is the tenant's: dns, operator, or capture, which counts in capture mode alone and
-- stays when verified_at is taken back. Empty: nobody did yet, or it is not known.
alter table claimed_domains add column verified_by text collate "C" not null default '';
