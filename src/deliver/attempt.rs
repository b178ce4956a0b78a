//! One delivery, tried once: its way, its copy, the conversations.
//!
//! A way has hops, and the hop of exchangers has hosts; they are tried in turn until one has said something about the mail
//! itself. A host that rests is passed over, and where all rest the mail waits for the first. The turn at a host comes
//! before the copy, so that no more copies are in memory than connections may be open; room for a large one comes before
//! the turn. A kept connection that turns out to be gone before the host took anything is replaced by a fresh one within
//! the same attempt. One record tells it all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::copy::{Copy, Form, NoCopy, Taken};
use super::dialogue::Dialogue;
use super::exchangers::{Nowhere, exchangers};
use super::health::ASKED_EVERY;
use super::judge;
use super::opening::TlsTried;
use super::pace::Signal;
use super::reply::Reply;
use super::route::{Hop, Host, Owner};
use super::settings::{CAPTURE, MX};
use super::sites::Site;
use super::sources::Choice;
use super::throttle::Turn;
use super::tls_sessions::Yardstick;
use super::transport::{Connection, Failure, Mail, Unfit, Wishes, let_go};
use super::wire::Fault;
use super::{Deliver, first_fit, locked};
use crate::mail::reply::Stage;
use crate::model::delivery::Outcome;
use crate::model::message::TlsWish;
use crate::model::queue::Mark;
use crate::model::reason::Reason;
use crate::model::statistics::Day;
use crate::model::suppression;
use crate::model::time::Timestamp;
use crate::store::deliveries::Leased;

/// What one attempt came to.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) outcome: Outcome,
    /// `capture`, `mx`, or the name of the smarthost.
    pub(super) route: String,
    /// Host and address; empty when there was no connection.
    pub(super) peer: String,
    /// TLS version and cipher, and how the certificate was checked; empty in clear.
    pub(super) tls: String,
    /// The reply code that decided.
    pub(super) code: Option<u16>,
    pub(super) dialogue: String,
    /// What it says about the site whose turn it was, if there was a conversation with it.
    pub(super) signal: Option<Signal>,
}

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Attempted {
    /// It was made.
    Tried(Tried),
    /// The store is away; nothing was tried, and the lease ends by itself.
    StoreAway,
    /// It is another site's turn that is wanted; nothing was tried.
    Misplaced,
    /// Nothing may go out before this time; nothing was tried.
    PutOff(Timestamp),
}

/// An attempt under way.
struct Trip<'a> {
    leased: &'a Leased,
    /// Whose turn it is.
    site: &'a Site,
    /// The exchangers are that site.
    is_among_exchangers: bool,
    signal: Option<Signal>,
    dialogue: Dialogue,
    /// Room for the copy.
    room: Option<Taken>,
    copy: Option<Copy>,
    /// What the last host that was tried came to.
    last: Option<Stop>,
    /// How long the hosts that were passed over rest yet, at least.
    rest: Option<Duration>,
    /// What came of TLS with the last host, if a connection was made to it.
    tls_tried: Option<TlsTried>,
}

/// What came of one host, or of looking for one.
struct Stop {
    outcome: Outcome,
    route: String,
    peer: String,
    tls: String,
    code: Option<u16>,
}

/// What came of one conversation.
struct Conversed {
    ended: Result<Reply, Failure>,
    /// With whom.
    peer: String,
    /// How it was encrypted.
    tls: String,
    /// The host tells whoever wants to hear it what becomes of the mail.
    tells: bool,
    /// The host was asked to report that the mail arrived, and does.
    reports: bool,
    /// What came of TLS, if a connection was made for it.
    tls_tried: Option<TlsTried>,
}

/// Whether the attempt goes on.
enum Onward {
    /// To the next host.
    Next,
    /// To the next host; mail may be sent to no address of this one.
    Barred,
    /// It has ended, with what the trip's last stop says.
    Ended,
    /// The store is away; nothing was tried.
    StoreAway,
    /// Another site's turn is wanted; nothing was tried.
    Misplaced,
    /// Nothing may go out before this time.
    PutOff(Timestamp),
}

