//! Addresses and domains that are left alone. Owns the `suppressions` table and its history.
//!
//! Bounces, complaints and readers write through [`insert`], which never weakens what a person or a complaint has
//! set; people write through [`Store::put_suppressions`], which replaces. Each change leaves a line of history in the
//! same transaction.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::address_history;
use super::db::{Result, Store, StoreError, Tx};
use super::value::{LENGTHS, Row, Value};
use crate::model::address::Address;
use crate::model::delivery::Delivery;
use crate::model::id::{AgentId, TenantId};
use crate::model::reason::Reason;
use crate::model::suppression::{Action, Found, Scope, Suppression, Target};
use crate::model::time::Timestamp;

/// Greater than the bytes of any list.
const BEYOND_ALL: [u8; 17] = [0xff; 17];

/// Which suppressions to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `address` or `domain`; empty: both.
    pub kind: &'static str,
    /// What the target must contain.
    pub contains: String,
    /// Only those with this reason.
    pub reason: Option<Reason>,
    /// Only those made at or after.
    pub from: Option<Timestamp>,
    /// Only those made before.
    pub until: Option<Timestamp>,
    /// Only those after this target, by target and list.
    pub after: String,
    /// On this list; beyond all lists unless given.
    pub after_list: Option<Scope>,
    /// How many of these to pass over.
    pub offset: u32,
}

/// Which lists to look into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// One.
    Of(Scope),
    /// A tenant's own and those of its agents.
    OfTenant(TenantId),
}

/// One line of a suppression's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// `added` or `removed`.
    pub change: String,
    /// What it did to mail.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// What was written beside it.
    pub note: String,
    /// Who did it: `bounce`, `complaint`, `reader`, or a person's way in.
    pub actor: String,
    /// Until when it was to hold.
    pub expires_at: Option<Timestamp>,
}

