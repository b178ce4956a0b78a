//! Destinations by the hosts that serve them: how much each takes at the moment, and which domain is served where.
//!
//! A site is what answers for a domain: the smarthost, or a set of mail exchangers, under one name for all domains that
//! share it. Until a domain's site is known it is a site of its own. A [`Turn`] is the right to one conversation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::pace::{Limits, Pace, PutOff, Signal, Wait};
use crate::clock::Clock;
use crate::model::time::Timestamp;

/// The name of a site.
pub type Site = Arc<str>;

/// Sites and domains that are remembered; past it, those that nothing would be lost by are forgotten.
const REMEMBERED_MAX: usize = 50_000;

/// All sites.
#[derive(Debug)]
pub struct Sites {
    clock: Clock,
    known: Mutex<Known>,
    freed: mpsc::UnboundedSender<Site>,
    hear: tokio::sync::Mutex<mpsc::UnboundedReceiver<Site>>,
}

#[derive(Debug, Default)]
struct Known {
    paces: HashMap<Site, Entry>,
    /// Where domains are served.
    of_domain: HashMap<String, Site>,
}

#[derive(Debug)]
struct Entry {
    pace: Pace,
    /// Somebody waits for a turn to be given back.
    is_wanted: bool,
}

/// The right to one conversation with a site, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    sites: Arc<Sites>,
    /// With whom.
    pub site: Site,
    began_at: Timestamp,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.sites.give_back(&self.site);
    }
}

impl Turn {
    /// What the conversation said about the site.
    pub fn learn(&self, signal: Signal) {
        let now = self.sites.clock.now();
        let mut known = self.sites.known();
        if let Some(entry) = known.paces.get_mut(&self.site) {
            entry.pace.learn(signal, now.since(self.began_at), now);
        }
    }
}

impl Sites {
    /// Nothing is known yet.
    pub fn new(clock: Clock) -> Self {
        let (freed, hear) = mpsc::unbounded_channel();
        Self { clock, known: Mutex::default(), freed, hear: tokio::sync::Mutex::new(hear) }
    }

    /// The site that serves a domain, as far as is known.
    pub fn of(&self, domain: &str) -> Site {
        self.known().of_domain.get(domain).cloned().unwrap_or_else(|| domain.into())
    }

    /// A domain is served by this site.
    pub fn learn(&self, domain: &str, site: &Site) {
        let mut known = self.known();
        if known.of_domain.len() >= REMEMBERED_MAX {
            known.of_domain.clear();
        }
        known.of_domain.insert(domain.to_owned(), site.clone());
    }

    /// A turn at a site that may take as much as `limits` say.
    ///
    /// # Errors
    /// [`Wait`]: it has no room now.
    pub fn turn(self: &Arc<Self>, site: &Site, limits: Limits) -> Result<Turn, Wait> {
        let now = self.clock.now();
        let mut known = self.known();
        let entry = known.entry(site, limits, now);
        match entry.pace.begin(now) {
            Ok(()) => Ok(Turn { sites: self.clone(), site: site.clone(), began_at: now }),
            Err(wait) => {
                entry.is_wanted |= wait == Wait::ForOther;
                Err(wait)
            }
        }
    }

    /// A turn that a person asked for, whatever is known about the site.
    pub fn asked_turn(self: &Arc<Self>, site: &Site, limits: Limits) -> Turn {
        let now = self.clock.now();
        self.known().entry(site, limits, now).pace.begin_asked();
        Turn { sites: self.clone(), site: site.clone(), began_at: now }
    }

    /// Whether a mail may wait in memory for a site for which `ahead` wait already.
    ///
    /// # Errors
    /// When it shall come due instead.
    pub fn admit(&self, site: &Site, limits: Limits, ahead: usize) -> Result<(), PutOff> {
        let now = self.clock.now();
        self.known().entry(site, limits, now).pace.admit(now, ahead)
    }

    /// Returns when somebody waited for a turn at a site, and one was given back.
    pub async fn freed(&self) -> Site {
        match self.hear.lock().await.recv().await {
            Some(site) => site,
            None => std::future::pending().await,
        }
    }

    /// Connections at once that a site is good for at the moment, and until when it rests.
    pub fn shown(&self, site: &Site) -> Option<(u32, Option<Timestamp>)> {
        let now = self.clock.now();
        self.known().paces.get(site).map(|entry| entry.pace.shown(now))
    }

    fn give_back(&self, site: &Site) {
        let mut known = self.known();
        let Some(entry) = known.paces.get_mut(site) else { return };
        entry.pace.gave_back();
        if std::mem::take(&mut entry.is_wanted) {
            // Nobody listening is no loss: then nobody waits.
            let _ = self.freed.send(site.clone());
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn entry(&mut self, site: &Site, limits: Limits, now: Timestamp) -> &mut Entry {
        if self.paces.len() >= REMEMBERED_MAX {
            self.paces.retain(|_, entry| entry.is_wanted || !entry.pace.is_idle(now));
        }
        self.paces.entry(site.clone()).or_insert_with(|| Entry { pace: Pace::new(limits), is_wanted: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { connections: 1, connections_start: 1, mails_per_minute: None };

    #[tokio::test]
    async fn a_turn_is_given_back_when_it_is_dropped_and_told_to_who_waits() {
        let sites = Arc::new(Sites::new(Clock::standing(Timestamp::from_millis(1_000))));
        let site: Site = "mx".into();
        let turn = sites.turn(&site, LIMITS).unwrap();
        assert_eq!(sites.turn(&site, LIMITS).unwrap_err(), Wait::ForOther);
        drop(turn);
        assert_eq!(sites.freed().await, site);
        drop(sites.turn(&site, LIMITS).unwrap());
        let _asked = [sites.asked_turn(&site, LIMITS), sites.asked_turn(&site, LIMITS)];
        assert_eq!(sites.turn(&site, LIMITS).unwrap_err(), Wait::ForOther);
    }

    #[test]
    fn domains_that_share_a_site_share_its_turns() {
        let sites = Sites::new(Clock::standing(Timestamp::from_millis(1_000)));
        assert_eq!(&*sites.of("a.example"), "a.example");
        let site: Site = "mx".into();
        sites.learn("a.example", &site);
        sites.learn("b.example", &site);
        assert_eq!(sites.of("a.example"), sites.of("b.example"));
    }
}