impl Trip<'_> {
    fn stops(&mut self, route: &str, outcome: Outcome) {
        let (peer, tls) = (String::new(), String::new());
        self.last = Some(Stop { outcome, route: route.to_owned(), peer, tls, code: None });
    }

    fn passes(&mut self, host: &Host, rest: Duration) {
        self.dialogue.happened(&format!("{} rests for {} s yet", host.peer.host, rest.as_secs()));
        self.rest = Some(self.rest.map_or(rest, |shortest| shortest.min(rest)));
    }

    fn ended(self, route: &str) -> Tried {
        let nothing = || Stop {
            outcome: judge::resting(self.rest.unwrap_or_default()),
            route: route.to_owned(),
            peer: String::new(),
            tls: String::new(),
            code: None,
        };
        let Stop { outcome, route, peer, tls, code } = self.last.unwrap_or_else(nothing);
        let dialogue = if peer.is_empty() && self.rest.is_none() { String::new() } else { self.dialogue.into_text() };
        Tried { outcome, route, peer, tls, code, dialogue, signal: self.signal }
    }

    /// Whether a host of this site may be the first to be tried.
    fn begins_at(&self, site: &Site) -> bool {
        // What is found elsewhere at each look is moved once, or it would wander for ever.
        self.leased.was_misplaced || self.last.is_some() || self.rest.is_some() || self.site == site
    }
}

impl Deliver {
    /// Tries a delivery once, in a turn of this site.
    pub(super) async fn attempt(&self, leased: &Leased, now: Timestamp, site: &Site) -> Attempted {
        let delivery = &leased.delivery;
        let Some(owner) = self.owner(leased).await else { return Attempted::StoreAway };
        let hops = self.routes.of_message(delivery.address.domain(), &leased.message.facts, &owner);
        let dialogue = Dialogue::default();
        let (is_among_exchangers, signal, room, copy, last, rest, tls_tried) = Default::default();
        let mut trip = Trip { leased, site, is_among_exchangers, signal, dialogue, room, copy, last, rest, tls_tried };
        let first = hops.first().map_or(CAPTURE, name);
        if let Some(found) = &leased.suppressed {
            let cause = suppression::cause(found.diagnostic(&delivery.address));
            trip.stops(first, Outcome::Suppressed { cause });
            return Attempted::Tried(trip.ended(first));
        }
        if now > delivery.expires_at {
            trip.stops(first, too_late(delivery.attempts));
            return Attempted::Tried(trip.ended(first));
        }
        let fit = first_fit(hops, &self.sites, now);
        let mut is_barred = false;
        let skipped = hops.iter().position(|hop| fit.is_some_and(|fit| std::ptr::eq(fit, hop))).unwrap_or_default();
        for hop in &hops[skipped..] {
            let onward = match hop {
                Hop::Capture => {
                    trip.stops(CAPTURE, Outcome::Delivered { reply: "captured".to_owned(), next_hop_tells: false });
                    Onward::Ended
                }
                Hop::Smarthost(host) if !trip.begins_at(&host.site) => Onward::Misplaced,
                Hop::Smarthost(host) => self.try_host(&mut trip, host).await,
                Hop::Exchangers(pool) => self.try_exchangers(&mut trip, pool).await,
            };
            is_barred = matches!(onward, Onward::Barred);
            match onward {
                Onward::Next | Onward::Barred => {}
                Onward::Ended => break,
                Onward::StoreAway => return Attempted::StoreAway,
                Onward::Misplaced => return Attempted::Misplaced,
                Onward::PutOff(until) => return Attempted::PutOff(until),
            }
        }
        if let Some(last) = trip.last.as_mut().filter(|_| is_barred) {
            let nowhere = Nowhere::NotPublic(delivery.address.domain().to_owned());
            last.outcome = judge::nowhere(&nowhere, delivery.attempts);
        }
        if trip.last.is_none() && trip.rest.is_some() && leased.mark == Mark::Asked {
            // Another that was asked for is finding out whether they are well again.
            return Attempted::PutOff(self.parts.clock.now() + ASKED_EVERY);
        }
        Attempted::Tried(trip.ended(first))
    }