impl Store {
    /// Which of these addresses are left alone by the agent, its tenant or the installation, and why; by folded
    /// address.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn suppressed(
        &self,
        tenant: TenantId,
        agent: AgentId,
        addresses: &[Address],
    ) -> Result<HashMap<String, Found>> {
        let tuples = wanted(addresses.iter().map(|address| (tenant, agent, address)), self.now());
        let rows = self.lookup(COVERING_HEAD, COVERING_TAIL, tuples).await?;
        let found = read_found(&rows)?;
        let hardest = |address: &Address| Some((address.folded(), hardest(&found, agent, address)?.clone()));
        Ok(addresses.iter().filter_map(hardest).collect())
    }

    /// Adds a suppression as a bounce or complaint does: one that holds for good is not shortened.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn suppress(&self, suppression: Suppression) -> Result<()> {
        self.transaction(move |tx| Box::pin(async move { insert(tx, std::iter::once(&suppression)).await })).await
    }

    /// Adds suppressions as a person does, or replaces those that their targets have; `actor` says through which door.
    /// At most 10,000 at a time.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_suppressions(&self, suppressions: Vec<Suppression>, actor: &str) -> Result<()> {
        const TAIL: &str = "
            on conflict (target, scope) do update
            set action = excluded.action, reason = excluded.reason, note = excluded.note,
                created_at = excluded.created_at, created_by = excluded.created_by, expires_at = excluded.expires_at";
        let (actor, now) = (actor.to_owned(), self.now());
        self.transaction(move |tx| {
            Box::pin(async move {
                let newest = newest(suppressions.iter());
                tx.many(INSERT, TAIL, newest.iter().map(|one| values(one)).collect()).await?;
                remember(tx, newest.iter().map(|one| history(one, "added", &actor, now)).collect()).await
            })
        })
        .await
    }

    /// Removes suppressions from one list; how many of the targets were on it.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn remove_suppressions(&self, scope: Scope, targets: &[Target], actor: &str) -> Result<usize> {
        const SQL: &str = "
            delete from suppressions
            where target = $1 and scope = $2
            returning target, scope, tenant_id, agent_id, action, reason, note, created_at, created_by, expires_at";
        let (actor, now, targets) = (actor.to_owned(), self.now(), targets.to_vec());
        self.transaction(move |tx| {
            Box::pin(async move {
                let mut removed = Vec::new();
                for target in targets {
                    removed.extend(tx.row(SQL, vec![target.as_str().into(), scope_bytes(scope).into()]).await?);
                }
                let removed: Vec<Suppression> = removed.iter().map(read).collect::<Result<_>>()?;
                for Suppression { scope, target, .. } in &removed {
                    if let Some(agent) = scope.agent() {
                        address_history::forget(tx, agent, target).await?;
                    }
                }
                remember(tx, removed.iter().map(|one| history(one, "removed", &actor, now)).collect()).await?;
                Ok(removed.len())
            })
        })
        .await
    }

    /// Suppressions of these lists that pass the filter, by target, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn suppressions(&self, lists: Lists, filter: &Filter, limit: u32) -> Result<Vec<Suppression>> {
        macro_rules! listed {
            ($which:literal) => {
                concat!(
                    "select target, scope, tenant_id, agent_id, action, reason, note, created_at, created_by, expires_at
                    from suppressions
                    where ",
                    $which,
                    " = $1 and (target, scope) > ($2, $11) and ($3 = '' or kind = $3)
                        and ($4 = '' or target like $4 escape '\\')
                        and ($5 = '' or reason = $5) and created_at >= $6 and created_at < $7
                        and (expires_at is null or expires_at > $8)
                    order by target, scope
                    limit $9 offset $10"
                )
            };
        }
        let (sql, owner) = match lists {
            Lists::Of(scope) => (listed!("scope"), scope_bytes(scope)),
            Lists::OfTenant(tenant) => (listed!("tenant_id"), tenant.as_bytes().to_vec()),
        };
        let values = vec![
            owner.into(),
            filter.after.as_str().into(),
            filter.kind.into(),
            pattern(&filter.contains).into(),
            filter.reason.map_or("", Reason::as_str).into(),
            filter.from.unwrap_or_default().into(),
            filter.until.unwrap_or(Timestamp::from_millis(i64::MAX)).into(),
            self.now().into(),
            limit.into(),
            filter.offset.into(),
            filter.after_list.map_or(BEYOND_ALL.to_vec(), scope_bytes).into(),
        ];
        self.rows(sql, values).await?.iter().map(read).collect()
    }

    /// A tenant's suppressions of one target, on its own list and those of its agents, at most 1,000.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn suppressions_of_target(&self, tenant: TenantId, target: &Target) -> Result<Vec<Suppression>> {
        const SQL: &str = "
            select target, scope, tenant_id, agent_id, action, reason, note, created_at, created_by, expires_at
            from suppressions
            where target = $1 and tenant_id = $2 and (expires_at is null or expires_at > $3)
            order by scope
            limit 1000";
        let values = vec![target.as_str().into(), tenant.into(), self.now().into()];
        self.rows(SQL, values).await?.iter().map(read).collect()
    }

    /// What was done to the suppressions of one target on these lists, newest first; at most 1,000 of each piece of
    /// lists that is one statement.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn suppression_history(&self, lists: &[Scope], target: &Target) -> Result<Vec<(Scope, Change)>> {
        const HEAD: &str = "
            with wanted (target, scope) as (values";
        const TAIL: &str = ")
            select history.scope, at, change, action, reason, note, actor, expires_at
            from wanted
            join suppression_history as history on history.target = wanted.target and history.scope = wanted.scope
            order by at desc, change
            limit 1000";
        let tuples = lists.iter().map(|list| vec![target.as_str().into(), scope_bytes(*list).into()]).collect();
        let mut changes = Vec::new();
        for row in self.lookup(HEAD, TAIL, tuples).await? {
            let scope = row.bytes("scope")?;
            let list = lists.iter().find(|list| scope_bytes(**list) == scope);
            if let Some(list) = list {
                changes.push((*list, read_change(&row)?));
            }
        }
        changes.sort_by_key(|(_, change)| std::cmp::Reverse(change.at));
        Ok(changes)
    }
}

