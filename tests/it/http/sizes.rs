//! Pages of the console over a store full of what strangers write: long, many, and all of it written as entities. None has
//! more than 150 KB, none leads nowhere, and what one page has no room for is on the next.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use postback::ids::IdSource;
use postback::intake::provision;
use postback::model::address::Mailbox;
use postback::model::bearing::Bearing;
use postback::model::delivery::{Next, State};
use postback::model::event::{Detail, Event, EventKind, relay};
use postback::model::id::{DeliveryId, EventId, MessageId, ReportId, TemplateId, UserId};
use postback::model::message::{Facts, Fate, Message, Plan, PlannedDelivery, Source, Tracking};
use postback::model::queue::Pause;
use postback::model::reason::{Cause, Class, Reason};
use postback::model::retry::MAIL_LIFETIME;
use postback::model::secret::Secret;
use postback::model::suppression::{Action, Scope, Suppression};
use postback::model::template::{Template, Texts};
use postback::model::tenant::{CredentialKind, MailAgent};
use postback::model::tracking::TrackingHost;
use postback::model::user::{AuditEntry, Invitation, Role, User};
use postback::store::deliveries::{Attempt, Settlement};
use postback::store::reports::{Effect, KeptReport, ReportSettlement};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::{House, NOW, Reply, credential};

/// The largest page.
const BYTES_MAX: usize = 150_000;

/// So many bytes of what a page writes as entities, told apart by a number.
fn long(number: usize, bytes: usize) -> String {
    let number = format!("{number:04}");
    format!("{number}{}", "<'&\">".repeat(bytes / 5))
}

/// A name of a host with as many letters as there may be.
fn host(number: usize) -> String {
    format!("h{number}.{}.{}.{}.example", "a".repeat(60), "b".repeat(60), "c".repeat(60))
}

fn address(number: usize) -> String {
    format!("{}{number}@{}", "o'&".repeat(18), host(number))
}

struct Filler<'h> {
    house: &'h House,
    ids: IdSource,
}