    /// Whose mail it is, where a rule asks for it.
    async fn owner(&self, leased: &Leased) -> Option<Owner> {
        if !self.routes.ask_for_owner() {
            return Some(Owner::default());
        }
        let agent = leased.delivery.agent;
        if let Some(owner) = locked(&self.owners).get(&agent).cloned() {
            return Some(owner);
        }
        match self.parts.store.names_of(agent).await {
            // Whoever was removed is nobody's by now; rules that name no owner still hold.
            Ok(names) => {
                let (tenant, agent_name) = names.unwrap_or_default();
                let owner = Owner { tenant, agent: agent_name };
                locked(&self.owners).insert(agent, owner.clone());
                Some(owner)
            }
            Err(fault) => {
                tracing::warn!(delivery.id = %leased.delivery.id, %fault, "whose mail it is cannot be read now");
                None
            }
        }
    }

    async fn try_exchangers(&self, trip: &mut Trip<'_>, pool: &str) -> Onward {
        let (domain, attempt) = (trip.leased.delivery.address.domain(), trip.leased.delivery.attempts);
        let draw = u64::from_be_bytes(self.parts.ids.bytes());
        let found = exchangers(&*self.parts.resolver, domain, self.routes.own_name(), draw).await;
        let found = match found {
            Ok(found) => found,
            Err(nowhere) => {
                trip.stops(MX, judge::nowhere(&nowhere, attempt));
                return Onward::Ended;
            }
        };
        if let Some(site) = self.routes.site_of(&found.hosts) {
            if !trip.begins_at(&site) {
                self.sites.learn(domain, &site);
                return Onward::Misplaced;
            }
            trip.is_among_exchangers = *trip.site == site;
        }
        trip.dialogue.happened(&format!("exchangers of {domain}: {}", found.hosts.join(", ")));
        let wish = match self.policies.of_domain(domain, found.is_implicit).await {
            Ok(wish) => wish,
            Err(fault) => {
                self.count(trip, None, || Yardstick::of_unknown(domain, &fault));
                trip.stops(MX, judge::outcome(&Err(Failure::Broke(Stage::Connect, fault)), &self.parts.rules));
                return Onward::Ended;
            }
        };
        let source = match self.sources.choose(pool, self.parts.clock.now(), draw, trip.leased.mark == Mark::Asked) {
            Choice::Any => None,
            Choice::From(source) => Some(source),
            Choice::NotBefore(until) => return Onward::PutOff(until),
        };
        let mut are_barred = true;
        for name in found.hosts {
            let assurance = self.policies.of_exchanger(&wish, &name, trip.leased.message.facts.tls).await;
            let yardstick = || Yardstick::new(domain, &name, &wish, &assurance);
            let host = match &assurance {
                Ok(assurance) => self.routes.exchanger(&name, assurance, source.as_ref()),
                Err(fault) => {
                    self.count(trip, None, yardstick);
                    trip.dialogue.happened(&format!("{name} is passed over: {fault}"));
                    let failure = Failure::Broke(Stage::StartTls, fault.clone());
                    trip.stops(MX, judge::outcome(&Err(failure), &self.parts.rules));
                    are_barred = false;
                    continue;
                }
            };
            let onward = self.try_host(trip, &host).await;
            if let Some(tried) = trip.tls_tried.take() {
                self.count(trip, Some(&tried), yardstick);
            }
            match onward {
                Onward::Barred => {}
                Onward::Next => are_barred = false,
                onward => return onward,
            }
        }
        if let Some(source) = source {
            // It met nobody who would hear it.
            self.sources.give_back(&source, self.parts.clock.now());
        }
        if are_barred { Onward::Barred } else { Onward::Next }
    }

