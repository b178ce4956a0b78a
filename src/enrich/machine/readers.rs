//! A made-up crowd of readers and scanners, judged hit by hit as they come, and again when all have come.
//!
//! Each model plans the hits on one reader's copy of a mail and says of each who makes it. The whole crowd is played on
//! one clock, so that fan-out is counted across readers. The figures that we promise are asserted; what cannot be told
//! apart is asserted too, from the other side, so that nobody believes in it.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::*;
use crate::enrich::agent::client;
use crate::model::hit::{Place, Visitor};

const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
const CHROME_79: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/79.0.3945.117 Safari/537.36";
const EDGE: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0";
const PHONE: &str =
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36";
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const OUTLOOK: &str = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Trident/7.0; Microsoft Outlook 16.0.5071; ms-office; MSOffice 16)";
const THUNDERBIRD: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3";
const GMAIL: &str = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)";

/// When the crowd's mail is delivered.
const DELIVERED: Timestamp = Timestamp::from_millis(1_772_439_300_000);

/// Enough to repeat the same crowd.
struct Dice(u64);

impl Dice {
    /// A number from `low` up to and without `high`.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (mixed ^ (mixed >> 31)) % (high - low)
    }
}

/// Whether a request carries what a browser of today sends.
#[derive(Clone, Copy, PartialEq)]
enum Headers {
    Full,
    Bare,
}

/// One planned hit.
#[derive(Clone)]
struct Plan {
    reader: usize,
    model: &'static str,
    millis: u64,
    kind: HitKind,
    link: u16,
    ip: [u8; 4],
    agent: &'static str,
    headers: Headers,
    network: Option<Network>,
    /// Who it is in truth.
    who: Who,
}

/// One reader's copy of a mail, while it is planned.
struct Copy<'a> {
    plans: &'a mut Vec<Plan>,
    reader: usize,
    model: &'static str,
    home: [u8; 4],
}

impl Copy<'_> {
    /// An address that this copy's scanner shares with nobody, so that fan-out does not help.
    fn of_scanner(&self, network: u8) -> [u8; 4] {
        let [_, high, low, host] = self.home;
        [network, high, low, host]
    }

    fn hit(&mut self, who: Who, millis: u64, link: Option<u16>, agent: &'static str) -> &mut Plan {
        let kind = if link.is_some() { HitKind::Click } else { HitKind::Open };
        self.plans.push(Plan {
            reader: self.reader,
            model: self.model,
            millis,
            kind,
            link: link.unwrap_or(0),
            ip: self.home,
            agent,
            headers: Headers::Full,
            network: None,
            who,
        });
        self.plans.last_mut().unwrap()
    }
}

const LINKS: u16 = 6;

/// The crowd: `count` readers of each model.
fn crowd(dice: &mut Dice, count: usize) -> Vec<Plan> {
    type Model = fn(&mut Copy, &mut Dice);
    const MODELS: &[(&str, Model)] = &[
        ("apple mpp", apple_mpp),
        ("gmail", gmail),
        ("outlook and defender", defender),
        ("defender, network known", defender_known),
        ("gateway burst", gateway_burst),
        ("slow scanner", slow_scanner),
        ("office of thirty", office),
        ("vpn", vpn),
        ("fast person", fast_person),
        ("webmail", webmail),
    ];
    let mut plans = Vec::new();
    let mut reader = 0;
    for (number, (model, plan)) in MODELS.iter().enumerate() {
        for _ in 0..count {
            reader += 1;
            // Thirty colleagues share an address, everybody else has their own.
            let (high, low) =
                if *model == "office of thirty" { (reader / 30, 1) } else { (reader / 250, reader % 250) };
            let home = [20 + number as u8, high as u8, low as u8, 9];
            plan(&mut Copy { plans: &mut plans, reader, model, home }, dice);
        }
    }
    plans.sort_by_key(|plan| plan.millis);
    plans
}

fn apple_mpp(copy: &mut Copy, dice: &mut Dice) {
    copy.hit(Who::Prefetch, dice.between(5_000, 3_600_000), None, "Mozilla/5.0").ip = [17, 58, 1, 1];
    copy.hit(Who::Person, dice.between(15_000, 90_000_000), Some(1), SAFARI);
}

