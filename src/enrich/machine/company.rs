//! Points for the company a hit is in: other hits on the same copy of the mail, and the same visitor at other copies.
//!
//! A burst is looked for in both directions, for it is found out only by its later hits. A person's click beside a
//! scanner's burst stays a person's: what counts fully is only what shares the network or the user agent.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::points::Tally;
use super::{FanOut, Network, Seen};
use crate::enrich::agent::{AgentKind, ClientFacts};
use crate::model::hit::{EarlierHit, HitKind, HitRequest, Place, Visitor, Who};
use crate::model::time::Timestamp;
use crate::model::token::HIDDEN_LINK;

/// How close the hits of a burst are.
const BURST: Duration = Duration::from_secs(10);

/// Three links this close are a burst in any mail, and both links of a mail with two are suspect.
const QUICK: Duration = Duration::from_secs(2);

/// How close a twin is.
const TWIN: Duration = Duration::from_secs(30);

/// An earlier click counts for a person only if it is no part of what is going on now.
const SETTLED: Duration = Duration::from_secs(60);

/// Points for what is around the hit.
pub(super) fn of_the_others(tally: &mut Tally, request: &HitRequest, facts: &ClientFacts, seen: &Seen) {
    let earlier: Vec<&EarlierHit> = seen.earlier().collect();
    let is_burst = burst(tally, &as_hit(request, seen), &earlier, seen.links);
    if seen.is_click() {
        if !is_burst {
            // Else the twin is one of the burst.
            twin(tally, request, facts, seen);
        }
        footer(tally, seen);
    }
    fan_out(tally, facts.kind == AgentKind::EmailClient, seen.fan_out, seen.network);
    acquaintance(tally, request, seen);
}

/// The hit that is being judged, in the form of those before it.
pub(super) fn as_hit(request: &HitRequest, seen: &Seen) -> EarlierHit {
    let ip_address = request.ip.map(|ip| ip.to_string()).unwrap_or_default();
    let place = Place { ip_address, ..Place::default() };
    let visitor = Visitor { place, user_agent: request.user_agent.clone(), ..Visitor::default() };
    EarlierHit { kind: seen.kind, link: seen.link, at: seen.now, visitor: Arc::new(visitor) }
}

/// Whether the hit is on the link that no reader sees, or comes from the network of one who followed it, or at the same
/// moment with the same user agent; a person's click beside a scanner's is neither.
pub(super) fn hidden_link<'h>(
    hit: &EarlierHit,
    others: impl IntoIterator<Item = &'h EarlierHit>,
) -> Option<&'static str> {
    let is_hidden = |hit: &EarlierHit| hit.kind == HitKind::Click && hit.link == HIDDEN_LINK;
    if is_hidden(hit) {
        return Some("a link that no reader sees");
    }
    let agent = &hit.visitor.user_agent;
    let is_company = |other: &EarlierHit| {
        let is_same_agent = || !agent.is_empty() && other.visitor.user_agent == *agent;
        let is_same_moment = apart(other.at, hit.at) <= BURST;
        is_hidden(other) && (is_same_network(address(other), address(hit)) || is_same_moment && is_same_agent())
    };
    others.into_iter().any(is_company).then_some("with one who followed a link that no reader sees")
}

