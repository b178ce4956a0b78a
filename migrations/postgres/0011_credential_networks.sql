-- From where a credential may be used: a JSON list of networks, as in ["10.0.0.0/8"]; empty for anywhere.
alter table credentials add column networks text not null default '[]';
