//! What is done now and then: forgetting what is too old, taking changed files into use, looking whether the disk has
//! room.

use std::ops::Not;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::dns::Resolver;
use crate::dns::check::{self, Verdict};
use crate::enrich::Enricher;
use crate::enrich::geo::Reload;
use crate::intake::Intake;
use crate::model::node::NodeFacts;
use crate::model::time::Timestamp;
use crate::store::retention::Keep;
use crate::store::{Store, StoreError, search};
use crate::tls::Certificates;
use crate::wake::Wake;

/// How long the writer is left to others between two bites, while there is more to do.
const PAUSE: Duration = Duration::from_millis(20);

/// How often there is a look for what is too old.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// A mail may be tried for so long after it was accepted: its dialogues come late.
const TRIED_FOR_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Forgets, bite by bite, what is older than `keep` allows, and dialogues older than `dialogues`, for ever.
pub(super) async fn forget(store: Store, keep: Keep, dialogues: Duration, clock: Clock) {
    let mut trimmed_from = Timestamp::default();
    loop {
        let old = clock.now() - dialogues;
        match store.trim_dialogues(trimmed_from, old).await {
            // What was looked through needs no second look.
            Ok(()) => trimmed_from = old - TRIED_FOR_MAX,
            Err(fault) => tracing::warn!(%fault, "could not forget old dialogues; it is tried again in an hour"),
        }
        if let Err(fault) = forget_bite_by_bite(&store, keep, &clock).await {
            tracing::warn!(%fault, "could not forget what is too old; it is tried again in an hour");
        }
        clock.sleep_until(clock.now() + FORGET_EVERY).await;
    }
}

async fn forget_bite_by_bite(store: &Store, keep: Keep, clock: &Clock) -> Result<(), StoreError> {
    store.forget_little(keep).await?;
    while store.forget(keep).await? {
        clock.sleep_until(clock.now() + PAUSE).await;
    }
    Ok(())
}

/// Says which domains were believed in capture mode, now that mail is real.
///
/// # Errors
/// As the store's.
pub(super) async fn review_captured(store: &Store, is_capture: bool) -> Result<(), StoreError> {
    let domains = store.review_captured(is_capture).await?;
    if !is_capture && !domains.is_empty() {
        let domains = domains.join(", ");
        tracing::warn!(
            domains,
            "domains were believed in capture mode: nothing is sent from them until they are verified"
        );
    }
    Ok(())
}

/// How often there is a look for new messages that nobody finds by their words yet.
const INDEX_EVERY: Duration = Duration::from_secs(1);
/// How often while they keep coming: whoever wants to write waits until a bite is written.
const INDEX_EVERY_BUSY: Duration = Duration::from_millis(100);

/// Makes messages findable by their words, for ever.
pub(super) async fn index(store: Store, clock: Clock) {
    loop {
        let pause = match store.index_messages().await {
            Ok(0) => INDEX_EVERY,
            Ok(count) if count < search::BITE => INDEX_EVERY_BUSY,
            Ok(_) => PAUSE,
            Err(fault) => {
                tracing::warn!(%fault, "new messages cannot be made findable now");
                INDEX_EVERY * 10
            }
        };
        clock.sleep_until(clock.now() + pause).await;
    }
}

/// How often there is a look for reports that did not come in time.
const UNREPORTED_EVERY: Duration = Duration::from_secs(60);

/// Ends the wait for reports of success that did not come in time, for ever.
pub(super) async fn end_waits(intake: Intake, clock: Clock) {
    loop {
        let pause = match intake.end_waits().await {
            Ok(0) => UNREPORTED_EVERY,
            Ok(_) => PAUSE,
            Err(fault) => {
                tracing::warn!(%fault, "deliveries whose report did not come cannot be looked for now");
                UNREPORTED_EVERY
            }
        };
        clock.sleep_until(clock.now() + pause).await;
    }
}

/// How often a node says that it runs.
const RUNS_EVERY: Duration = Duration::from_secs(30);

/// Says over and over that this node runs, for ever.
pub(super) async fn say_that_we_run(store: Store, facts: NodeFacts, clock: Clock) {
    loop {
        if let Err(fault) = store.node_runs(&facts).await {
            tracing::warn!(%fault, "this node cannot say that it runs");
        }
        clock.sleep_until(clock.now() + RUNS_EVERY).await;
    }
}

/// How often there is a look for the records of keys that wait to sign.
const KEYS_EVERY: Duration = Duration::from_secs(600);
/// Keys that are looked for at one time.
const KEYS_AT_ONCE: u32 = 200;