/// A `like` pattern for texts that contain this one; empty for the empty text.
fn pattern(contains: &str) -> String {
    if contains.is_empty() {
        return String::new();
    }
    let escaped = contains.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

const COVERING_HEAD: &str = "
    with wanted (target, agent, tenant, nobody, now) as (values";
const COVERING_TAIL: &str = ")
    select suppressions.target, suppressions.scope, wanted.agent, tenant_id, agent_id, action, reason
    from wanted
    join suppressions on suppressions.target = wanted.target
        and suppressions.scope in (wanted.agent, wanted.tenant, wanted.nobody)
    where expires_at is null or expires_at > now";

/// One tuple for each target that would suppress one of these, each once.
fn wanted<'a>(recipients: impl Iterator<Item = (TenantId, AgentId, &'a Address)>, now: Timestamp) -> Vec<Vec<Value>> {
    let mut seen = HashSet::new();
    let mut tuples: Vec<Vec<Value>> = Vec::new();
    for (tenant, agent, address) in recipients {
        for target in Target::covering(address) {
            if seen.insert((agent, target.clone())) {
                let nobody = scope_bytes(Scope::Installation);
                tuples.push(vec![target.as_str().into(), agent.into(), tenant.into(), nobody.into(), now.into()]);
            }
        }
    }
    // Up to a size that is one statement: most mails have one recipient.
    if let (Some(last), Some(size)) =
        (tuples.last().cloned(), LENGTHS.into_iter().rev().find(|size| *size >= tuples.len()))
    {
        tuples.resize(size, last);
    }
    tuples
}

/// What covers something, by the agent that asked and the target.
type Covering = HashMap<(AgentId, Target), Found>;

fn read_found(rows: &[Row]) -> Result<Covering> {
    let mut covering = Covering::new();
    for row in rows {
        let asked = AgentId::from_bytes(row.id("agent")?);
        let target = read_target(row)?;
        let found = Found {
            target: target.clone(),
            scope: read_scope(row)?.as_str(),
            action: row.word("action", |word| word.parse().ok())?,
            reason: row.word("reason", |word| word.parse().ok())?,
        };
        let known = covering.entry((asked, target)).or_insert_with(|| found.clone());
        if known.action < found.action {
            *known = found;
        }
    }
    Ok(covering)
}

/// The hardest that covers an address; of equals the nearest.
fn hardest<'f>(covering: &'f Covering, agent: AgentId, address: &Address) -> Option<&'f Found> {
    let found = Target::covering(address).filter_map(|target| covering.get(&(agent, target)));
    found.reduce(|nearer, farther| if farther.action > nearer.action { farther } else { nearer })
}

/// What suppresses these recipients now, for the lease: each with whether anything does.
pub(super) async fn covering(
    tx: &mut Tx,
    recipients: &[(TenantId, AgentId, &Address)],
    now: Timestamp,
) -> Result<Vec<Option<Found>>> {
    let rows = tx.many(COVERING_HEAD, COVERING_TAIL, wanted(recipients.iter().copied(), now)).await?;
    let found = read_found(&rows)?;
    Ok(recipients.iter().map(|(_, agent, address)| hardest(&found, *agent, address).cloned()).collect())
}

const INSERT: &str = "
    insert into suppressions (target, scope, tenant_id, agent_id, kind, action, reason, note, created_at, created_by,
        expires_at)
    values";

/// Writes what bounces, complaints and readers make: the newest of a target stands, but neither one that holds for good
/// is shortened nor a harder one made milder.
pub(super) async fn insert<'a>(tx: &mut Tx, suppressions: impl Iterator<Item = &'a Suppression>) -> Result<()> {
    const TAIL: &str = "
        on conflict (target, scope) do update
        set action = excluded.action, reason = excluded.reason, created_at = excluded.created_at,
            created_by = excluded.created_by, expires_at = excluded.expires_at
        where (suppressions.expires_at is not null and suppressions.action <> 'reject')
            or suppressions.action = 'suppress_tracking'
        returning target, scope";
    let newest = newest(suppressions);
    let rows = tx.many(INSERT, TAIL, newest.iter().map(|one| values(one)).collect()).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let written = |row: &Row| Ok((row.text("target")?, row.bytes("scope")?));
    let written: HashSet<(String, Vec<u8>)> = rows.iter().map(written).collect::<Result<_>>()?;
    let told = newest.into_iter().filter(|one| written.contains(&(one.target.to_string(), scope_bytes(one.scope))));
    remember(tx, told.map(|one| history(one, "added", actor(one.reason), one.created_at)).collect()).await
}

/// Takes back the suppression of a delivery's address that was written at `since`, by the end of that delivery.
pub(super) async fn lift(tx: &mut Tx, delivery: &Delivery, since: Timestamp) -> Result<()> {
    const SQL: &str = "
        delete from suppressions
        where target = $1 and scope = $2 and created_at = $3
        returning target, scope, tenant_id, agent_id, action, reason, note, created_at, created_by, expires_at";
    let (target, scope) = (Target::of(&delivery.address), Scope::Agent(delivery.tenant, delivery.agent));
    let row = tx.row(SQL, vec![target.as_str().into(), scope_bytes(scope).into(), since.into()]).await?;
    let Some(lifted) = row.as_ref().map(read).transpose()? else { return Ok(()) };
    remember(tx, vec![history(&lifted, "removed", "reclassify", since)]).await
}

