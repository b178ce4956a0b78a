//! Person or machine: the judgement on one hit, with its grounds.
//!
//! Hard rules come first (a method that no reader uses, a name that a machine gives itself, a hit before the mail was
//! delivered); else points are added up, each with a reason: from 60 on it is a machine, from 30 on it is a person whose
//! webhook waits for what comes next, below it is a person. A burst shows only with later hits, and so a stored hit can
//! be judged again ([`judge_again`]). Pure: no clock, no network, no store; the caller brings all of it in [`Seen`].
//!
//! What cannot be told apart: a scanner that opens one link minutes later from an ordinary network with a true browser.

mod company;
mod points;

use std::time::Duration;

use super::agent::{AgentKind, ClientFacts, MachineKind};
use crate::model::hit::{EarlierHit, HitKind, HitRequest, Verdict, Who};
use crate::model::time::Timestamp;

/// Points from which a hit is a machine's.
const MACHINE_POINTS: i32 = 60;

/// Points from which a hit is suspect.
const SUSPECT_POINTS: i32 = 30;

/// A click this soon after delivery waits for what comes next.
const EARLY: Duration = Duration::from_secs(120);

/// How long a webhook waits to see whether a burst or a twin follows.
pub const HOLD: Duration = Duration::from_secs(10);

/// How long it waits when the same visitor comes with the links of several readers.
pub const HOLD_FAN_OUT: Duration = Duration::from_secs(30);

/// How long after a hit later ones can change the judgement on it.
pub const REJUDGE: Duration = Duration::from_secs(600);

/// Earlier hits beyond this number are not looked at.
const EARLIER_MAX: usize = 256;

/// What kind of network an address belongs to, where a source for that is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// Servers for hire.
    Cloud,
    /// A vendor of mail security.
    Security,
    /// Apple's own, and those that carry its relays.
    AppleRelay,
    /// Google's own.
    Google,
    /// A gateway that the people of a company share.
    Corporate,
    /// A mobile operator: one address, many people.
    Mobile,
}

/// With how many readers' tokens the same address and user agent came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FanOut {
    /// Readers within the last minute, this one included.
    pub minute: u32,
    /// Readers within the last hour, this one included.
    pub hour: u32,
}

impl FanOut {
    /// Whether so many readers are more than one visitor's own.
    pub fn is_crowd(self) -> bool {
        self.minute >= 5 || self.hour >= 20
    }
}

/// All that is known around a hit at the time of judging it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Pixel or link.
    pub kind: HitKind,
    /// Which link; 0 for the pixel.
    pub link: u16,
    /// When the hit came.
    pub now: Timestamp,
    /// When the next hop took the mail; `None` while it has not.
    pub delivered_at: Option<Timestamp>,
    /// Earlier hits of the same recipient, newest first; the first 256 are looked at.
    pub earlier: Vec<EarlierHit>,
    /// How many distinct links of the mail are tracked, where that is known.
    pub links: Option<u16>,
    /// The same visitor at other readers' links, where that is counted.
    pub fan_out: FanOut,
    /// The kind of network, where there is a source for that.
    pub network: Option<Network>,
}

impl Seen {
    /// A hit on delivered mail about which nothing else is known.
    pub fn alone(kind: HitKind, link: u16, now: Timestamp, delivered_at: Option<Timestamp>) -> Self {
        let (links, fan_out, network) = (None, FanOut::default(), None);
        Self { kind, link, now, delivered_at, earlier: Vec::new(), links, fan_out, network }
    }

    fn is_click(&self) -> bool {
        self.kind == HitKind::Click
    }

    /// How long after delivery the hit came.
    fn delay(&self) -> Option<Duration> {
        self.delivered_at.map(|delivered| self.now.since(delivered))
    }

    fn earlier(&self) -> impl Iterator<Item = &EarlierHit> {
        self.earlier.iter().take(EARLIER_MAX)
    }
}