impl Filler<'_> {
    fn agent(&self) -> &MailAgent {
        &self.house.ours.1
    }

    fn cause(&self) -> Cause {
        Cause {
            reason: Reason::UserUnknown,
            class: Class::Hard,
            code: Some(550),
            status: Some("5.1.1".into()),
            diagnostic: long(550, 2_000),
            rule: "user-unknown".into(),
        }
    }

    fn event(&self, delivery: DeliveryId, kind: EventKind, detail: Detail) -> Event {
        Event {
            id: EventId::from_uuid(self.ids.uuid(NOW)),
            delivery,
            tenant: self.agent().tenant,
            agent: self.agent().id,
            kind,
            ordinal: 0,
            at: NOW,
            recipient: "x@y.example".into(),
            detail,
            relay: relay::ALL,
            relay_at: NOW,
            is_test: false,
        }
    }

    async fn message(&self, number: usize, recipients: usize, content: Vec<u8>) -> MessageId {
        let id = MessageId::from_uuid(self.ids.uuid(NOW));
        let to: Vec<Mailbox> = (0..recipients).map(|at| Mailbox::bare(address(at))).collect();
        let metadata = (0..50).map(|at| (long(at, 100), long(at, 1_000).into())).collect();
        let facts = Facts {
            from: Mailbox::bare(address(number)),
            to: to.clone(),
            subject: long(number, 998),
            email_reference: long(number, 990),
            tags: (0..10).map(|tag| long(tag, 250)).collect(),
            metadata,
            tracking: Tracking {
                clicks: true,
                opens: true,
                base_url: "https://t.example".into(),
                ..Tracking::default()
            },
            ..Facts::default()
        };
        let message = Message {
            id,
            tenant: self.agent().tenant,
            agent: self.agent().id,
            agent_key: self.agent().key.clone(),
            source: Source::Http,
            accepted_at: NOW,
            facts,
            size_bytes: content.len() as u64,
        };
        let deliveries: Vec<PlannedDelivery> = (0u16..)
            .zip(&to)
            .map(|(recipient, to)| PlannedDelivery {
                id: DeliveryId { message: id, recipient },
                address: to.address.parse().unwrap(),
                fate: Fate::Queued { due_at: NOW },
                expires_at: NOW + MAIL_LIFETIME,
            })
            .collect();
        let events = deliveries.iter().map(|planned| self.event(planned.id, EventKind::Sent, Detail::Sent)).collect();
        let content = Bytes::from(content);
        self.house.store.accept(Plan { message, content, deliveries, events }).await.unwrap();
        id
    }

    /// Every delivery that is due is tried so many times, and each attempt is told at length.
    async fn attempts(&self, times: u32) {
        for at in 0..times {
            let mut settling = JoinSet::new();
            for leased in self.house.store.lease_deliveries(500).await.unwrap() {
                let attempt = Attempt {
                    started_at: NOW,
                    ended_at: NOW,
                    route: "mx".into(),
                    peer: host(1),
                    tls: "TLSv1.3".into(),
                    outcome: "deferred".into(),
                    code: Some(450),
                    diagnostic: long(450, 2_000),
                    rule: "none".into(),
                    dialogue: long(220, 16_000),
                };
                let detail = Detail::Deferred { cause: self.cause(), next_at: Some(NOW) };
                let settlement = Settlement {
                    id: leased.delivery.id,
                    lease: leased.lease.clone(),
                    attempt,
                    next: if at + 1 < times { Next::Waits(NOW) } else { Next::Ends(State::Bounced) },
                    reason: Some(Reason::UserUnknown),
                    events: vec![Event { ordinal: at, ..self.event(leased.delivery.id, EventKind::Deferred, detail) }],
                    bearing: Bearing::Nothing,
                    letter: None,
                };
                let store = self.house.store.clone();
                settling.spawn(async move { store.settle_delivery(settlement).await });
            }
            while let Some(settled) = settling.join_next().await {
                settled.unwrap().unwrap();
            }
        }
    }

    async fn people(&self) {
        let store = &self.house.store;
        let tenant = self.agent().tenant;
        for number in 0..120u8 {
            let user = User {
                id: UserId::from_uuid(self.ids.uuid(NOW)),
                email: format!("{}{number:03}@people.example", "o'&".repeat(18)),
                name: long(number.into(), 100),
                password: Secret::new("x"),
                role: Role::Support,
                tenant: Some(tenant),
                second_factor: None,
                created_at: NOW,
            };
            let invitation = |digest, user| {
                let expires_at = NOW + Duration::from_secs(60_000);
                Invitation { digest, role: Role::Owner, tenant: Some(tenant), user, expires_at }
            };
            store.invite(invitation([number; 32], None)).await.unwrap();
            let id = user.id;
            assert!(store.join([number; 32], user).await.unwrap());
            store.invite(invitation([number; 32], Some(id))).await.unwrap();
            let entry = AuditEntry {
                at: NOW,
                actor: format!("{}{number:03}", address(1)),
                action: "changed webhook".into(),
                object: long(number.into(), 2_000),
                address: "2001:db8::1".into(),
                tenant: Some(tenant),
            };
            store.audit(EventId::from_uuid(self.ids.uuid(NOW)), entry).await.unwrap();
        }
        for number in 0..600 {
            let tenant = provision::tenant(&format!("t{number}"), &long(number, 100), &self.house.clock, &self.ids);
            let agent = provision::agent(&tenant, "default", &self.house.clock, &self.ids);
            store.add_tenant(tenant, agent).await.unwrap();
        }
    }

    async fn settings(&self) {
        let (house, agent) = (self.house, self.agent());
        let store = &house.store;
        for number in 0..120 {
            let other = provision::agent(&house.ours.0, &long(number, 95), &house.clock, &self.ids);
            store.add_agent(other.clone()).await.unwrap();
            store.add_domain(agent.id, &host(number)).await.unwrap();
            store.add_domain(other.id, &host(number)).await.unwrap();
            let key = credential(&self.ids, agent, CredentialKind::ApiKey, &format!("pb_{number}"));
            store.add_credential(postback::model::tenant::Credential { name: long(number, 95), ..key }).await.unwrap();
            let tracking = TrackingHost::new(format!("l.{}", host(number)), agent, host(number), NOW);
            let tracking = TrackingHost { fault: long(number, 2_000), checked_at: Some(NOW), ..tracking };
            store.add_tracking_host(tracking).await.unwrap();
            let (domain, note) = (Some(host(number)), long(number, 200));
            let scope = Scope::Agent(agent.tenant, agent.id);
            store.pause(Pause { scope, domain, note, created_at: NOW }).await.unwrap();
            for scope in [scope, Scope::Tenant(agent.tenant)] {
                let suppression = Suppression {
                    scope,
                    target: address(number).parse().unwrap(),
                    action: Action::Suppress,
                    reason: Reason::Complaint,
                    note: long(number, 500),
                    created_by: String::new(),
                    created_at: NOW,
                    expires_at: None,
                };
                store.suppress(suppression).await.unwrap();
            }
            let name = format!("{number:04}{}", "n".repeat(96));
            self.template(&name, &long(number, 200)).await;
        }
        self.template("largest", &long(1, (1 << 20) - 5)).await;
        for number in 0..60 {
            let url = format!("https://hooks.example/{}/{number}", "a'&".repeat(600));
            let webhook = serde_json::json!({
                "url": url, "events": ["bounced"], "description": long(number, 400), "mailAgent": "default",
            });
            let added = house.mailtura("POST", "/api/v1/webhooks", &webhook.to_string()).await;
            assert_eq!(added.status, 201, "{}", added.text());
        }
    }

    async fn template(&self, name: &str, text: &str) {
        let agent = self.agent();
        let (html, subject) = (Some(text.to_owned()), text.chars().take(1_000).collect());
        let template = Template {
            id: TemplateId::from_uuid(self.ids.uuid(NOW)),
            tenant: agent.tenant,
            agent: agent.id,
            name: name.to_owned(),
            title: text.chars().take(250).collect(),
            version: 1,
            texts: Texts { subject, html, text: Some(text.to_owned()) },
            authors: Default::default(),
            created_at: NOW,
            updated_at: NOW,
        };
        assert!(self.house.store.add_template(template).await.unwrap());
    }

    async fn reports(&self) -> ReportId {
        let mut last = None;
        for number in 0..80 {
            let report = KeptReport {
                id: ReportId::from_uuid(self.ids.uuid(NOW)),
                delivery: None,
                came_to: "postmaster".into(),
                kind: "ordinary".into(),
                received_at: NOW,
                sender: address(number),
                is_vouched: false,
                about: address(number),
                cause: Some(self.cause()),
                effect: Effect::Nothing,
                outcome: long(number, 1_000),
                is_open: true,
                content: long(number, 200_000).into_bytes(),
            };
            last = Some(report.id);
            self.house.store.settle_report(report, ReportSettlement::default()).await.unwrap();
        }
        last.unwrap()
    }
}