fn gmail(copy: &mut Copy, dice: &mut Dice) {
    let opened = dice.between(20_000, 40_000_000);
    copy.hit(Who::Proxy, opened, None, GMAIL).ip = [66, 249, 80, 1];
    let agent = if dice.between(0, 2) == 0 { CHROME } else { PHONE };
    copy.hit(Who::Person, opened + dice.between(3_000, 90_000), Some(dice.between(0, 6) as u16), agent);
}

/// Defender opens some links soon after delivery, and the clicked one again beside the person.
fn defender(copy: &mut Copy, dice: &mut Dice) {
    let opened = dice.between(30_000, 20_000_000);
    let (early, late) = (copy.of_scanner(40), copy.of_scanner(41));
    for link in 0..dice.between(1, 4) {
        copy.hit(Who::Scanner, dice.between(500, 9_000), Some(link as u16), CHROME_79).ip = early;
    }
    copy.hit(Who::Person, opened, None, OUTLOOK);
    let clicked = opened + dice.between(4_000, 300_000);
    copy.hit(Who::Person, clicked, Some(1), EDGE);
    copy.hit(Who::Scanner, clicked + dice.between(200, 3_000), Some(1), CHROME_79).ip = late;
}

fn defender_known(copy: &mut Copy, dice: &mut Dice) {
    let first = copy.plans.len();
    defender(copy, dice);
    for plan in copy.plans.iter_mut().skip(first).filter(|plan| plan.who == Who::Scanner) {
        plan.network = Some(Network::Cloud);
    }
}

/// A gateway loads the pixel and every link within seconds; the person comes hours later.
fn gateway_burst(copy: &mut Copy, dice: &mut Dice) {
    let mut at = dice.between(1_000, 280_000);
    let headers = if dice.between(0, 2) == 0 { Headers::Full } else { Headers::Bare };
    let ip = copy.of_scanner(45);
    copy.hit(Who::Scanner, at, None, CHROME).ip = ip;
    for link in 0..LINKS {
        at += dice.between(50, 1_500);
        let plan = copy.hit(Who::Scanner, at, Some(link), CHROME);
        (plan.ip, plan.headers) = (ip, headers);
    }
    copy.hit(Who::Person, at + dice.between(30_000, 9_000_000), Some(2), FIREFOX);
}

/// One link after the other, minutes later, with a true browser.
fn slow_scanner(copy: &mut Copy, dice: &mut Dice) {
    let mut at = dice.between(60_000, 300_000);
    let ip = copy.of_scanner(46);
    for link in 0..3 {
        copy.hit(Who::Scanner, at, Some(link), CHROME).ip = ip;
        at += dice.between(20_000, 60_000);
    }
}

fn office(copy: &mut Copy, dice: &mut Dice) {
    let opened = dice.between(5_000, 7_200_000);
    copy.hit(Who::Person, opened, None, OUTLOOK);
    copy.hit(Who::Person, opened + dice.between(3_000, 600_000), Some(dice.between(0, 6) as u16), EDGE);
}

fn vpn(copy: &mut Copy, dice: &mut Dice) {
    let opened = dice.between(5_000, 50_000_000);
    copy.hit(Who::Person, opened, None, THUNDERBIRD);
    copy.hit(Who::Person, opened + dice.between(2_000, 60_000), Some(1), FIREFOX).ip = [185, 65, 134, 7];
}

/// A code or a password is waited for.
fn fast_person(copy: &mut Copy, dice: &mut Dice) {
    copy.hit(Who::Person, dice.between(4_000, 9_000), Some(0), if dice.between(0, 2) == 0 { CHROME } else { SAFARI });
}

/// Reads in a browser and opens a few links.
fn webmail(copy: &mut Copy, dice: &mut Dice) {
    let mut at = dice.between(8_000, 9_000_000);
    copy.hit(Who::Person, at, None, FIREFOX);
    for link in 0..dice.between(1, 5) {
        at += dice.between(2_500, 40_000);
        copy.hit(Who::Person, at, Some(link as u16), FIREFOX);
    }
}