/// Most links of the mail within seconds; whether it is so.
pub(super) fn burst(tally: &mut Tally, hit: &EarlierHit, others: &[&EarlierHit], links: Option<u16>) -> bool {
    // Less than two links are no burst, and most hits have no other link beside them.
    let near = others.iter().filter(|other| other.kind == HitKind::Click && apart(other.at, hit.at) <= BURST);
    let own = (hit.kind == HitKind::Click).then_some(hit.link);
    let mut near = own.into_iter().chain(near.map(|other| other.link));
    let first = near.next();
    if near.all(|link| Some(link) == first) {
        return false;
    }
    let own_ip = address(hit);
    let is_same = |other: &EarlierHit| {
        let agent = &other.visitor.user_agent;
        is_same_network(address(other), own_ip) || !agent.is_empty() && *agent == hit.visitor.user_agent
    };
    let is_click = hit.kind == HitKind::Click;
    let quick = widest_burst(hit, others, QUICK, is_same);
    if links == Some(2) {
        let is_found = is_click && quick >= 2;
        tally.add(if is_found { 40 } else { 0 }, BOTH);
        return is_found;
    }
    // A mail whose links we do not know may have many, and a person opens three of them quickly; but nobody opens ten.
    let enough = links.map_or(4, |links| (usize::from(links) * 4).div_ceil(5).clamp(3, 10));
    let own = widest_burst(hit, others, BURST, is_same);
    if own >= enough || quick >= 3 {
        tally.add(70, &format!("{own}{MOST}"));
    } else if is_click && widest_burst(hit, others, BURST, |_| true) >= enough {
        tally.add(40, BESIDE);
    } else {
        return false;
    }
    true
}

const BOTH: &str = "both links within two seconds";
const MOST: &str = " links within ten seconds";
const BESIDE: &str = "beside a burst over the links from elsewhere";

/// Whether a burst is among the reasons already.
pub(super) fn is_found(reasons: &[String]) -> bool {
    reasons.iter().any(|reason| [BOTH, MOST, BESIDE].iter().any(|burst| reason.contains(burst)))
}

/// The most distinct links hit within a `span` that contains `hit`, among the others that `counts` and itself.
fn widest_burst(
    hit: &EarlierHit,
    others: &[&EarlierHit],
    span: Duration,
    counts: impl Fn(&EarlierHit) -> bool,
) -> usize {
    let near = |other: &&&EarlierHit| other.kind == HitKind::Click && apart(other.at, hit.at) <= span && counts(other);
    let mut clicks: Vec<(Timestamp, u16)> = others.iter().filter(near).map(|other| (other.at, other.link)).collect();
    if hit.kind == HitKind::Click {
        clicks.push((hit.at, hit.link));
    }
    clicks.sort_unstable();
    // The span begins with one of the clicks before the hit, or with the hit itself; it slides over all of them once.
    let starts = clicks.iter().map(|(at, _)| *at).filter(|at| *at <= hit.at).chain([hit.at]);
    let mut times: HashMap<u16, usize> = HashMap::new();
    let (mut first, mut end, mut widest) = (0, 0, 0);
    for start in starts {
        while let Some((_, link)) = clicks.get(end).filter(|(at, _)| at.since(start) <= span) {
            *times.entry(*link).or_default() += 1;
            end += 1;
        }
        while let Some((_, link)) = clicks.get(first).filter(|(at, _)| *at < start) {
            if let Entry::Occupied(mut count) = times.entry(*link) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
            first += 1;
        }
        widest = widest.max(times.len());
    }
    widest
}

/// The same link from another network and another system, half a minute apart: one of the two is a scanner's. Among
/// servers for hire another user agent is enough.
fn twin(tally: &mut Tally, request: &HitRequest, facts: &ClientFacts, seen: &Seen) {
    let system = &facts.client.operating_system.name;
    let is_twin = |other: &EarlierHit| {
        let is_close = other.link == seen.link && apart(other.at, seen.now) <= TWIN;
        // What is known to be a machine's needs no second one.
        let is_person = other.visitor.machine.verdict == Who::Person;
        if other.kind != HitKind::Click || !is_close || !is_person {
            return false;
        }
        let from = address(other);
        let is_elsewhere = from.is_some() && request.ip.is_some() && !is_same_network(from, request.ip);
        let its_system = &other.visitor.client.operating_system.name;
        let is_other_system = !its_system.is_empty() && !system.is_empty() && its_system != system;
        let is_other_agent = seen.network == Some(Network::Cloud) && other.visitor.user_agent != request.user_agent;
        is_elsewhere && (is_other_system || is_other_agent)
    };
    if seen.earlier().any(is_twin) {
        tally.add(40, "the same link just before from another network and program");
    }
}