/// One statement must not touch a row twice: the last of each target stands for all. In one order for everybody, so
/// that no two writers wait for each other.
fn newest<'a>(suppressions: impl Iterator<Item = &'a Suppression>) -> Vec<&'a Suppression> {
    let keyed = suppressions.map(|suppression| ((&suppression.target, scope_bytes(suppression.scope)), suppression));
    let newest: BTreeMap<_, _> = keyed.collect();
    newest.into_values().collect()
}

/// Who it is that makes a suppression for this reason, when no person does.
fn actor(reason: Reason) -> &'static str {
    match reason {
        Reason::Complaint => "complaint",
        Reason::Unsubscribed => "reader",
        _ => "bounce",
    }
}

async fn remember(tx: &mut Tx, rows: Vec<Vec<Value>>) -> Result<()> {
    const HEAD: &str = "
        insert into suppression_history (target, scope, at, change, action, reason, note, actor, expires_at)
        values";
    tx.many(HEAD, "on conflict do nothing", rows).await.map(drop)
}

fn history(suppression: &Suppression, change: &str, actor: &str, at: Timestamp) -> Vec<Value> {
    vec![
        suppression.target.as_str().into(),
        scope_bytes(suppression.scope).into(),
        at.into(),
        change.into(),
        suppression.action.as_str().into(),
        suppression.reason.as_str().into(),
        suppression.note.as_str().into(),
        actor.into(),
        suppression.expires_at.into(),
    ]
}

fn values(suppression: &Suppression) -> Vec<Value> {
    vec![
        suppression.target.as_str().into(),
        scope_bytes(suppression.scope).into(),
        suppression.scope.tenant().into(),
        suppression.scope.agent().into(),
        suppression.target.kind().into(),
        suppression.action.as_str().into(),
        suppression.reason.as_str().into(),
        suppression.note.as_str().into(),
        suppression.created_at.into(),
        suppression.created_by.as_str().into(),
        suppression.expires_at.into(),
    ]
}

/// The id of the narrowest owner of a list; empty for the installation's.
pub(super) fn scope_bytes(scope: Scope) -> Vec<u8> {
    match scope {
        Scope::Installation => Vec::new(),
        Scope::Tenant(tenant) => tenant.as_bytes().to_vec(),
        Scope::Agent(_, agent) => agent.as_bytes().to_vec(),
    }
}

pub(super) fn read_scope(row: &Row) -> Result<Scope> {
    let id = |column: &str| -> Result<Option<[u8; 16]>> {
        let bytes = row.maybe_bytes(column)?;
        let sixteen = |bytes: Vec<u8>| bytes.try_into().map_err(|_| StoreError::Corrupt(format!("{column} is no id")));
        bytes.map(sixteen).transpose()
    };
    Ok(match (id("tenant_id")?, id("agent_id")?) {
        (Some(tenant), Some(agent)) => Scope::Agent(TenantId::from_bytes(tenant), AgentId::from_bytes(agent)),
        (Some(tenant), None) => Scope::Tenant(TenantId::from_bytes(tenant)),
        (None, _) => Scope::Installation,
    })
}

fn read_target(row: &Row) -> Result<Target> {
    row.word("target", |text| text.parse().ok())
}

fn read(row: &Row) -> Result<Suppression> {
    Ok(Suppression {
        scope: read_scope(row)?,
        target: read_target(row)?,
        action: row.word("action", |word| word.parse().ok())?,
        reason: row.word("reason", |word| word.parse().ok())?,
        note: row.text("note")?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
        expires_at: row.maybe_time("expires_at")?,
    })
}

fn read_change(row: &Row) -> Result<Change> {
    Ok(Change {
        at: row.time("at")?,
        change: row.text("change")?,
        action: row.word("action", |word| word.parse().ok())?,
        reason: row.word("reason", |word| word.parse().ok())?,
        note: row.text("note")?,
        actor: row.text("actor")?,
        expires_at: row.maybe_time("expires_at")?,
    })
}
