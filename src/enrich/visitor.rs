//! Who is behind a hit, put together: place, client and verdict, as an event tells them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::agent::{self, ClientFacts};
use super::geo::Geo;
use super::machine::{Seen, judge};
use crate::model::hit::{Client, EarlierHit, HitKind, HitRequest, Named, Place, Visitor, Who};

/// The longest user agent that is kept, in bytes.
const KEPT_BYTES_MAX: usize = 1024;

/// Describes visitors.
#[derive(Debug, Default)]
pub struct Enricher {
    geo: Geo,
    known: Known,
}

impl Enricher {
    /// An enricher with this source of places.
    pub fn new(geo: Geo) -> Self {
        Self { geo, known: Known::default() }
    }

    /// The source of places, for reloading and for its attribution.
    pub fn geo(&self) -> &Geo {
        &self.geo
    }

    /// Describes the visitor of a hit, and says how long the hit's webhook should wait before judging it again.
    ///
    /// A place or program of a proxy is no fact about a reader and is left out. On a click the mail client is taken from
    /// an earlier open by the same reader, where there was one, and the reasons say so.
    pub fn visitor(&self, request: &HitRequest, seen: &Seen) -> (Visitor, Option<Duration>) {
        let facts = self.known.facts(&request.user_agent);
        let judgement = judge(request, &facts, seen);
        let mut verdict = judgement.verdict;
        let mut client = facts.client.clone();
        if seen.kind == HitKind::Click {
            agent::refine(&mut client, &request.headers);
            if facts.is_concluded {
                client.email_client = Named::default();
            }
            if verdict.verdict == Who::Person && infer_mail_client(&mut client, seen) {
                verdict.reasons.push(format!("mail client {} as in an earlier open", client.email_client.name));
            }
        }
        let place = match verdict.verdict {
            Who::Person | Who::Scanner => request.ip.map(|ip| self.geo.place(ip)).unwrap_or_default(),
            Who::Proxy | Who::Prefetch => Place::default(),
        };
        let user_agent = agent::cut(&request.user_agent, KEPT_BYTES_MAX).to_owned();
        (Visitor { place, client, user_agent, machine: verdict }, judgement.hold)
    }
}

/// Fills in the mail client of a click from the last earlier open by a person; whether it did.
fn infer_mail_client(client: &mut Client, seen: &Seen) -> bool {
    if !client.email_client.name.is_empty() {
        return false;
    }
    let opened = |hit: &&EarlierHit| {
        let visitor = &hit.visitor;
        let is_open = hit.kind == HitKind::Open && visitor.machine.verdict.is_person();
        is_open && !visitor.client.email_client.name.is_empty()
    };
    let Some(last) = seen.earlier.iter().find(opened) else { return false };
    client.email_client = last.visitor.client.email_client.clone();
    true
}

/// User agents read lately: the same few come again and again.
#[derive(Debug)]
struct Known {
    generations: Mutex<Generations>,
    generation_max: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self { generations: Mutex::default(), generation_max: GENERATION_MAX }
    }
}

/// Two generations: when the younger is full, the older is forgotten.
#[derive(Debug, Default)]
struct Generations {
    younger: HashMap<String, Arc<ClientFacts>>,
    older: HashMap<String, Arc<ClientFacts>>,
}

/// User agents in a generation.
const GENERATION_MAX: usize = 4096;

impl Known {
    fn facts(&self, user_agent: &str) -> Arc<ClientFacts> {
        // Nobody's real user agent is longer; such are read but not kept.
        if user_agent.len() > KEPT_BYTES_MAX {
            return Arc::new(agent::client(user_agent));
        }
        let mut known = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = known.younger.get(user_agent) {
            return facts.clone();
        }
        let found = known.older.remove(user_agent);
        drop(known);
        let facts = found.unwrap_or_else(|| Arc::new(agent::client(user_agent)));
        let mut known = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if known.younger.len() >= self.generation_max {
            known.older = std::mem::take(&mut known.younger);
        }
        known.younger.insert(user_agent.to_owned(), facts.clone());
        facts
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::time::Timestamp;

    const AT: Timestamp = Timestamp::from_millis(1_772_439_300_000);
    const LATER: Timestamp = Timestamp::from_millis(1_772_442_000_000);
    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

    fn request(user_agent: &str) -> HitRequest {
        let ip = Some(IpAddr::from([193, 0, 6, 139]));
        HitRequest { is_get: true, ip, user_agent: user_agent.to_owned(), headers: Vec::new(), is_https: false }
    }

    #[test]
    fn a_person_has_place_and_client() {
        let enricher = Enricher::new(Geo::embedded());
        let (visitor, hold) = enricher.visitor(&request(FIREFOX), &Seen::alone(HitKind::Open, 0, LATER, Some(AT)));
        assert_eq!(visitor.place.country_code, "NL");
        assert_eq!(visitor.client.browser.name, "Firefox");
        assert_eq!(visitor.machine.verdict, Who::Person);
        assert_eq!(hold, None);
        assert_eq!(enricher.visitor(&request(FIREFOX), &Seen::alone(HitKind::Open, 0, LATER, Some(AT))).0, visitor);
    }

    #[test]
    fn a_proxy_hides_the_reader() {
        let enricher = Enricher::new(Geo::embedded());
        for agent in ["Mozilla/5.0", "Mozilla/5.0 (Windows NT 5.1) Firefox/11.0 (via ggpht.com GoogleImageProxy)"] {
            let (visitor, _) = enricher.visitor(&request(agent), &Seen::alone(HitKind::Open, 0, LATER, Some(AT)));
            assert_eq!(visitor.place, Place::default());
            assert_eq!(visitor.client.browser, Named::default());
            assert_eq!(visitor.client.operating_system, Named::default());
            assert!(!visitor.client.email_client.name.is_empty());
        }
    }

    #[test]
    fn a_click_takes_the_mail_client_from_the_open() {
        let enricher = Enricher::new(Geo::embedded());
        let thunderbird = Named { name: "Thunderbird".to_owned(), version: "140.3".to_owned() };
        let mut before = Visitor::default();
        before.client.email_client = thunderbird.clone();
        let open = EarlierHit { kind: HitKind::Open, link: 0, at: AT, visitor: Arc::new(before) };
        let seen = Seen { earlier: vec![open], ..Seen::alone(HitKind::Click, 1, LATER, Some(AT)) };
        let (visitor, _) = enricher.visitor(&request(FIREFOX), &seen);
        assert_eq!((visitor.client.email_client, &*visitor.client.browser.name), (thunderbird, "Firefox"));
        assert!(visitor.machine.reasons.iter().any(|reason| reason.contains("earlier open")));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let known = Known { generation_max: 8, ..Known::default() };
        for n in 0..100 {
            known.facts(&format!("Sample/{n}"));
            known.facts("Sample/often");
        }
        known.facts(&"x".repeat(5000));
        let generations = known.generations.lock().unwrap();
        assert!(generations.younger.len() <= 8 && generations.older.len() <= 8);
        assert!(generations.younger.contains_key("Sample/often"));
    }
}