/// The verdict on a hit, and what to do with its webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Who, how sure, and why.
    pub verdict: Verdict,
    /// How long the webhook should wait before the hit is judged again; the redirect never waits.
    pub hold: Option<Duration>,
}

/// Judges a hit.
///
/// The same arguments give the same judgement. What only later hits can show, [`judge_again`] finds.
pub fn judge(request: &HitRequest, facts: &ClientFacts, seen: &Seen) -> Judgement {
    if let Some(verdict) = certain(request, facts, seen) {
        return Judgement { verdict, hold: None };
    }
    let mut tally = points::Tally::default();
    points::of_the_hit(&mut tally, request, facts, seen);
    company::of_the_others(&mut tally, request, facts, seen);
    let hold = hold(tally.points, seen);
    Judgement { verdict: weighed(tally), hold }
}

/// Judges a stored hit again among `all` hits of the recipient, itself included, earlier and later; `None` when nothing
/// changes.
///
/// Finds the first hits of a burst, which nothing gave away when they came. Worth asking for hits of the last
/// [`REJUDGE`]; `links` as in [`Seen`].
pub fn judge_again(stored: &EarlierHit, all: &[EarlierHit], links: Option<u16>) -> Option<Verdict> {
    let verdict = &stored.visitor.machine;
    if verdict.verdict != Who::Person {
        return None;
    }
    if let Some(reason) = company::hidden_link(stored, all.iter().take(EARLIER_MAX)) {
        return found_by_hidden_link(reason);
    }
    if company::is_found(&verdict.reasons) {
        return None;
    }
    let mut tally = tally_of(verdict);
    let others: Vec<&EarlierHit> = all.iter().filter(|hit| *hit != stored).take(EARLIER_MAX).collect();
    company::burst(&mut tally, stored, &others, links);
    (tally.points >= MACHINE_POINTS).then(|| weighed(tally))
}

/// Judges a stored hit again whose visitor turned up at the mail of many other readers since; `None` when nothing
/// changes.
pub fn judge_in_a_crowd(stored: &EarlierHit, fan_out: FanOut, network: Option<Network>) -> Option<Verdict> {
    let verdict = &stored.visitor.machine;
    if verdict.verdict != Who::Person || company::is_crowded(&verdict.reasons) {
        return None;
    }
    let mut tally = tally_of(verdict);
    let is_mail_program = stored.kind == HitKind::Open && !stored.visitor.client.email_client.name.is_empty();
    company::fan_out(&mut tally, is_mail_program, fan_out, network);
    (tally.points >= MACHINE_POINTS).then(|| weighed(tally))
}

/// The points that a person's verdict was made of: what it leaves to certainty.
fn tally_of(verdict: &Verdict) -> points::Tally {
    points::Tally { points: 100 - i32::from(verdict.confidence), reasons: verdict.reasons.clone() }
}

/// The rules that need no weighing, in order.
fn certain(request: &HitRequest, facts: &ClientFacts, seen: &Seen) -> Option<Verdict> {
    if !request.is_get {
        return verdict(Who::Scanner, MachineKind::LinkChecker, 100, "the method is not GET");
    }
    if let Some(header) = prefetch_header(request) {
        return verdict(Who::Prefetch, MachineKind::Prefetch, 100, &format!("header {header} says prefetch"));
    }
    if let Some(found) = named(facts, seen) {
        return Some(found);
    }
    if seen.network == Some(Network::Security) {
        return verdict(Who::Scanner, MachineKind::SecurityScanner, 95, "the network of a vendor of mail security");
    }
    if seen.delivered_at.is_none_or(|delivered| seen.now < delivered) {
        return verdict(Who::Scanner, MachineKind::SecurityScanner, 99, "the mail was not delivered yet");
    }
    let hit = company::as_hit(request, seen);
    company::hidden_link(&hit, seen.earlier()).and_then(found_by_hidden_link)
}