/// Plays the crowd; who each hit was judged to be in the end.
fn play(plans: &[Plan]) -> Vec<Who> {
    let mut copies: BTreeMap<usize, Vec<(usize, EarlierHit)>> = BTreeMap::new();
    let known: BTreeMap<&str, ClientFacts> = plans
        .iter()
        .map(|plan| plan.agent)
        .collect::<HashSet<_>>()
        .into_iter()
        .map(|agent| (agent, client(agent)))
        .collect();
    for (number, plan) in plans.iter().enumerate() {
        let copy = copies.entry(plan.reader).or_default();
        let earlier = copy.iter().rev().map(|(_, hit)| hit.clone()).collect();
        let hit = judged(plan, &known[plan.agent], earlier, fan_out(plans, number));
        copy.push((number, hit));
    }
    let mut judged = vec![Who::Person; plans.len()];
    for copy in copies.values() {
        let all: Vec<EarlierHit> = copy.iter().map(|(_, hit)| hit.clone()).collect();
        for (number, hit) in copy {
            let again = judge_again(hit, &all, Some(LINKS));
            judged[*number] = again.unwrap_or_else(|| hit.visitor.machine.clone()).verdict;
        }
    }
    judged
}

fn judged(plan: &Plan, facts: &ClientFacts, earlier: Vec<EarlierHit>, fan_out: FanOut) -> EarlierHit {
    let full = [("accept-language", "sv"), ("accept", "text/html,*/*;q=0.8"), ("sec-fetch-mode", "navigate")];
    let bare = [("accept", "*/*")];
    let headers: &[(&str, &str)] = if plan.headers == Headers::Full { &full } else { &bare };
    let request = HitRequest {
        is_get: true,
        ip: Some(IpAddr::from(plan.ip)),
        user_agent: plan.agent.to_owned(),
        headers: headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        is_https: true,
    };
    let at = DELIVERED + Duration::from_millis(plan.millis);
    let alone = Seen::alone(plan.kind, plan.link, at, Some(DELIVERED));
    let seen = Seen { earlier, fan_out, links: Some(LINKS), network: plan.network, ..alone };
    let place = Place { ip_address: IpAddr::from(plan.ip).to_string(), ..Place::default() };
    let machine = judge(&request, facts, &seen).verdict;
    let visitor = Visitor { place, client: facts.client.clone(), user_agent: request.user_agent, machine };
    EarlierHit { kind: plan.kind, link: plan.link, at, visitor }
}

/// The readers at whose mail the same address and user agent were lately.
fn fan_out(plans: &[Plan], number: usize) -> FanOut {
    let this = &plans[number];
    let readers = |millis: u64| {
        let before = plans[..=number].iter().rev().take_while(|plan| plan.millis + millis >= this.millis);
        let same = before.filter(|plan| plan.ip == this.ip && plan.agent == this.agent);
        same.map(|plan| plan.reader).collect::<HashSet<_>>().len() as u32
    };
    FanOut { minute: readers(60_000), hour: readers(3_600_000) }
}

#[test]
fn people_are_kept_and_bursts_are_caught() {
    let plans = crowd(&mut Dice(7), 120);
    let mut figures: BTreeMap<(&str, bool), (u32, u32)> = BTreeMap::new();
    for (plan, judged) in plans.iter().zip(play(&plans)) {
        let figure = figures.entry((plan.model, plan.who.is_person())).or_default();
        figure.1 += 1;
        figure.0 += u32::from(if plan.who.is_person() { judged.is_person() } else { judged == plan.who });
    }
    for ((model, is_person), (right, all)) in &figures {
        let share = 100.0 * f64::from(*right) / f64::from(*all);
        println!("{model:24} {:8} {right:5} of {all:5} {share:6.1} %", if *is_person { "people" } else { "machines" });
    }
    let share = |right: u32, all: u32| 100.0 * f64::from(right) / f64::from(all);
    let machines = |model: &str| figures.get(&(model, false)).map(|(right, all)| share(*right, *all)).unwrap();
    let people = figures.iter().filter(|(key, _)| key.1).fold((0, 0), |sum, (_, of)| (sum.0 + of.0, sum.1 + of.1));
    assert!(share(people.0, people.1) >= 99.0, "people kept");
    assert!(machines("gateway burst") >= 98.0, "bursts caught");
    assert!(machines("defender, network known") >= 98.0, "scanners from servers for hire, soon after delivery");
    assert!(machines("apple mpp") >= 100.0, "prefetchers known");
    // One link after the other in a true browser: nothing tells it from a person.
    assert!(machines("slow scanner") < 20.0, "slow scanners are not told apart");
}