    async fn try_host(&self, trip: &mut Trip<'_>, host: &Host) -> Onward {
        let tried_at = self.parts.clock.now();
        trip.tls_tried = None;
        if let Err(rest) = host.health.may_try(tried_at, trip.leased.mark == Mark::Asked) {
            trip.passes(host, rest);
            return Onward::Next;
        }
        // Room is waited for before any turn, so that nobody who has a turn waits for somebody who waits for one.
        if trip.room.is_none() {
            trip.room = self.room.take(trip.leased.message.size_bytes).await;
        }
        let turn = host.throttle.turn().await;
        if trip.copy.is_none() {
            match self.copy(trip.leased, Form::AsKept).await {
                Ok(copy) => trip.copy = Some(copy),
                Err(NoCopy::Unsendable(why)) => {
                    let cause = judge::own(Reason::CannotRender, "5.6.0", why, "deliver.render");
                    trip.stops(&host.route, Outcome::Unsendable { cause });
                    return Onward::Ended;
                }
                Err(NoCopy::Later(why)) => {
                    let cause = judge::own(Reason::SystemError, "4.3.0", &why, "deliver.content");
                    trip.stops(&host.route, Outcome::Deferred { cause, wait: None });
                    return Onward::Ended;
                }
                Err(NoCopy::StoreAway) => return Onward::StoreAway,
            }
        }
        let Some(copy) = &trip.copy else { return Onward::Ended };
        let Conversed { ended, peer, tls, tells, reports, tls_tried } =
            self.converse(trip.leased, host, &turn, copy, &mut trip.dialogue).await;
        trip.tls_tried = tls_tried;
        // What a host of another site says is not about the site whose turn it is.
        if host.site == *trip.site || (host.route == MX && trip.is_among_exchangers) {
            trip.signal = judge::signal(&ended, &self.parts.rules);
        }
        let is_about_the_host = judge::is_about_the_host(&ended);
        let is_barred = matches!(ended, Err(Failure::Broke(_, Fault::NotPublic)));
        // A host that nobody may call is not ill.
        self.note_health(host, is_about_the_host && !is_barred, tried_at);
        let (mut outcome, code) = (judge::outcome(&ended, &self.parts.rules), code(&ended));
        if let Outcome::Delivered { reply, .. } = outcome {
            outcome = match host.report_wait.filter(|_| reports) {
                Some(wait) => Outcome::HandedOver { reply, wait },
                None => Outcome::Delivered { reply, next_hop_tells: tells },
            };
        }
        trip.last = Some(Stop { outcome, route: host.route.clone(), peer, tls, code });
        let may_another = matches!(ended, Err(Failure::Unfit(Unfit::TlsNotPromised)));
        match () {
            () if is_barred => Onward::Barred,
            () if is_about_the_host || may_another => Onward::Next,
            () => Onward::Ended,
        }
    }

    fn note_health(&self, host: &Host, has_failed: bool, tried_at: Timestamp) {
        if !has_failed {
            host.health.worked();
        } else if let Some(rest) = host.health.failed(self.parts.clock.now(), tried_at) {
            tracing::warn!(
                host = host.peer.host,
                route = host.route,
                rest_s = rest.as_secs(),
                "a host fails and rests"
            );
        }
    }

    /// One conversation.
    async fn converse(
        &self,
        leased: &Leased,
        host: &Host,
        turn: &Turn<'_>,
        copy: &Copy,
        dialogue: &mut Dialogue,
    ) -> Conversed {
        let awaits_report = host.report_wait.is_some();
        let mail = mail(leased, copy, awaits_report);
        let_go(host.throttle.stale(self.parts.clock.now()));
        let (mut ended, mut tls_tried) = (None, None);
        let mut connection = turn.kept();
        if let Some(kept) = &mut connection {
            dialogue.happened(&format!("{}, kept after {} mails", kept.name, kept.mails));
            ended = Some(kept.hand_over(mail, dialogue).await).filter(|ended| !is_stale(ended));
        }
        if ended.is_none() {
            connection = None;
            let (connected, tried) = self.connect(host, dialogue).await;
            tls_tried = tried;
            ended = Some(match connected {
                Ok(fresh) => connection.insert(fresh).hand_over(mail, dialogue).await,
                Err(failure) => Err(failure),
            });
        }
        let mut ended = ended.unwrap_or(Err(Failure::Broke(Stage::Connect, Fault::Closed)));
        if let (Err(Failure::Unfit(Unfit::EightBit)), Some(connection)) = (&ended, &mut connection)
            && let Ok(ascii) = self.copy(leased, Form::Ascii).await
        {
            dialogue.happened("the host takes ASCII only; the mail is written in it");
            ended = connection.hand_over(self::mail(leased, &ascii, awaits_report), dialogue).await;
        }
        if matches!(ended, Err(Failure::Unclear(_))) {
            self.parts.counters.unclear.fetch_add(1, Ordering::Relaxed);
        }
        let (tells, reports) = connection.as_ref().map_or((false, false), |one| (one.tells(&mail), one.reports(&mail)));
        let (peer, tls) = match &connection {
            Some(connection) => (connection.name.clone(), connection.tls.clone()),
            None => (format!("{}:{}", host.peer.host, host.peer.port), String::new()),
        };
        if let Some(connection) = connection {
            self.put_back(turn, connection, &ended);
        }
        Conversed { ended, peer, tls, tells, reports, tls_tried }
    }

