//! Reports come home to intake: what follows, what must not. On both engines, without doors. Whose they are: `linking`.

mod awaiting;
mod linking;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postback::enrich::Enricher;
use postback::intake::report::{Origin, ReportTo};
use postback::intake::{self, Intake};
use postback::mail::rules::Rules;
use postback::model::address::{Address, Mailbox};
use postback::model::bearing::Policy;
use postback::model::delivery::{Next, State};
use postback::model::event::{Detail, EventKind};
use postback::model::id::{AgentId, DeliveryId, ReportId};
use postback::model::message::Tracking;
use postback::model::reason::Reason;
use postback::model::suppression::Scope;
use postback::model::tenant::{AgentSettings, MailAgent};
use postback::model::token::{KeyRing, seal_return_path};
use postback::store::StoreError;
use postback::store::deliveries::{Attempt, Settlement};
use postback::store::reports::{Effect, KeptReport, ReportFilter};
use postback::store::suppressions::{Filter, Lists};

use crate::support::engines::{Engine, on_both_engines};
use crate::support::node::{CONTENT, Node};

const KIM: &str = "kim@there.example";
const HOUR: Duration = Duration::from_secs(3600);
/// Somebody whose complaints are not believed without proof.
const STRANGER: Origin<'_> = Origin { sender: None, client: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)) };

struct House {
    node: Node,
    ring: KeyRing,
    intake: Intake,
}

impl House {
    async fn build(engine: &Engine) -> Self {
        let node = Node::build(engine, 0, Default::default()).await;
        let ring = node.store.key_ring(node.ids.bytes()).await.unwrap();
        let intake = start(&node, ring.clone(), Rules::default());
        Self { node, ring, intake }
    }

    /// Accepts a mail with this Message-ID; empty: one that we drew.
    async fn accept(&self, recipients: &[&str], reference: &str) -> Vec<DeliveryId> {
        let mut plan = self.node.plan(recipients, CONTENT, Tracking::default());
        let drawn = format!("{}@shop.example", plan.message.id.uuid().simple());
        plan.message.facts.email_reference = if reference.is_empty() { drawn } else { reference.to_owned() };
        let ids = plan.deliveries.iter().map(|planned| planned.id).collect();
        self.node.store.accept(plan).await.unwrap();
        ids
    }

    /// Accepts a mail to these, and hands all of its copies to the next hop.
    async fn delivered(&self, recipients: &[&str]) -> Vec<DeliveryId> {
        let ids = self.accept(recipients, "").await;
        self.deliver().await;
        ids
    }

    /// Another mail agent's mail to these, from this sender, handed to the next hop.
    async fn delivered_by_another(&self, recipients: &[&str], from: &str) -> Vec<DeliveryId> {
        let mut plan = self.node.plan(recipients, CONTENT, Tracking::default());
        let id = AgentId::from_uuid(self.node.ids.uuid(self.node.clock.now()));
        let (key, name, settings) = ("key-of-bank".to_owned(), "bank".to_owned(), AgentSettings::default());
        let (created_at, updated_at, authors) = (self.node.clock.now(), None, Default::default());
        let agent = MailAgent { id, tenant: self.node.tenant, key, name, settings, created_at, updated_at, authors };
        self.node.store.add_agent(agent).await.unwrap();
        plan.message.agent = id;
        plan.message.facts.from = Mailbox::bare(from);
        let ids = plan.deliveries.iter().map(|planned| planned.id).collect();
        self.node.store.accept(plan).await.unwrap();
        self.deliver().await;
        ids
    }

    async fn deliver(&self) {
        let now = self.node.clock.now();
        for leased in self.node.store.lease_deliveries(100).await.unwrap() {
            let attempt = Attempt { started_at: now, ended_at: now, outcome: "delivered".into(), ..Attempt::default() };
            let settlement = Settlement {
                id: leased.delivery.id,
                lease: leased.lease,
                attempt,
                next: Next::Ends(State::Delivered),
                reason: None,
                events: vec![],
                bearing: Policy::success(&leased.delivery, now),
                letter: None,
            };
            self.node.store.settle_delivery(settlement).await.unwrap();
        }
    }