/// A mail with a large header, many links, much text and many files.
fn mail() -> Vec<u8> {
    let mut mail = b"From: a@ours.example\r\nSubject: x\r\n".to_vec();
    for number in 0..8_000 {
        mail.extend(format!("X{number}: <\r\n").bytes());
    }
    mail.extend(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n");
    mail.extend(format!("--a\r\nContent-Type: text/plain\r\n\r\n{}\r\n", "<&>'\r\n".repeat(100_000)).bytes());
    mail.extend(b"--a\r\nContent-Type: text/html\r\n\r\n");
    for number in 0..900 {
        let tail = "a'".repeat(200);
        mail.extend(
            format!("<a href=\"https://a{number}.example/{tail}\">x</a>\r\n<a href=\"mailto:{tail}\">y</a>\r\n")
                .bytes(),
        );
    }
    mail.extend(b"\r\n--a--\r\n");
    for number in 0..400 {
        let name = "n'&".repeat(60);
        mail.extend(format!("--b\r\nContent-Type: application/{number}; name=\"{name}\"\r\n\r\nx\r\n").bytes());
    }
    mail.extend(b"--b--\r\n");
    mail
}

/// Whoever is signed in asks for pages.
struct Reader<'h> {
    house: &'h House,
    cookie: String,
    wrong: Vec<String>,
}