/// The last link of the mail, where unsubscribing stands, before anything else.
fn footer(tally: &mut Tally, seen: &Seen) {
    let is_last = seen.links.is_some_and(|links| links >= 3 && seen.link + 1 == links);
    let is_first = seen.earlier().next().is_none();
    if is_last && is_first && seen.delay().is_some_and(|delay| delay <= Duration::from_secs(60)) {
        tally.add(20, "the last link first, before the mail was opened");
    }
}

/// One visitor with the tokens of many readers. Colleagues share an address, and their mail programs a version; scanners
/// do not dress as mail programs.
pub(super) fn fan_out(tally: &mut Tally, is_mail_program: bool, fan_out: FanOut, network: Option<Network>) {
    if !fan_out.is_crowd() || is_mail_program {
        return;
    }
    let points = match network {
        Some(Network::Corporate | Network::Mobile | Network::AppleRelay) => 0,
        Some(Network::Cloud | Network::Security | Network::Google) => 60,
        // Perhaps an office: not enough alone. In the crowd that the tests play, 60 would take 38 of 40 hits of an office
        // that reads what concerns all for a scanner's, and find 10 more of 20 of a gateway that looks at a link each.
        None => 40,
    };
    let readers = fan_out.hour.max(fan_out.minute);
    tally.add(points, &format!("{CROWD} {readers} readers' mail"));
}

const CROWD: &str = "the same address and user agent at";

/// Whether a crowd of readers is among the reasons already.
pub(super) fn is_crowded(reasons: &[String]) -> bool {
    reasons.iter().any(|reason| reason.contains(CROWD))
}

/// What speaks for a person: they were here before.
fn acquaintance(tally: &mut Tally, request: &HitRequest, seen: &Seen) {
    let people = || seen.earlier().filter(|other| other.visitor.machine.verdict == Who::Person);
    let clicked = |other: &EarlierHit| {
        let is_settled = seen.now.since(other.at) >= SETTLED;
        other.kind == HitKind::Click && is_settled && other.visitor.user_agent == request.user_agent
    };
    if people().any(clicked) {
        tally.add(-40, "a person clicked before with the same user agent");
    }
    let opened = |other: &EarlierHit| {
        let has_mail_client = !other.visitor.client.email_client.name.is_empty();
        other.kind == HitKind::Open && has_mail_client && is_same_network(address(other), request.ip)
    };
    if seen.is_click() && people().any(opened) {
        tally.add(-30, "opened before in a mail program on the same network");
    }
}

/// The address a hit came from, as far as it was kept.
fn address(hit: &EarlierHit) -> Option<IpAddr> {
    hit.visitor.place.ip_address.parse().ok()
}