/// Who followed the link that no reader sees, or comes with one who did.
fn found_by_hidden_link(reason: &str) -> Option<Verdict> {
    verdict(Who::Scanner, MachineKind::SecurityScanner, 99, reason)
}

/// What the user agent alone decides: machines by name, prefetchers and proxies.
fn named(facts: &ClientFacts, seen: &Seen) -> Option<Verdict> {
    let machine = facts.machine?;
    let reason = facts.reason.as_str();
    if seen.is_click() && matches!(facts.kind, AgentKind::ImageProxy | AgentKind::Prefetch) {
        // They fetch pictures and follow no links; whoever says so is something else.
        return verdict(Who::Scanner, MachineKind::Bot, 80, &format!("{reason}, which follows no links"));
    }
    match machine {
        MachineKind::AppleMpp => {
            let is_known = seen.network == Some(Network::AppleRelay);
            verdict(Who::Prefetch, machine, if is_known { 99 } else { 80 }, reason)
        }
        MachineKind::GmailPrefetch => {
            let is_known = seen.network == Some(Network::Google);
            verdict(Who::Prefetch, machine, if is_known { 99 } else { 85 }, reason)
        }
        MachineKind::ImageProxy => verdict(Who::Proxy, machine, 80, reason),
        MachineKind::Prefetch => verdict(Who::Prefetch, machine, 95, reason),
        MachineKind::SecurityScanner | MachineKind::LinkChecker | MachineKind::Bot => {
            verdict(Who::Scanner, machine, 95, reason)
        }
    }
}

fn verdict(who: Who, kind: MachineKind, confidence: u8, reason: &str) -> Option<Verdict> {
    Some(Verdict { verdict: who, kind: kind.as_str().to_owned(), confidence, reasons: vec![reason.to_owned()] })
}

/// The header by which a browser says that nobody looks yet.
fn prefetch_header(request: &HitRequest) -> Option<&'static str> {
    const HEADERS: &[(&str, &str)] =
        &[("purpose", "prefetch"), ("sec-purpose", "prefetch"), ("x-moz", "prefetch"), ("x-purpose", "preview")];
    let says = |name: &str, word: &str| {
        request.headers.iter().any(|(key, value)| key == name && value.to_ascii_lowercase().contains(word))
    };
    HEADERS.iter().find(|(name, word)| says(name, word)).map(|(name, _)| *name)
}

fn weighed(tally: points::Tally) -> Verdict {
    let is_machine = tally.points >= MACHINE_POINTS;
    let sure = if is_machine { tally.points } else { 100 - tally.points };
    Verdict {
        verdict: if is_machine { Who::Scanner } else { Who::Person },
        kind: if is_machine { MachineKind::SecurityScanner.as_str().to_owned() } else { String::new() },
        confidence: u8::try_from(sure.clamp(0, 95)).unwrap_or(0),
        reasons: tally.reasons,
    }
}