impl Reader<'_> {
    async fn get(&mut self, path: &str) -> String {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nCookie: {}\r\n\r\n",
            self.house.address, self.cookie
        );
        let reply = Reply::read(&self.house.raw(request.as_bytes()).await);
        let page = String::from_utf8_lossy(&reply.body).into_owned();
        if reply.status != 200 || page.len() > BYTES_MAX {
            self.wrong.push(format!("{path}: {} with {} bytes", reply.status, page.len()));
        }
        page
    }

    /// A list from its first page to its last; what stands behind `before` on them, each once.
    async fn walk(&mut self, path: &str, before: &str) -> BTreeSet<String> {
        let (mut found, mut at, mut pages) = (BTreeSet::new(), path.to_owned(), 0);
        loop {
            let page = self.get(&at).await;
            let ends = ['"', '/', '<', '?'];
            found.extend(page.split(before).skip(1).filter_map(|rest| rest.split(ends).next()).map(str::to_owned));
            let next = page.split("class=\"pages\"><a class=\"button plain\" href=\"").nth(1);
            let Some(next) = next.and_then(|rest| rest.split('"').next()) else { return found };
            at = format!("{}{}", path.split('?').next().unwrap(), next.replace("&#38;", "&"));
            pages += 1;
            assert!(pages < 200, "{path} does not end");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_is_larger_than_150_kb() {
    let house = House::new().await;
    let filler = Filler { house: &house, ids: IdSource::seeded(99) };
    let (digest, expires_at) = (Sha256::digest("invited").into(), NOW + Duration::from_secs(60));
    house.store.invite(Invitation { digest, role: Role::Owner, tenant: None, user: None, expires_at }).await.unwrap();
    let form = b"email=ann%40example.com&name=Ann&password=correct+horse+battery";
    let joined = house.ask("POST", "/console/join/invited", &[("Sec-Fetch-Site", "same-origin")], form).await;
    let cookie = joined.field("set-cookie").split(';').next().unwrap().to_owned();
    let large = filler.message(0, 200, mail()).await;
    filler.attempts(12).await;
    let content = b"From: a@ours.example\r\nSubject: x\r\n\r\nx\r\n";
    for number in 1..130 {
        filler.message(number, 1, content.to_vec()).await;
    }
    let waiting = filler.message(130, 150, content.to_vec()).await;
    filler.people().await;
    filler.settings().await;
    let report = filler.reports().await;

    let mut reader = Reader { house: &house, cookie, wrong: Vec::new() };
    let key = house.ours.1.key.clone();
    let hooks = reader.walk(&format!("/console/ours/agents/{key}/webhooks"), &format!("{key}/webhooks/wh_")).await;
    let hook = format!("wh_{}", hooks.first().unwrap());
    let routes = postback::http::console_routes();
    for (_, path, _) in routes.iter().filter(|(method, ..)| *method == "GET") {
        let others = ["/html", "/source", "/csv", "/{number}", "{event}", "{domain}"];
        if others.iter().any(|end| path.ends_with(end)) {
            continue;
        }
        for (message, template) in [(large, "largest"), (waiting, &format!("0001{}", "n".repeat(96)))] {
            let path = path.replace("{message}", &message.to_string()).replace("{template}", template);
            let path =
                path.replace("{agent}", &key).replace("{webhook}", &hook).replace("{report}", &report.to_string());
            reader.get(&format!("/console/ours/{path}")).await;
        }
    }
    for view in ["text", "source", "header", "tracking"] {
        reader.get(&format!("/console/ours/messages/{large}?view={view}")).await;
    }
    let q = "%3C%27".repeat(600);
    for path in ["messages", "inbox", "operations/queue", &format!("agents/{key}/suppressions")] {
        reader.get(&format!("/console/ours/{path}?q={q}&to={q}&tag={q}&domain={q}")).await;
    }
    reader.get(&format!("/console/ours/inbox?open={large}")).await;

    // Whatever there is, is on one of the pages.
    let at = format!("/console/ours/agents/{key}");
    for (path, before, count) in [
        ("/console/ours/messages", "/messages/msg_", 131),
        (&format!("/console/ours/messages/{large}"), "<p class=\"quiet\"><code>", 200),
        ("/console/ours/agents", "/console/ours/agents/", 121),
        (&format!("{at}/webhooks"), &format!("{key}/webhooks/wh_"), 60),
        (&format!("{at}/templates"), &format!("{key}/templates/"), 122),
        (&format!("{at}/domains"), &format!("{key}/domains/h"), 120),
        (&format!("{at}/suppressions"), "name=\"target\" value=\"", 120),
        (&format!("{at}/suppressions?list=tenant"), "name=\"target\" value=\"", 120),
        ("/console/people", "action=\"/console/people/remove\" data-confirm=\"Remove ", 120),
        ("/console/people/audit", "<td>changed webhook</td><td>", 120),
        ("/console/", "<span class=\"quiet\">t", 601),
        ("/console/ours/operations/queue", "/messages/msg_", 130),
    ] {
        let found = reader.walk(path, before).await;
        assert_eq!(found.len(), count, "{path}: {:?}", found.first());
    }
    assert!(reader.wrong.is_empty(), "{}", reader.wrong.join("\n"));
    house.shut().await;
}