/// Whether both addresses are known and of one /24 or /48.
fn is_same_network(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (Some(IpAddr::V4(one)), Some(IpAddr::V4(other))) => u32::from(one) >> 8 == u32::from(other) >> 8,
        (Some(IpAddr::V6(one)), Some(IpAddr::V6(other))) => u128::from(one) >> 80 == u128::from(other) >> 80,
        _ => false,
    }
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    if one < other { other.since(one) } else { one.since(other) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::agent::client;
    use crate::enrich::machine::{judge, judge_again, judge_in_a_crowd};

    const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1";
    const DELIVERED: Timestamp = Timestamp::from_millis(1_772_439_300_000);

    /// A click on `link`, so many seconds after delivery.
    fn click(secs: u64, link: u16, ip: [u8; 4]) -> EarlierHit {
        let place = Place { ip_address: IpAddr::from(ip).to_string(), ..Place::default() };
        let visitor =
            Visitor { place, client: client(CHROME).client, user_agent: CHROME.to_owned(), ..Visitor::default() };
        EarlierHit { kind: HitKind::Click, link, at: DELIVERED + Duration::from_secs(secs), visitor: Arc::new(visitor) }
    }

    fn seen(hit: &mut EarlierHit) -> &mut Visitor {
        Arc::make_mut(&mut hit.visitor)
    }

    /// Who the visitor of `of` is among earlier hits, and one of the reasons.
    fn check(of: &EarlierHit, links: Option<u16>, earlier: &[EarlierHit], who: Who, reason: &str) {
        let headers = [("accept-language", "sv"), ("sec-fetch-mode", "navigate")];
        let request = HitRequest {
            is_get: true,
            ip: address(of),
            user_agent: of.visitor.user_agent.clone(),
            headers: headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            is_https: true,
        };
        let alone = Seen::alone(of.kind, of.link, of.at, Some(DELIVERED));
        let seen = Seen { links, earlier: earlier.to_vec(), ..alone };
        let found = judge(&request, &client(&request.user_agent), &seen).verdict;
        assert_eq!(found.verdict, who, "{found:?}");
        assert!(reason.is_empty() || found.reasons.iter().any(|given| given.contains(reason)), "{reason}: {found:?}");
    }

    const HOME: [u8; 4] = [192, 0, 2, 7];
    const ELSEWHERE: [u8; 4] = [198, 51, 100, 9];

    #[test]
    fn a_burst_is_found_out_by_its_last_hits_and_then_as_a_whole() {
        let mut burst: Vec<EarlierHit> = (0..5).map(|link| click(100 + 2 * u64::from(link), link, ELSEWHERE)).collect();
        check(&burst[2], Some(5), &burst[..2], Who::Person, "");
        check(&burst[3], Some(5), &burst[..3], Who::Scanner, "4 links within ten seconds");
        check(&burst[3], None, &burst[..3], Who::Scanner, "4 links within ten seconds");
        check(&burst[4], Some(20), &burst[..4], Who::Person, "");
        let many: Vec<EarlierHit> = (0..10).map(|link| click(100 + u64::from(link), link, ELSEWHERE)).collect();
        check(&many[9], Some(300), &many[..9], Who::Scanner, "10 links within ten seconds");
        burst.iter_mut().for_each(|hit| seen(hit).machine.confidence = 90);
        let again = |links| burst.iter().filter(|hit| judge_again(hit, &burst, links).is_some()).count();
        assert_eq!((again(Some(5)), again(Some(20)), again(Some(2))), (5, 0, 0));
        let found = judge_again(&burst[0], &burst, Some(5)).unwrap();
        assert_eq!((found.verdict, found.confidence), (Who::Scanner, 80));
    }

    #[test]
    fn a_burst_counts_once() {
        let mut both = [click(100, 0, HOME), click(101, 1, HOME)];
        both.iter_mut().for_each(|hit| seen(hit).machine.confidence = 60);
        assert!(judge_again(&both[1], &both, Some(2)).is_some());
        seen(&mut both[1]).machine.reasons.push(format!("{BOTH} (+40)"));
        assert_eq!(judge_again(&both[1], &both, Some(2)), None);
    }

    #[test]
    fn three_links_at_once_are_a_burst_in_any_mail() {
        let quick: Vec<EarlierHit> = (0..3).map(|link| click(300 + u64::from(link), link, HOME)).collect();
        check(&quick[2], None, &quick[..2], Who::Scanner, "3 links within");
        check(&quick[2], Some(20), &quick[..2], Who::Scanner, "3 links within");
    }

    #[test]
    fn a_persons_click_beside_a_burst_stays_a_persons() {
        let burst: Vec<EarlierHit> = (0..5).map(|link| click(4000 + u64::from(link), link, ELSEWHERE)).collect();
        let mut person = click(4005, 2, HOME);
        seen(&mut person).user_agent = IPHONE.to_owned();
        check(&person, Some(5), &burst, Who::Person, "beside a burst");
    }

    #[test]
    fn quick_readers_are_no_burst() {
        let slow: Vec<EarlierHit> = (0..3).map(|link| click(300 + 20 * u64::from(link), link, HOME)).collect();
        check(&slow[2], Some(3), &slow[..2], Who::Person, "");
        let same = [click(300, 1, HOME), click(301, 1, HOME), click(302, 1, HOME)];
        check(&same[2], Some(3), &same[..2], Who::Person, "");
    }

    #[test]
    fn who_follows_the_hidden_link_is_no_person_nor_is_its_company() {
        let hidden = click(500, HIDDEN_LINK, ELSEWHERE);
        let others = std::slice::from_ref(&hidden);
        check(&hidden, Some(4), &[], Who::Scanner, "a link that no reader sees");
        check(&click(9_000, 1, ELSEWHERE), Some(4), others, Who::Scanner, "with one who followed");
        check(&click(505, 1, HOME), Some(4), others, Who::Scanner, "with one who followed");
        check(&click(515, 1, HOME), Some(4), others, Who::Person, "");
        let mut beside = click(505, 1, HOME);
        seen(&mut beside).user_agent = IPHONE.to_owned();
        assert_eq!(hidden_link(&beside, others), None);
        let before = click(498, 1, ELSEWHERE);
        let again = judge_again(&before, &[hidden, before.clone()], Some(4)).unwrap();
        assert_eq!((again.verdict, again.confidence), (Who::Scanner, 99));
    }

    #[test]
    fn the_second_of_twins_is_suspect() {
        let mut first = click(500, 1, ELSEWHERE);
        seen(&mut first).client.operating_system.name = "Linux".to_owned();
        check(&click(510, 1, HOME), Some(4), std::slice::from_ref(&first), Who::Person, "the same link just before");
        seen(&mut first).machine.verdict = Who::Scanner;
        check(&click(510, 1, HOME), Some(4), std::slice::from_ref(&first), Who::Person, "");
    }

    #[test]
    fn those_who_were_here_before_are_people() {
        let mut open = click(3, 0, HOME);
        open.kind = HitKind::Open;
        seen(&mut open).client.email_client.name = "Thunderbird".to_owned();
        check(&click(5, 1, HOME), Some(4), &[open], Who::Person, "opened before in a mail program");
        check(&click(5000, 1, HOME), Some(4), &[click(100, 1, HOME)], Who::Person, "a person clicked before");
    }

    #[test]
    fn many_readers_behind_one_address_are_not_yet_a_machine() {
        let check = |network: Option<Network>, who: Who| {
            let request = HitRequest {
                is_get: true,
                ip: Some(IpAddr::from(HOME)),
                user_agent: CHROME.to_owned(),
                headers: vec![("accept-language".to_owned(), "sv".to_owned())],
                is_https: false,
            };
            let fan_out = FanOut { minute: 6, hour: 30 };
            let at = DELIVERED + Duration::from_secs(1800);
            let seen = Seen { network, fan_out, ..Seen::alone(HitKind::Click, 1, at, Some(DELIVERED)) };
            assert_eq!(judge(&request, &client(CHROME), &seen).verdict.verdict, who, "{network:?}");
        };
        check(None, Who::Person);
        check(Some(Network::Corporate), Who::Person);
        check(Some(Network::Cloud), Who::Scanner);
    }

    #[test]
    fn the_first_hits_of_a_crowd_are_judged_again_once() {
        let mut first = click(3600, 1, ELSEWHERE);
        seen(&mut first).machine.confidence = 80;
        let crowd = FanOut { minute: 5, hour: 5 };
        let again = |hit: &EarlierHit, network| judge_in_a_crowd(hit, crowd, network).map(|found| found.verdict);
        assert_eq!(again(&first, Some(Network::Cloud)), Some(Who::Scanner));
        assert_eq!(again(&first, Some(Network::Mobile)), None);
        assert_eq!(judge_in_a_crowd(&first, FanOut { minute: 4, hour: 4 }, Some(Network::Cloud)), None);
        assert_eq!(again(&first, None), Some(Who::Scanner), "with what spoke against it before");
        seen(&mut first).machine.confidence = 95;
        assert_eq!(again(&first, None), None);
        seen(&mut first).machine.reasons.push(format!("{CROWD} 5 readers' mail (+40)"));
        assert_eq!(again(&first, Some(Network::Cloud)), None);
        let mut open = EarlierHit { kind: HitKind::Open, ..click(3600, 0, ELSEWHERE) };
        seen(&mut open).client.email_client.name = "Thunderbird".to_owned();
        seen(&mut open).machine.confidence = 95;
        assert_eq!(again(&open, Some(Network::Cloud)), None);
    }
}