/// How long the webhook of a click that looks like a person's should wait for a burst or a twin.
fn hold(points: i32, seen: &Seen) -> Option<Duration> {
    if !seen.is_click() || points >= MACHINE_POINTS {
        return None;
    }
    let is_early = seen.delay().is_some_and(|delay| delay <= EARLY);
    if !is_early && points < SUSPECT_POINTS {
        return None;
    }
    Some(if seen.fan_out.minute > 1 { HOLD_FAN_OUT } else { HOLD })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::enrich::agent::client;

    pub(super) const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

    fn request(user_agent: &str, headers: &[(&str, &str)]) -> HitRequest {
        HitRequest {
            is_get: true,
            ip: Some(IpAddr::from([198, 51, 100, 7])),
            user_agent: user_agent.to_owned(),
            headers: headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            is_https: true,
        }
    }

    const NAVIGATION: &[(&str, &str)] =
        &[("accept", "text/html,*/*;q=0.8"), ("accept-language", "sv"), ("sec-fetch-mode", "navigate")];

    fn after(kind: HitKind, secs: u64) -> Seen {
        let delivered = Timestamp::from_millis(1_772_439_300_000);
        Seen::alone(kind, 1, delivered + Duration::from_secs(secs), Some(delivered))
    }

    fn check(request: &HitRequest, seen: &Seen, who: Who, kind: &str, confidence: u8) {
        let found = judge(request, &client(&request.user_agent), seen).verdict;
        assert_eq!((found.verdict, found.kind.as_str(), found.confidence), (who, kind, confidence), "{found:?}");
    }

    #[test]
    fn hard_rules_come_first() {
        use HitKind::{Click, Open};
        let head = HitRequest { is_get: false, ..request(CHROME, NAVIGATION) };
        check(&head, &after(Click, 9000), Who::Scanner, "link_checker", 100);
        let ahead = request(CHROME, &[("sec-purpose", "prefetch;prerender")]);
        check(&ahead, &after(Click, 9000), Who::Prefetch, "prefetch", 100);
        check(&request("Mozilla/5.0", &[]), &after(Open, 9000), Who::Prefetch, "apple_mpp", 80);
        let relay = Seen { network: Some(Network::AppleRelay), ..after(Open, 9000) };
        check(&request("Mozilla/5.0", &[]), &relay, Who::Prefetch, "apple_mpp", 99);
        check(&request("Mozilla/5.0", &[]), &after(Click, 9000), Who::Scanner, "bot", 80);
        let gmail = request("Mozilla/5.0 (via ggpht.com GoogleImageProxy)", &[]);
        check(&gmail, &after(Open, 1), Who::Proxy, "image_proxy", 80);
        check(&request("Examplebot/1.0", &[]), &after(Click, 9000), Who::Scanner, "bot", 95);
        let early = Seen { delivered_at: None, ..after(Click, 0) };
        check(&request(CHROME, NAVIGATION), &early, Who::Scanner, "security_scanner", 99);
        let vendor = Seen { network: Some(Network::Security), ..after(Click, 9000) };
        check(&request(CHROME, NAVIGATION), &vendor, Who::Scanner, "security_scanner", 95);
    }

    #[test]
    fn points_add_up() {
        use HitKind::{Click, Open};
        let person = request(CHROME, NAVIGATION);
        check(&person, &after(Click, 9000), Who::Person, "", 95);
        check(&person, &after(Click, 4), Who::Person, "", 60);
        check(&person, &after(Click, 1), Who::Scanner, "security_scanner", 60);
        check(&request(CHROME, &[]), &after(Click, 100), Who::Person, "", 50);
        check(&request(CHROME, &[]), &after(Click, 20), Who::Scanner, "security_scanner", 70);
        check(&request(CHROME, &[]), &after(Open, 100), Who::Person, "", 95);
        let cloud = Seen { network: Some(Network::Cloud), ..after(Click, 5) };
        check(&person, &cloud, Who::Scanner, "security_scanner", 75);
        check(&request("", &[]), &after(Click, 5), Who::Scanner, "security_scanner", 80);
        check(&request("", &[]), &after(Open, 500), Who::Person, "", 80);
    }

    #[test]
    fn only_young_or_suspect_clicks_wait() {
        use HitKind::{Click, Open};
        let check = |seen: &Seen, headers: &[(&str, &str)], hold: Option<Duration>| {
            let request = request(CHROME, headers);
            assert_eq!(judge(&request, &client(CHROME), seen).hold, hold, "{seen:?}");
        };
        check(&after(Click, 100), NAVIGATION, Some(HOLD));
        check(&after(Click, 121), NAVIGATION, None);
        check(&after(Click, 4000), NAVIGATION, None);
        check(&after(Click, 600), &[], Some(HOLD));
        check(&after(Click, 1), NAVIGATION, None);
        check(&after(Open, 5), NAVIGATION, None);
        let fan_out = FanOut { minute: 2, hour: 2 };
        check(&Seen { fan_out, ..after(Click, 100) }, NAVIGATION, Some(HOLD_FAN_OUT));
    }
}
