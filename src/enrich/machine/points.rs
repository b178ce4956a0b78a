//! Points for what a hit is in itself: when it came, and what its request says and leaves out.

use std::time::Duration;

use super::{Network, Seen};
use crate::enrich::agent::{AgentKind, ClientFacts};
use crate::model::hit::HitRequest;
use crate::model::time::Timestamp;

/// Points with their reasons.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub points: i32,
    pub reasons: Vec<String>,
}

impl Tally {
    /// Adds points, and the reason with them; nothing for no points.
    pub fn add(&mut self, points: i32, reason: &str) {
        if points != 0 {
            self.points += points;
            self.reasons.push(format!("{reason} ({points:+})"));
        }
    }
}

/// Points for the hit alone.
pub(super) fn of_the_hit(tally: &mut Tally, request: &HitRequest, facts: &ClientFacts, seen: &Seen) {
    delay(tally, facts, seen);
    user_agent(tally, request, facts, seen);
    if seen.is_click() {
        headers(tally, request, facts);
    }
    if seen.network == Some(Network::Cloud) {
        tally.add(if seen.is_click() { 35 } else { 20 }, "from servers for hire");
    }
}

/// The sooner after delivery, the less likely a person; an hour later, the more.
fn delay(tally: &mut Tally, facts: &ClientFacts, seen: &Seen) {
    let Some(delay) = seen.delay() else { return };
    // A mail program that shows the newest message loads its pictures at once, and scanners do not dress as one.
    if !seen.is_click() && facts.kind == AgentKind::EmailClient {
        return;
    }
    const STEPS: &[(u64, i32, i32)] = &[(2, 60, 60), (10, 40, 25), (30, 20, 10), (60, 10, 0)];
    let step = STEPS.iter().find(|(secs, ..)| delay <= Duration::from_secs(*secs));
    if let Some((_, click, open)) = step {
        let points = if seen.is_click() { *click } else { *open };
        tally.add(points, &format!("{} s after delivery", delay.as_secs()));
    }
    if delay > Duration::from_secs(3600) {
        tally.add(-20, "more than an hour after delivery");
    }
}

/// User agents that are missing, unknown or cannot be.
fn user_agent(tally: &mut Tally, request: &HitRequest, facts: &ClientFacts, seen: &Seen) {
    if request.user_agent.trim().is_empty() {
        tally.add(if seen.is_click() { 40 } else { 20 }, "no user agent");
    } else if facts.kind == AgentKind::Unknown && seen.is_click() {
        tally.add(35, "a link opened by no browser that we know");
    }
    let client = &facts.client;
    let is_explorer = client.browser.name == "Internet Explorer";
    let has_hints = request.headers.iter().any(|(name, _)| name.starts_with("sec-ch-ua"));
    let is_old_explorer = client.browser.version.split('.').next().and_then(|major| major.parse().ok()) >= Some(8);
    if is_explorer && (has_hints || is_old_explorer && client.operating_system.name == "macOS") {
        tally.add(30, "a user agent that cannot be");
    }
    if facts.chromium.is_some_and(|major| is_outdated(major, seen.now)) {
        outdated(tally, facts, seen);
    }
}

/// Scanners keep an old browser for years; people do on systems that get no newer one.
fn outdated(tally: &mut Tally, facts: &ClientFacts, seen: &Seen) {
    const REASON: &str = "a browser more than 30 months old";
    let system = &facts.client.operating_system;
    if seen.network == Some(Network::Cloud) {
        tally.add(30, REASON);
    } else if seen.is_click() && system.name == "Windows" && system.version == "10" {
        tally.add(20, REASON);
    }
}

/// Whether this version of Chromium is older than 30 months; version 100 came in March 2022, and
/// those since have followed each other by a month.
fn is_outdated(major: u32, now: Timestamp) -> bool {
    const VERSION_100: i64 = 1_648_512_000;
    const EACH: i64 = 31 * 86_400;
    const AGE_MAX: i64 = 30 * 30 * 86_400;
    let released = VERSION_100 + (i64::from(major) - 100) * EACH;
    now.as_secs() - released > AGE_MAX
}

/// What a browser says when a person opens a link.
fn headers(tally: &mut Tally, request: &HitRequest, facts: &ClientFacts) {
    let header = |name: &str| request.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
    let is_browser = facts.kind == AgentKind::Browser;
    if is_browser && header("accept-language").is_none_or(str::is_empty) {
        tally.add(20, "a browser without Accept-Language");
    }
    if facts.tells_mode && request.is_https && header("sec-fetch-mode") != Some("navigate") {
        tally.add(30, "a browser that does not say it navigates (Sec-Fetch-Mode)");
    }
    if header("accept") == Some("*/*") {
        tally.add(10, "accepts anything, where browsers ask for a page");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_grow_old() {
        let check = |major: u32, secs: i64, expected: bool| {
            assert_eq!(is_outdated(major, Timestamp::from_millis(secs * 1000)), expected, "{major}");
        };
        // 120 came in December 2023, 126 in June 2024: thirty months later each is too old, and not before.
        check(120, 1_779_000_000, false);
        check(120, 1_780_000_000, true);
        check(126, 1_795_305_600, false);
        check(126, 1_796_000_000, true);
    }
}
