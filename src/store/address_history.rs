//! Failures that may make an agent leave an address alone, and the successes between them. Owns `address_history`.
//!
//! What is counted is kept a row for each delivery, so that a report that turns an arrival into a bounce turns its row,
//! too. Successes are only kept for addresses that have failed lately, which most never do. When a limit is reached is
//! said by `model::bearing`.

use super::db::{Result, Tx};
use super::value::Row;
use super::{suppressions, tenants};
use crate::model::bearing::{Bearing, Ending, Limit, PAST_MAX, Past};
use crate::model::id::AgentId;
use crate::model::reason::{Reason, Suppress};
use crate::model::suppression::{Suppression, Target};
use crate::model::time::Timestamp;

/// Writes what ends of deliveries mean for their addresses. Mail agents that leave no address alone by themselves are
/// spared what bounces say, not what readers want.
pub(super) async fn bear<'a>(tx: &mut Tx, bearings: impl IntoIterator<Item = &'a Bearing>) -> Result<()> {
    let (mut suppressed, mut successes, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for bearing in bearings {
        match bearing {
            Bearing::Nothing => {}
            Bearing::Suppressed(suppression) => suppressed.push(suppression),
            Bearing::Counted(ending) => match ending.failure {
                None => successes.push(ending),
                Some((reason, limit)) => failures.push((ending, reason, limit)),
            },
        }
    }
    let is_for_good = |suppression: &Suppression| suppression.reason.suppress() == Suppress::ForGood;
    let asked = suppressed.iter().filter(|one| !is_for_good(one)).filter_map(|one| one.scope.agent());
    let asked = asked.chain(failures.iter().map(|(ending, ..)| ending.agent)).collect();
    let unwilling = tenants::unwilling(tx, asked).await?;
    suppressed.retain(|one| is_for_good(one) || one.scope.agent().is_none_or(|agent| !unwilling.contains(&agent)));
    failures.retain(|(ending, ..)| !unwilling.contains(&ending.agent));
    suppressions::insert(tx, suppressed.into_iter()).await?;
    succeed(tx, successes).await?;
    failures.sort_by(|one, other| (&one.0.target, one.0.agent).cmp(&(&other.0.target, other.0.agent)));
    in_turn(tx, &failures).await?;
    for (ending, reason, limit) in failures {
        fail(tx, ending, reason, limit).await?;
    }
    Ok(())
}

/// Notes successes of addresses that have failed lately.
async fn succeed(tx: &mut Tx, endings: Vec<&Ending>) -> Result<()> {
    const HEAD: &str = "
        with marked (agent_id, address, message_id, recipient, at) as (values";
    const TAIL: &str = ")
        insert into address_history (agent_id, address, message_id, recipient, at, failed)
        select agent_id, address, message_id, recipient, at, null
        from marked
        where exists (
            select 1 from address_history
            where address_history.agent_id = marked.agent_id and address_history.address = marked.address)
        on conflict do nothing";
    let rows = endings.into_iter().map(|ending| {
        let Ending { agent, target, delivery, at, .. } = ending;
        vec![(*agent).into(), target.as_str().into(), delivery.message.into(), delivery.recipient.into(), (*at).into()]
    });
    tx.later(HEAD, TAIL, rows.collect()).await
}

/// Where others write beside us, waits until they have written what they know of the same addresses: of failures that do
/// not see each other none would be the last.
async fn in_turn(tx: &mut Tx, failures: &[(&Ending, Reason, Limit)]) -> Result<()> {
    const HEAD: &str = "
        with failed (agent_id, address) as (values";
    const TAIL: &str = ")
        select pg_advisory_xact_lock(hashtextextended(encode(agent_id, 'hex') || address, 0))
        from failed";
    if !tx.is_shared() {
        return Ok(());
    }
    let rows = failures.iter().map(|(Ending { agent, target, .. }, ..)| vec![(*agent).into(), target.as_str().into()]);
    tx.many(HEAD, TAIL, rows.collect()).await.map(drop)
}

/// Notes a failure, and suppresses the address if there were enough.
async fn fail(tx: &mut Tx, ending: &Ending, reason: Reason, limit: Limit) -> Result<()> {
    const NOTE: &str = "
        insert into address_history (agent_id, address, message_id, recipient, at, failed)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (agent_id, address, message_id, recipient) do update set at = excluded.at, failed = excluded.failed";
    const PAST: &str = "
        select at, failed
        from address_history
        where agent_id = $1 and address = $2
        order by message_id desc, recipient desc
        limit $3";
    let Ending { agent, target, delivery, at, .. } = ending;
    let noted = vec![
        (*agent).into(),
        target.as_str().into(),
        delivery.message.into(),
        delivery.recipient.into(),
        (*at).into(),
        reason.as_str().into(),
    ];
    tx.run(NOTE, noted).await?;
    let past = tx.rows(PAST, vec![(*agent).into(), target.as_str().into(), PAST_MAX.into()]).await?;
    let read = |row: &Row| {
        let failed = row.maybe_text("failed")?;
        Ok(Past { at: row.time("at")?, failed: failed.and_then(|word| word.parse().ok()) })
    };
    let past: Vec<Past> = past.iter().map(read).collect::<Result<_>>()?;
    if !limit.is_reached(reason, &past, *at) {
        return Ok(());
    }
    forget(tx, *agent, target).await?;
    suppressions::insert(tx, std::iter::once(&ending.suppression(reason, limit))).await
}

/// Counts an address anew.
pub(super) async fn forget(tx: &mut Tx, agent: AgentId, target: &Target) -> Result<()> {
    let sql = "delete from address_history where agent_id = $1 and address = $2";
    tx.run(sql, vec![agent.into(), target.as_str().into()]).await.map(drop)
}

/// Forgets what was before a success that nothing has contradicted since `stood`, and what is older than `old`.
pub(super) async fn forget_past(tx: &mut Tx, stood: Timestamp, old: Timestamp) -> Result<()> {
    const STOOD: &str = "
        delete from address_history
        where exists (
            select 1 from address_history as newer
            where newer.agent_id = address_history.agent_id and newer.address = address_history.address
                and newer.failed is null and newer.at < $1 and newer.message_id >= address_history.message_id)";
    tx.run(STOOD, vec![stood.into()]).await?;
    tx.run("delete from address_history where at < $1", vec![old.into()]).await.map(drop)
}
