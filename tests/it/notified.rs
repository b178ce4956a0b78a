//! Who is named on a webhook hears by mail that it fails, and that it was switched off: the whole program on a clock that
//! the test moves, a receiver that never takes anything, and the mails as they were captured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mail_parser::MessageParser;
use postback::app::{App, World};
use postback::clock::Clock;
use postback::config::Settings;
use postback::dns::Table;
use postback::ids::IdSource;
use postback::model::event::EventKind;
use postback::model::id::{TenantId, WebhookId};
use postback::model::message::Message;
use postback::model::tenant::MailAgent;
use postback::model::webhook::{Switch, Webhook};
use postback::store::{Store, StoreError};
use serde_json::{Value, json};

use crate::scripted_receiver::{Answer, Receiver};
use crate::support::agent::post;
use crate::support::node::START;

const HOUR: Duration = Duration::from_secs(3600);
const READER: &str = "ops@shop.example";

/// The program, and what the test does with it.
struct House {
    app: App,
    clock: Clock,
    receiver: Receiver,
    tenant: TenantId,
    _folder: tempfile::TempDir,
}

impl House {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut settings = Settings { data: folder.path().to_owned(), ..Settings::default() };
        settings.database = format!("sqlite:{}", folder.path().join("postback.db").display()).into();
        (settings.smtp.listeners, settings.http.address, settings.admin.address) = (Vec::new(), any, any);
        let clock = Clock::standing(START);
        let world = World { clock: clock.clone(), ids: IdSource::seeded(5), resolver: Arc::new(Table::new()) };
        let app = App::start(&settings, world).await.unwrap();
        let tenant = app.store().tenant("default").await.unwrap().unwrap().id;
        Self { app, clock, receiver: Receiver::start().await, tenant, _folder: folder }
    }

    fn store(&self) -> &Store {
        self.app.store()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let key = self.app.first_run.as_ref().unwrap().api_key.reveal().to_owned();
        let answer = post(self.app.addresses.of("http").unwrap(), path, &key, &body.to_string()).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Adds a webhook about which [`READER`] wants to hear.
    async fn webhook(&self, path: &str) -> WebhookId {
        let body = json!({ "url": self.receiver.url(path), "events": ["sent"], "notify": [READER] });
        self.post("/api/v1/webhooks", &body)["id"].as_str().unwrap().parse().unwrap()
    }

    fn send(&self) {
        self.post(
            "/api/v1/emails",
            &json!({ "from": "a@shop.example", "to": "b@example.com", "subject": "s", "text": "t" }),
        );
    }

    async fn standing(&self, id: WebhookId) -> Webhook {
        self.store().webhook(self.tenant, id).await.unwrap().unwrap()
    }

    async fn failures(&self, id: WebhookId) -> u32 {
        self.store().webhook_health(id).await.unwrap().map_or(0, |health| health.failures)
    }

    /// The mails to [`READER`] that have been delivered, oldest first, once there are so many: subject and text.
    async fn letters(&self, count: usize) -> Vec<(String, String)> {
        let to_reader = |message: &Message| message.facts.to.iter().any(|to| to.address == READER);
        loop {
            let mut letters = self.store().messages(self.tenant, None, 1000).await.unwrap();
            letters.retain(to_reader);
            let mut read = Vec::new();
            for letter in letters.iter().rev() {
                let told = self.store().events_of(letter.id).await.unwrap();
                if told.iter().any(|event| event.kind == EventKind::Delivered) {
                    let content = self.store().content(letter.id).await.unwrap().unwrap();
                    let mail = MessageParser::default().parse(&content[..]).unwrap();
                    assert!(letter.facts.from.address.starts_with("postback@"), "{:?}", letter.facts.from);
                    read.push((letter.facts.subject.clone(), mail.body_text(0).unwrap().replace("\r\n", "\n")));
                }
            }
            if read.len() >= count {
                return read;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Whether a letter has all of this to say about a webhook.
#[track_caller]
fn check(letter: &(String, String), subject: &str, id: WebhookId, parts: &[&str]) {
    let (told, text) = letter;
    assert_eq!(told, &format!("{subject}: {id}"));
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_tell_that_a_webhook_fails_that_an_event_was_given_up_and_that_it_is_off() {
    let house = House::start().await;
    house.receiver.always_answer("/dead", Answer::Status(500, ""));
    let id = house.webhook("/dead").await;
    house.send();
    let mut failures = 0;
    while house.standing(id).await.switch == Switch::On {
        // The next failure, or the end.
        let now = house.failures(id).await;
        if now > failures {
            failures = now;
            house.send();
            house.clock.advance(HOUR);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(house.standing(id).await.switch, Switch::OffByUs);
    let letters = house.letters(3).await;
    let [failing, given_up, off] = letters.as_slice() else { panic!("{letters:?}") };
    check(failing, "A webhook fails", id, &[&house.receiver.url("/dead"), "http_status", "for five days"]);
    check(given_up, "An event for a webhook was given up", id, &["after all attempts", "webhook replay"]);
    check(off, "A webhook was switched off", id, &["Failing since: 2027-01-15T08:", "webhook enable"]);
    assert!(house.store().notices().await.unwrap().is_empty(), "each is told once");
    house.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_warns_of_a_day_and_no_limit_keeps_it_back() {
    let house = House::start().await;
    let agent = house.store().agent(house.tenant, "default").await.unwrap().unwrap();
    let set = |agent: &mut MailAgent| {
        let settings = &mut agent.settings;
        (settings.daily_warning, settings.daily_limit, settings.notify) = (Some(1), Some(2), vec![READER.into()]);
        Ok::<_, StoreError>(())
    };
    house.store().change_agent(house.tenant, agent.id, set).await.unwrap();
    // What was set is known by then.
    house.clock.advance(Duration::from_secs(6));
    let hook = json!({ "url": house.receiver.url("/w"), "events": ["mail_agent.daily_warning"] });
    house.post("/api/v1/webhooks", &hook);
    for _ in 0..2 {
        house.send();
    }
    let letters = house.letters(1).await;
    let [(subject, text)] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!(subject, "default has sent to more than 1 recipients today");
    assert!(text.contains("sent to 2 recipients") && text.contains("More than 2 a day"), "{text}");
    let told = house.receiver.next().await;
    let body: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(body["type"], "mail_agent.daily_warning");
    assert_eq!([&body["data"]["dailyWarning"], &body["data"]["sent"]], [&json!(1), &json!(2)]);
    assert_eq!(body["data"]["mailAgentKey"], agent.key.as_str());
    house.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_tells_that_a_receiver_wants_no_more() {
    let house = House::start().await;
    house.receiver.always_answer("/gone", Answer::Status(410, ""));
    let id = house.webhook("/gone").await;
    house.send();
    let letters = house.letters(1).await;
    check(&letters[0], "A webhook was switched off", id, &[&house.receiver.url("/gone"), "gone", "webhook log"]);
    assert_eq!((letters.len(), house.standing(id).await.switch), (1, Switch::OffByUs));
    // Nothing is dropped: the event of the mail and that of the notice wait.
    assert_eq!(house.store().dispatches_waiting(id, 10).await.unwrap(), 2);
    house.app.stop().await;
}
