//! A made-up crowd of readers and scanners, played against the whole program hit by hit, on one clock.
//!
//! Each model plans the hits on one reader's copy of a mail and says of each who makes it. The mails are handed in and
//! delivered (in capture mode), the hits come over a socket with the headers and addresses of their models, and the
//! verdicts are read from the store when all have come: what is measured is what runs. People come from addresses of
//! which nothing is known; where a model's scanner is known to hire servers, it comes from such an address. Shared by the
//! integration tests and the corpus program.

#![allow(clippy::unwrap_used, reason = "a play that cannot go on says so by panicking")]

mod play;

pub use play::play;
use postback::model::hit::{HitKind, Who};

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
pub enum Headers {
    /// All of it.
    Full,
    /// Next to nothing.
    Bare,
}

/// One planned hit.
#[derive(Clone)]
pub struct Plan {
    /// At whose mail.
    pub reader: usize,
    /// Of which model.
    pub model: &'static str,
    /// How long after delivery.
    pub millis: u64,
    /// Pixel or link.
    pub kind: HitKind,
    /// Which link.
    pub link: u16,
    /// From where.
    pub ip: [u8; 4],
    /// With what.
    pub agent: &'static str,
    /// How much the request says.
    pub headers: Headers,
    /// Who it is in truth.
    pub who: Who,
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
        let [_, _, low, host] = self.home;
        [10, 100 + network, low, host]
    }

    fn hit(&mut self, who: Who, millis: u64, link: Option<u16>, agent: &'static str) -> &mut Plan {
        let kind = if link.is_some() { HitKind::Click } else { HitKind::Open };
        let (reader, model, ip, link) = (self.reader, self.model, self.home, link.unwrap_or(0));
        self.plans.push(Plan { reader, model, millis, kind, link, ip, agent, headers: Headers::Full, who });
        self.plans.last_mut().unwrap()
    }
}

/// Links of each mail.
pub const LINKS: u16 = 6;

/// The crowd: `count` readers of each model, at most 250, in the order of their hits.
pub fn crowd(seed: u64, count: usize) -> Vec<Plan> {
    type Model = fn(&mut Copy, &mut Dice);
    const MODELS: &[(&str, Model)] = &[
        ("apple mpp", apple_mpp),
        ("gmail", gmail),
        ("outlook and defender", defender),
        ("defender, network known", defender_known),
        ("gateway burst", gateway_burst),
        ("slow scanner", slow_scanner),
        ("office of thirty", office),
        ("office at once", office_at_once),
        ("gateway, a link each", gateway_of_all),
        ("vpn", vpn),
        ("fast person", fast_person),
        ("webmail", webmail),
    ];
    let mut dice = Dice(seed);
    let mut plans = Vec::new();
    let mut reader = 0;
    for (number, (model, plan)) in MODELS.iter().enumerate() {
        for place in 0..count {
            // Thirty colleagues share an address, everybody else has their own.
            let low = if model.starts_with("office") { place / 30 } else { place };
            let home = [10, number as u8, low as u8, 9];
            plan(&mut Copy { plans: &mut plans, reader, model, home }, &mut dice);
            reader += 1;
        }
    }
    plans.sort_by_key(|plan| plan.millis);
    plans
}

/// What came of the hits of one model that people made, or that machines made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figure {
    /// Judged to be who they are.
    pub right: u32,
    /// All of them.
    pub all: u32,
}

/// The figures by model, and whether people or machines made the hits. Of a person's hit it counts that a person is
/// seen, of a machine's which kind.
pub fn figures(plans: &[Plan], judged: &[Who]) -> std::collections::BTreeMap<(&'static str, bool), Figure> {
    let mut figures = std::collections::BTreeMap::new();
    for (plan, judged) in plans.iter().zip(judged) {
        let figure: &mut Figure = figures.entry((plan.model, plan.who.is_person())).or_default();
        figure.all += 1;
        let is_right = if plan.who.is_person() { judged.is_person() } else { *judged == plan.who };
        figure.right += u32::from(is_right);
    }
    figures
}

/// The hits of all people, whatever their model.
pub fn people(figures: &std::collections::BTreeMap<(&'static str, bool), Figure>) -> Figure {
    let people = figures.iter().filter(|((_, is_person), _)| *is_person);
    people.fold(Figure::default(), |sum, (_, of)| Figure { right: sum.right + of.right, all: sum.all + of.all })
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
        let [.., low, host] = plan.ip;
        plan.ip = [3, 210, low, host];
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

/// What concerns all of an office: its people, who read in browsers of one version, follow the link within minutes.
fn office_at_once(copy: &mut Copy, dice: &mut Dice) {
    let opened = dice.between(15_000, 300_000);
    copy.hit(Who::Person, opened, None, EDGE);
    copy.hit(Who::Person, opened + dice.between(3_000, 60_000), Some(dice.between(0, 3) as u16), EDGE);
}

/// One address looks at a link of everybody's mail, soon after it came, dressed as a browser.
fn gateway_of_all(copy: &mut Copy, dice: &mut Dice) {
    copy.hit(Who::Scanner, dice.between(10_000, 50_000), Some(0), CHROME).ip = [10, 147, 0, 9];
}

fn vpn(copy: &mut Copy, dice: &mut Dice) {
    let opened = dice.between(5_000, 50_000_000);
    copy.hit(Who::Person, opened, None, THUNDERBIRD);
    copy.hit(Who::Person, opened + dice.between(2_000, 60_000), Some(1), FIREFOX).ip = [10, 250, 134, 7];
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