    fn sealed(&self, id: DeliveryId) -> String {
        seal_return_path(&self.ring, self.ring.newest().unwrap(), id).unwrap()
    }

    async fn reference(&self, id: DeliveryId) -> String {
        self.node.store.message(id.message).await.unwrap().unwrap().facts.email_reference
    }

    /// A stranger hands a report in; what was kept of it.
    async fn report(&self, to: &ReportTo, mail: &str) -> KeptReport {
        self.report_from(STRANGER, to, mail).await
    }

    async fn report_from(&self, from: Origin<'_>, to: &ReportTo, mail: &str) -> KeptReport {
        let after = self.all().await.last().map(|last| last.id);
        // Ids of one millisecond are in no order.
        self.node.clock.advance(Duration::from_millis(1));
        self.intake.report(to, from, Bytes::from(mail.to_owned())).await.unwrap();
        let filter = ReportFilter { after, ..ReportFilter::default() };
        self.node.store.reports(&filter, 10).await.unwrap().pop().unwrap()
    }

    async fn home(&self, id: DeliveryId, mail: &str) -> KeptReport {
        self.report(&ReportTo::Delivery(id), mail).await
    }

    async fn all(&self) -> Vec<KeptReport> {
        self.node.store.reports(&ReportFilter::default(), 1000).await.unwrap()
    }

    async fn state(&self, id: DeliveryId) -> State {
        self.node.store.delivery(id).await.unwrap().unwrap().state
    }

    async fn told(&self, id: DeliveryId) -> Vec<EventKind> {
        self.node.store.events(id).await.unwrap().into_iter().map(|event| event.kind).collect()
    }

    async fn suppressed(&self, address: &str) -> Option<Reason> {
        let address: Address = address.parse().unwrap();
        let (tenant, agent) = (self.node.tenant, self.node.agent);
        let found = self.node.store.suppressed(tenant, agent, std::slice::from_ref(&address)).await.unwrap();
        found.into_values().next().map(|found| found.reason)
    }

    fn own_list(&self) -> Scope {
        Scope::Agent(self.node.tenant, self.node.agent)
    }

    async fn forgive(&self, address: &str) {
        self.node.store.remove_suppressions(self.own_list(), &[address.parse().unwrap()], "test").await.unwrap();
    }
}

fn start(node: &Node, ring: KeyRing, rules: Rules) -> Intake {
    Intake::start(intake::Parts {
        store: node.store.clone(),
        clock: node.clock.clone(),
        ids: node.ids.clone(),
        ring,
        enricher: Arc::new(Enricher::default()),
        rules,
        settings: intake::Settings {
            return_path_domain: "bounces.acme.example".into(),
            complaint_sources: vec!["192.0.2.0/24".parse().unwrap()],
            ..Default::default()
        },
    })
}

/// What a report returns of the message.
#[derive(Default)]
struct Returned<'a> {
    reference: &'a str,
    message_id: &'a str,
    date: &'a str,
    to: &'a str,
}

impl Returned<'_> {
    fn header(&self) -> String {
        let mut header = "Subject: hello\r\n".to_owned();
        let fields = [
            ("X-Postback-Ref", self.reference.to_owned()),
            ("Message-ID", format!("<{}>", self.message_id)),
            ("Date", self.date.to_owned()),
            ("To", self.to.to_owned()),
        ];
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty() && value != "<>") {
            write!(header, "{name}: {value}\r\n").unwrap();
        }
        header
    }
}

/// A report with a group for each of these: address, action, status, words.
fn dsn(groups: &[(&str, &str, &str, &str)], returned: &Returned<'_>) -> String {
    let mut fields = String::new();
    for (address, action, status, words) in groups {
        let group = format!(
            "\r\nFinal-Recipient: rfc822; {address}\r\nAction: {action}\r\nStatus: {status}\r\n\
             Diagnostic-Code: smtp; {words}\r\n"
        );
        fields.push_str(&group);
    }
    format!(
        "From: MAILER-DAEMON@mx.there.example\r\nSubject: Undelivered Mail Returned to Sender\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nIt was not \
         delivered.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.there.example\r\n\
         {fields}\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{}\r\n--b--\r\n",
        returned.header()
    )
}