    /// Counts what came of TLS, where reports are sent, for mail that wants of it what its domain does.
    fn count(&self, trip: &Trip<'_>, tried: Option<&TlsTried>, yardstick: impl FnOnce() -> Yardstick) {
        let is_usual = trip.leased.message.facts.tls == TlsWish::Usual;
        let Some(sessions) = self.parts.tls_sessions.as_ref().filter(|_| is_usual) else { return };
        let yardstick = yardstick();
        if let Some(session) = yardstick.session(tried) {
            sessions.count(Day::of(self.parts.clock.now()), &yardstick.domain, session);
        }
    }

    async fn connect(&self, host: &Host, dialogue: &mut Dialogue) -> (Result<Connection, Failure>, Option<TlsTried>) {
        self.parts.counters.connections.fetch_add(1, Ordering::Relaxed);
        host.peer.connect(&*self.parts.resolver, self.parts.clock.now(), dialogue).await
    }

    /// Keeps the connection, or lets it go.
    fn put_back(&self, turn: &Turn<'_>, connection: Connection, ended: &Result<Reply, Failure>) {
        if !connection.is_usable_after(ended) {
            return;
        }
        if let Some(worn) = turn.keep(connection, self.parts.clock.now()) {
            tokio::spawn(worn.close());
        }
    }
}

fn mail<'a>(leased: &'a Leased, copy: &'a Copy, awaits_report: bool) -> Mail<'a> {
    let Leased { delivery, message, .. } = leased;
    let wishes = message.facts.dsn.as_ref().map(|request| Wishes { request, recipient: delivery.id.recipient });
    Mail {
        return_path: &copy.return_path,
        recipient: &delivery.address,
        bytes: &copy.bytes,
        wishes,
        requires_tls: message.facts.tls == TlsWish::Required,
        // What has the null sender is not reported about.
        awaits_report: awaits_report && !copy.return_path.is_empty(),
    }
}

fn name(hop: &Hop) -> &str {
    match hop {
        Hop::Capture => CAPTURE,
        Hop::Smarthost(host) => &host.route,
        Hop::Exchangers(_) => MX,
    }
}

/// Its time ran out while nobody could try it. Without a single attempt that is our failure, not the other side's.
fn too_late(attempts: u32) -> Outcome {
    let cause = judge::own(Reason::Expired, "4.4.7", "the delivery's time ran out", "deliver.expired");
    if attempts <= 1 { Outcome::Unsendable { cause } } else { Outcome::Deferred { cause, wait: None } }
}

/// Whether a kept connection was gone before the host took anything of this mail.
fn is_stale(ended: &Result<Reply, Failure>) -> bool {
    match ended {
        Err(Failure::Broke(Stage::Mail, Fault::Closed | Fault::Network(_) | Fault::OutOfStep)) => true,
        Err(Failure::Said(Stage::Mail, reply)) => reply.code == 421,
        _ => false,
    }
}

fn code(ended: &Result<Reply, Failure>) -> Option<u16> {
    match ended {
        Ok(reply) | Err(Failure::Said(_, reply)) => Some(reply.code),
        Err(Failure::Broke(..) | Failure::Unclear(_) | Failure::Unfit(_)) => None,
    }
}