/// Lets keys sign whose records are published, and forgets those that were retired long ago, for ever.
pub(super) async fn look_for_keys(store: Store, resolver: Arc<dyn Resolver>, clock: Clock) {
    loop {
        if let Err(fault) = look_for_keys_once(&store, &*resolver).await {
            tracing::warn!(%fault, "keys that wait to sign cannot be looked for now");
        }
        clock.sleep_until(clock.now() + KEYS_EVERY).await;
    }
}

async fn look_for_keys_once(store: &Store, resolver: &dyn Resolver) -> Result<(), StoreError> {
    store.forget_signing_keys().await?;
    for key in store.waiting_keys(KEYS_AT_ONCE).await? {
        let is_right = check::dkim(resolver, &key).await.verdict == Verdict::Right;
        if is_right && store.begin_signing(&key).await? {
            tracing::info!(domain = key.domain, selector = key.selector, "a key begins to sign: its record was seen");
        }
    }
    Ok(())
}

/// How often there is a look for changed files.
const RELOAD_EVERY: Duration = Duration::from_secs(60);

/// Places move; a database of them that is older is told of.
const PLACES_AGE_MAX: Duration = Duration::from_secs(45 * 86_400);
/// How often it is told of.
const AGE_TOLD_EVERY: Duration = Duration::from_secs(86_400);

/// Takes changed certificates and place databases into use, for ever. A bad one is told of once, and the one before
/// stays.
pub(super) async fn reload(certificates: Certificates, enricher: Arc<Enricher>, clock: Clock, look: Wake) {
    let mut told = None;
    let mut age_told = None;
    loop {
        let (now, geo) = (clock.now(), enricher.geo());
        let is_old = geo.has_files() && now.since(geo.built_at()) > PLACES_AGE_MAX;
        if is_old && age_told.is_none_or(|at| now.since(at) >= AGE_TOLD_EVERY) {
            tracing::warn!(
                built_at = geo.built_at().rfc3339_seconds(),
                "a database of places is old; see `postback geoip`"
            );
            age_told = Some(now);
        }
        let is_asked = tokio::select! {
            () = clock.sleep_until(clock.now() + RELOAD_EVERY) => false,
            () = look.heard() => true,
        };
        let (shown, enricher) = (certificates.clone(), enricher.clone());
        let looked = tokio::task::spawn_blocking(move || {
            (shown.reload().map_err(chain), enricher.geo().reload_if_changed().map_err(chain))
        });
        let Ok((certificate, places)) = looked.await else { continue };
        match places {
            Ok(Reload::Unchanged) if is_asked => tracing::info!("the databases of places are as they were"),
            Ok(Reload::Unchanged) => {}
            Ok(Reload::Reloaded) => tracing::info!("the databases of places were read again"),
            Err(fault) => tracing::error!(fault, "cannot use the databases of places; those before stay in use"),
        }
        let fault = certificate.err();
        if let Some(fault) = fault.as_ref().filter(|_| fault != told || is_asked) {
            tracing::error!(fault, "cannot use the certificate's files; the certificate before stays in use");
        } else if is_asked {
            let valid_until = certificates.validity().map(|validity| validity.until.rfc3339_seconds());
            tracing::info!(valid_until, "the certificates were read again; settings are read at a start only");
        }
        told = fault;
    }
}

/// How often there is a look at the disk.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// The room that is left on the disk of `folder`; `None` where it cannot be asked.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    rustix::fs::statvfs(folder).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Tells intake whether the disk of `folder` has `free_bytes_min` left, for ever. A disk that cannot be asked is taken
/// for one with room: the store finds out.
pub(super) async fn watch_disk(intake: Intake, folder: PathBuf, free_bytes_min: u64, clock: Clock) {
    let mut had_room = true;
    loop {
        let free_bytes = free_bytes(&folder);
        let has_room = free_bytes.is_some_and(|free_bytes| free_bytes < free_bytes_min).not();
        if has_room != had_room {
            let free_bytes = free_bytes.unwrap_or_default();
            match has_room {
                true => tracing::info!(free_bytes, "the disk has room again; mail is taken"),
                false => tracing::error!(free_bytes, free_bytes_min, "the disk has no room; mail is put off"),
            }
        }
        had_room = has_room;
        intake.set_room(has_room);
        clock.sleep_until(clock.now() + MEASURE_EVERY).await;
    }
}

/// A fault with its causes, in one line.
fn chain(fault: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(fault))
}