fn unknown(address: &str, returned: &Returned<'_>) -> String {
    dsn(&[(address, "failed", "5.1.1", "550 5.1.1 no such user")], returned)
}

fn full(address: &str) -> String {
    dsn(&[(address, "failed", "5.2.2", "552 5.2.2 mailbox full")], &Returned::default())
}

/// A feedback report of this type, about this address or none.
fn arf(kind: &str, address: &str, returned: &Returned<'_>) -> String {
    let address = if address.is_empty() { String::new() } else { format!("Original-Rcpt-To: {address}\r\n") };
    format!(
        "From: fbl@there.example\r\nSubject: FW: hello\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n--b\r\n\r\nAn abuse report.\r\n\
         --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: {kind}\r\nUser-Agent: Loop/1.0\r\n\
         Version: 1\r\n{address}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n{}\r\nText\r\n--b--\r\n",
        returned.header()
    )
}

on_both_engines! {
    async fn a_bounce_after_the_delivery_turns_it_and_a_second_changes_nothing(engine: &Engine) {
        let house = House::build(engine).await;
        let id = house.delivered(&[KIM]).await[0];
        let kept = house.home(id, &unknown(KIM, &Returned::default())).await;
        assert_eq!((kept.effect, kept.is_open, kept.about.as_str()), (Effect::Bounced, false, KIM));
        let cause = kept.cause.unwrap();
        assert_eq!((cause.reason, cause.rule.as_str()), (Reason::UserUnknown, "user-unknown"));
        assert_eq!(house.state(id).await, State::Bounced);
        assert_eq!(house.told(id).await, [EventKind::Sent, EventKind::HardBounced]);
        assert_eq!(house.suppressed(KIM).await, Some(Reason::UserUnknown));

        let again = house.home(id, &unknown(KIM, &Returned::default())).await;
        assert_eq!((again.effect, again.is_open), (Effect::Nothing, false));
        assert_eq!(again.outcome, "the delivery had ended already");
        assert_eq!(house.told(id).await.len(), 2);
        let about = house.node.store.reports_about(id).await.unwrap();
        assert_eq!(about.len(), 2);
    }

    async fn a_report_is_believed_about_its_own_delivery_only(engine: &Engine) {
        let house = House::build(engine).await;
        let other = house.delivered(&["pat@there.example"]).await[0];
        let (other_ref, other_id) = (house.sealed(other), house.reference(other).await);
        let none = Returned::default();
        let foreign = Returned { message_id: &other_id, ..Returned::default() };
        let copy = Returned { reference: &other_ref, ..Returned::default() };
        let two = dsn(
            &[("a@there.example", "failed", "5.1.1", "no such user"), ("b@there.example", "failed", "5.1.1", "no")],
            &none,
        );
        let hard = Some(Reason::UserUnknown);
        for (mail, effect, outcome, suppressed) in [
            (unknown(KIM, &none), Effect::Bounced, "bounced: user_unknown (hard)", hard),
            (unknown("KIM@There.Example", &foreign), Effect::Bounced, "bounced: user_unknown (hard)", hard),
            (unknown("k@elsewhere.example", &none), Effect::Bounced, "bounced: user_unknown (hard)", None),
            (unknown("k@elsewhere.example", &foreign), Effect::Nothing, "it is about another message", None),
            (unknown(KIM, &copy), Effect::Nothing, "it is about another message", None),
            (two, Effect::Nothing, "it is about another recipient", None),
        ] {
            let id = house.delivered(&[KIM]).await[0];
            let kept = house.home(id, &mail).await;
            assert_eq!((kept.effect, kept.outcome.as_str()), (effect, outcome), "{mail}");
            assert_eq!(kept.is_open, effect == Effect::Nothing, "{mail}");
            assert_eq!(house.suppressed(KIM).await, suppressed, "{mail}");
            house.forgive(KIM).await;
        }
        assert_eq!(house.state(other).await, State::Delivered);
    }

    async fn nobody_bounces_a_strangers_mail(engine: &Engine) {
        let house = House::build(engine).await;
        let ids = house.delivered(&[KIM, "pat@there.example"]).await;
        let reference = house.reference(ids[0]).await;
        let known = Returned { message_id: &reference, ..Returned::default() };
        for to in [ReportTo::Complaints, ReportTo::Postmaster] {
            let kept = house.report(&to, &unknown(KIM, &known)).await;
            assert_eq!((kept.delivery, kept.effect, kept.is_open), (Some(ids[0]), Effect::Nothing, true));
            let kept = house.report(&to, &arf("abuse", KIM, &known)).await;
            assert_eq!((kept.effect, kept.is_open), (Effect::Nothing, true), "each recipient knows the Message-ID");
            let kept = house.report(&to, &unknown(KIM, &Returned::default())).await;
            assert_eq!((kept.delivery, kept.is_open), (None, true));
        }
        // A DSN with its seal is as good elsewhere.
        let sealed = house.sealed(ids[0]);
        let copy = Returned { reference: &sealed, ..Returned::default() };
        let kept = house.report(&ReportTo::Postmaster, &unknown(KIM, &copy)).await;
        assert_eq!((kept.delivery, kept.effect), (Some(ids[0]), Effect::Bounced));
        assert_eq!(house.state(ids[1]).await, State::Delivered);
    }

    async fn a_complaint_suppresses_within_its_agent(engine: &Engine) {
        let house = House::build(engine).await;
        let id = house.delivered(&[KIM]).await[0];
        house.home(id, &arf("abuse", "", &Returned::default())).await;
        assert_eq!(house.suppressed(KIM).await, Some(Reason::Complaint));
        let other = postback::model::id::AgentId::from_bytes([9; 16]);
        assert!(house.node.store.suppressed(house.node.tenant, other, &[KIM.parse().unwrap()]).await.unwrap().is_empty());
        let list = house.node.store.suppressions(Lists::Of(house.own_list()), &Filter::default(), 10).await.unwrap();
        assert_eq!(list[0].expires_at, None, "until a person removes it");
        let again = house.home(id, &arf("abuse", "", &Returned::default())).await;
        assert_eq!(again.effect, Effect::Complained);
        assert_eq!(house.told(id).await, [EventKind::Sent, EventKind::Complained]);
    }

    async fn a_mail_agent_may_leave_no_address_alone_because_of_bounces(engine: &Engine) {
        let house = House::build(engine).await;
        let change = |agent: &mut MailAgent| {
            agent.settings.auto_suppress = false;
            Ok::<_, StoreError>(())
        };
        house.node.store.change_agent(house.node.tenant, house.node.agent, change).await.unwrap();
        let fails = async |report: String| {
            let id = house.delivered(&[KIM]).await[0];
            house.home(id, &report).await;
            house.node.clock.advance(HOUR * 20);
            (house.state(id).await, house.suppressed(KIM).await)
        };
        assert_eq!(fails(unknown(KIM, &Returned::default())).await, (State::Bounced, None));
        for _ in 0..6 {
            assert_eq!(fails(full(KIM)).await, (State::Bounced, None));
        }
        // Who complains is heard all the same.
        let angry = fails(arf("abuse", "", &Returned::default())).await;
        assert_eq!(angry, (State::Delivered, Some(Reason::Complaint)));
    }

    async fn delays_and_successes_are_told(engine: &Engine) {
        let house = House::build(engine).await;
        let late = dsn(&[(KIM, "delayed", "4.4.1", "connection timed out")], &Returned::default());
        let done = dsn(&[(KIM, "delivered", "2.0.0", "250 2.0.0 done")], &Returned::default());
        let id = house.delivered(&[KIM]).await[0];
        assert_eq!(house.home(id, &late).await.effect, Effect::Delayed);
        assert_eq!(house.home(id, &late).await.effect, Effect::Delayed);
        let told = house.told(id).await;
        assert!(told.contains(&EventKind::Deferred) && told.contains(&EventKind::Delayed) && told.len() == 3, "{told:?}");
        let events = house.node.store.events(id).await.unwrap();
        assert!(events[1..].iter().all(|event| matches!(&event.detail, Detail::Deferred { next_at: None, .. })));
        assert_eq!(house.home(id, &done).await.effect, Effect::Delivered);
        assert_eq!(house.state(id).await, State::Delivered);
        // An attempt that broke off after the final dot: the report tells that it need not be repeated.
        let id = house.accept(&[KIM], "").await[0];
        assert_eq!(house.home(id, &late).await.effect, Effect::Nothing);
        assert_eq!(house.home(id, &done).await.effect, Effect::Delivered);
        assert_eq!(house.state(id).await, State::Delivered);
        assert_eq!(house.told(id).await, [EventKind::Sent, EventKind::Delivered]);
        assert_eq!(house.node.store.lease_deliveries(10).await.unwrap().len(), 0);
        // What has failed does not come back to life.
        let id = house.delivered(&[KIM]).await[0];
        house.home(id, &unknown(KIM, &Returned::default())).await;
        assert_eq!(house.home(id, &done).await.effect, Effect::Nothing);
        assert_eq!(house.state(id).await, State::Bounced);
    }

    async fn a_full_mailbox_is_left_alone_after_five_in_a_row(engine: &Engine) {
        let house = House::build(engine).await;
        let fails = async || {
            let id = house.delivered(&[KIM]).await[0];
            house.home(id, &full(KIM)).await;
            house.node.clock.advance(HOUR * 20);
            house.suppressed(KIM).await
        };
        for _ in 0..4 {
            assert_eq!(fails().await, None);
        }
        // A success that is not contradicted clears the count.
        house.delivered(&[KIM]).await;
        house.node.clock.advance(HOUR);
        for _ in 0..4 {
            assert_eq!(fails().await, None);
        }
        assert_eq!(fails().await, Some(Reason::MailboxFull));
        house.node.clock.advance(HOUR * 24 * 14);
        assert_eq!(house.suppressed(KIM).await, None, "two weeks later it is tried again");
        assert_eq!(fails().await, None, "and counted anew");
    }

    async fn a_confirmed_success_is_forgotten_with_what_was_before(engine: &Engine) {
        let house = House::build(engine).await;
        let id = house.delivered(&[KIM]).await[0];
        house.home(id, &full(KIM)).await;
        house.node.clock.advance(HOUR);
        house.delivered(&[KIM]).await;
        house.node.clock.advance(HOUR * 24 * 4);
        let keep = postback::store::retention::Keep { messages: HOUR * 9999, events: HOUR * 9999, reports: HOUR * 9999, webhook_log: HOUR * 9999 };
        house.node.store.forget_little(keep).await.unwrap();
        // Were the failure still known, this would be a row of five over more than 72 hours.
        for _ in 0..4 {
            let id = house.delivered(&[KIM]).await[0];
            house.home(id, &full(KIM)).await;
        }
        assert_eq!(house.suppressed(KIM).await, None);
    }

    async fn what_is_said_to_pass_takes_three(engine: &Engine) {
        let house = House::build(engine).await;
        let pending = dsn(&[(KIM, "failed", "4.1.1", "450 4.1.1 no such user")], &Returned::default());
        for expected in [None, None, Some(Reason::UserUnknown)] {
            let id = house.delivered(&[KIM]).await[0];
            assert_eq!(house.home(id, &pending).await.effect, Effect::Bounced);
            assert_eq!(house.told(id).await, [EventKind::Sent, EventKind::SoftBounced]);
            assert_eq!(house.suppressed(KIM).await, expected);
            house.node.clock.advance(HOUR);
        }
    }

    async fn what_is_not_understood_waits_for_a_person(engine: &Engine) {
        let house = House::build(engine).await;
        let id = house.delivered(&[KIM]).await[0];
        let long = format!("{}{}", unknown(KIM, &Returned::default()), "x".repeat(1 << 20));
        let crowd = vec![(KIM, "failed", "5.1.1", "550 5.1.1 no such user"); 101];
        let away = "From: kim@there.example\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nBack soon.\r\n";
        let note = "From: kim@there.example\r\nSubject: Lunch\r\n\r\nOn Friday?\r\n";
        for (mail, kind) in [
            (long.as_str(), "bounce"),
            (&dsn(&crowd, &Returned::default()), "bounce"),
            (away, "autoreply"),
            (note, "ordinary"),
            ("", "ordinary"),
        ] {
            let kept = house.home(id, mail).await;
            assert_eq!((kept.kind.as_str(), kept.effect, kept.is_open), (kind, Effect::Nothing, true));
        }
        assert_eq!(house.state(id).await, State::Delivered);
        let open = ReportFilter { open: true, ..ReportFilter::default() };
        let waiting = house.node.store.reports(&open, 10).await.unwrap();
        assert_eq!(waiting.len(), 5);
        let kept = house.node.store.report(waiting[0].id).await.unwrap().unwrap();
        assert_eq!(kept.content.len(), (1 << 20) + 1, "the beginning is enough");
        assert!(house.node.store.close_report(waiting[0].id).await.unwrap());
        assert!(!house.node.store.close_report(waiting[0].id).await.unwrap());
        assert_eq!(house.node.store.close_reports("ordinary").await.unwrap(), 2);
        let left = house.node.store.reports(&open, 10).await.unwrap();
        assert_eq!(left.iter().map(|report| report.kind.as_str()).collect::<Vec<_>>(), ["bounce", "autoreply"]);
        let none = ReportFilter { after: Some(ReportId::from_bytes([0xff; 16])), ..ReportFilter::default() };
        assert!(house.node.store.reports(&none, 10).await.unwrap().is_empty());
    }

    async fn reports_come_together(engine: &Engine) {
        let house = House::build(engine).await;
        let ids = house.delivered(&(0..20).map(|_| KIM).collect::<Vec<_>>()).await;
        let mail = Bytes::from(unknown(KIM, &Returned::default()));
        house.node.clock.advance(HOUR);
        let handed_in = ids.iter().chain(&ids).map(|id| {
            let (intake, to, mail) = (house.intake.clone(), ReportTo::Delivery(*id), mail.clone());
            tokio::spawn(async move { intake.report(&to, STRANGER, mail).await })
        });
        for taken in handed_in.collect::<Vec<_>>() {
            taken.await.unwrap().unwrap();
        }
        let all = house.all().await;
        assert_eq!(all.iter().filter(|report| report.effect == Effect::Bounced).count(), 20);
        assert_eq!(all.len(), 40);
        for id in ids {
            assert_eq!(house.told(id).await, [EventKind::Sent, EventKind::HardBounced]);
        }
    }

    async fn the_past_is_judged_by_the_rules_of_today(engine: &Engine) {
        let house = House::build(engine).await;
        let odd = dsn(&[(KIM, "failed", "5.0.0", "550 the parcel shop has shut")], &Returned::default());
        let wrong = unknown("pat@there.example", &Returned::default());
        let (odd_id, wrong_id) =
            (house.delivered(&[KIM]).await[0], house.delivered(&["pat@there.example"]).await[0]);
        let odd_report = house.home(odd_id, &odd).await;
        let wrong_report = house.home(wrong_id, &wrong).await;
        assert_eq!(house.suppressed(KIM).await, None);
        assert_eq!(house.suppressed("pat@there.example").await, Some(Reason::UserUnknown));

        let rules = "
            [[rule]]
            name = 'shop-shut'
            reason = 'user_unknown'
            any = ['parcel shop has shut']
            examples = ['550 the parcel shop has shut']
            [[rule]]
            name = 'their-fault'
            reason = 'system_error'
            any = ['no such user']";
        let today = start(&house.node, house.ring.clone(), Rules::with_own(rules).unwrap());
        house.node.clock.advance(HOUR);
        for apply in [false, true] {
            for (report, before, after) in [
                (&odd_report, Reason::Unknown, Reason::UserUnknown),
                (&wrong_report, Reason::UserUnknown, Reason::SystemError),
            ] {
                let replayed = today.replay_report(report.id, apply).await.unwrap().unwrap();
                let reason = |verdict: &postback::intake::report::Verdict| verdict.cause.as_ref().unwrap().reason;
                assert_eq!((reason(&replayed.before), reason(&replayed.after)), (before, after));
            }
        }
        assert_eq!(today.replay_report(odd_report.id, true).await.unwrap(), None, "once is enough");
        assert_eq!(house.suppressed(KIM).await, Some(Reason::UserUnknown));
        assert_eq!(house.suppressed("pat@there.example").await, None);
        let kept = house.node.store.report(odd_report.id).await.unwrap().unwrap();
        assert_eq!(kept.cause.unwrap().rule, "shop-shut");
        assert_eq!(house.told(odd_id).await.len(), 2, "what was told stays told");
    }
}
