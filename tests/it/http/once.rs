//! `Idempotency-Key`, limits a minute and a day, and problems as `application/problem+json`.

use std::time::Duration;

use postback::http::Settings;
use postback::ids::IdSource;
use postback::intake::once::{NoTurn, Turn};
use postback::intake::submission::Refusal;
use postback::model::event::{Detail, EventKind};
use postback::model::once::Answered;
use postback::model::permission::CredentialSettings;
use postback::model::tenant::{Credential, CredentialKind, Grant, MailAgent, Tenant, TenantSettings};
use postback::store::StoreError;

use super::{House, KEY, OPERATOR_KEY, OTHER_KEY, credential};
use crate::support::engines::on_both_engines;

const EMAILS: &str = "/api/v1/emails";
const MAIL: &str = r#"{"from":"a@ours.example","to":"reader@example.com","subject":"Your receipt","text":"Thanks"}"#;

on_both_engines! {
    async fn the_same_again_is_answered_again(engine: &Engine) {
        let house = House::beside(engine).await;
        let first = house.once("order-12", "POST", EMAILS, MAIL).await;
        assert_eq!((first.status, first.field("idempotent-replayed")), (201, ""));
        let again = house.once("\"order-12\"", "POST", EMAILS, MAIL).await;
        assert_eq!((again.status, again.field("idempotent-replayed")), (201, "true"));
        assert_eq!((&again.body, again.field("location")), (&first.body, first.field("location")));
        assert_eq!(house.messages().await, 1);

        let other = house.once("order-12", "POST", EMAILS, &MAIL.replace("Thanks", "Bye")).await;
        other.is(422, r#"{"message":"This Idempotency-Key came with another request before"}"#);
        assert_eq!(house.once("order-12", "POST", "/api/v1/keys", "{}").await.status, 422);
        assert_eq!(house.once("order-13", "POST", EMAILS, MAIL).await.status, 201);
        assert_eq!(house.messages().await, 2);
        let theirs = [("Authorization", format!("Bearer {OTHER_KEY}")), ("Idempotency-Key", "order-12".to_owned())];
        let theirs = theirs.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>();
        let mail = MAIL.replace("ours", "theirs");
        let reply = house.ask("POST", EMAILS, &theirs, mail.as_bytes()).await;
        assert_eq!((reply.status, reply.field("idempotent-replayed")), (201, ""));

        // It survives a restart, and ends after a day.
        let store = engine.store("another node", &house.clock).await;
        assert!(store.kept_answer(&asked(&house)).await.unwrap().is_some());
        house.clock.advance(Duration::from_secs(86_400));
        assert!(store.kept_answer(&asked(&house)).await.unwrap().is_none());
        assert_eq!(house.once("order-12", "POST", EMAILS, &MAIL.replace("Thanks", "Bye")).await.status, 201);
        assert_eq!(house.messages().await, 3);
        store.close().await;
        house.close().await;
    }

    async fn of_two_nodes_one_carries_it_out(engine: &Engine) {
        let house = House::beside(engine).await;
        let grant = grant(&house);
        let asked = [b"POST".as_slice(), b"/x", MAIL.as_bytes()];
        let Ok(Turn::First(ticket)) = house.intake.turn(&grant, "k", &asked).await else { panic!() };
        assert!(house.intake.turn(&grant, "k", &asked).await.is_err());
        // What the other node was faster with is there when this one commits.
        let other = House::beside(engine).await;
        let Ok(Turn::First(theirs)) = other.intake.turn(&grant, "k", &asked).await else { panic!() };
        let submit = async |house: &House, ticket: &postback::intake::once::Ticket| {
            let submission = house.submission("once@example.com");
            let answer = |_: &_| Answered { status: 201, ..Answered::default() };
            house.intake.submit_once(&grant, vec![submission], Some(ticket), answer).await
        };
        submit(&other, &theirs).await.unwrap();
        assert_eq!(submit(&house, &ticket).await, Err(Refusal::Raced));
        assert_eq!(house.messages().await, 1);
        drop(ticket);
        let Ok(Turn::Again(_)) = house.intake.turn(&grant, "k", &asked).await else { panic!() };
        other.close().await;
        house.close().await;
    }

    async fn two_nodes_are_asked_at_one_time(engine: &Engine) {
        let (house, other) = (House::beside(engine).await, House::beside(engine).await);
        for round in 0..5 {
            let key = format!("order-{round}");
            let (one, two) = tokio::join!(house.once(&key, "POST", EMAILS, MAIL), other.once(&key, "POST", EMAILS, MAIL));
            assert_eq!((one.status, two.status), (201, 201), "{} {}", one.text(), two.text());
            assert_eq!(one.body, two.body);
            let mut replayed = [one.field("idempotent-replayed"), two.field("idempotent-replayed")];
            replayed.sort_unstable();
            assert_eq!(replayed, ["", "true"]);
        }
        assert_eq!(house.messages().await, 5);

        // What is no mail is under way at one of them only.
        let hook = r#"{"url":"https://hooks.example.com/","events":["delivered"]}"#;
        let path = "/api/v1/webhooks";
        let (one, two) = tokio::join!(house.once("hook", "POST", path, hook), other.once("hook", "POST", path, hook));
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert!(matches!(statuses, [201, 201 | 409]), "{statuses:?}");
        for node in [&house, &other] {
            assert_eq!(node.mailtura("GET", path, "").await.json().as_array().unwrap().len(), 1);
            assert_eq!(node.once("hook", "POST", path, hook).await.field("idempotent-replayed"), "true");
        }
        // What was refused may be put right at the other.
        assert_eq!(house.once("mended", "POST", path, "{}").await.status, 422);
        assert_eq!(other.once("mended", "POST", path, hook).await.status, 201);
        other.close().await;
        house.close().await;
    }

    async fn a_key_of_a_node_that_died_is_free_again(engine: &Engine) {
        let (house, dead) = (House::beside(engine).await, House::beside(engine).await);
        let asked = [b"POST".as_slice(), b"/x", b"{}"];
        let Ok(Turn::First(theirs)) = dead.intake.turn(&grant(&house), "k", &asked).await else { panic!() };
        dead.intake.reserve(&theirs).await.unwrap();
        assert_eq!(house.intake.turn(&grant(&house), "k", &asked).await.unwrap_err(), NoTurn::Running);
        house.clock.advance(Duration::from_secs(121));
        let Ok(Turn::First(ours)) = house.intake.turn(&grant(&house), "k", &asked).await else { panic!() };
        house.intake.reserve(&ours).await.unwrap();
        house.intake.keep(&ours, Answered { status: 201, ..Answered::default() }).await;
        drop(ours);
        let Ok(Turn::Again(_)) = house.intake.turn(&grant(&house), "k", &asked).await else { panic!() };
        dead.close().await;
        house.close().await;
    }

    async fn a_day_has_so_many_recipients(engine: &Engine) {
        let house = House::beside(engine).await;
        let tenant = TenantSettings { daily_limit: Some(10), ..TenantSettings::default() };
        let change = |ours: &mut Tenant, _: Option<&mut MailAgent>| {
            ours.settings = tenant;
            Ok::<_, StoreError>(())
        };
        house.store.change_tenant(house.ours.0.id, change).await.unwrap();
        house.clock.advance(Duration::from_secs(6));
        let send = || house.mailtura("POST", EMAILS, MAIL);
        let mut statuses = Vec::new();
        for _ in 0..4 {
            let (a, b, c) = tokio::join!(send(), send(), send());
            statuses.extend([a.status, b.status, c.status]);
        }
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 10);
        assert_eq!(house.messages().await, 10);
        let refused = send().await;
        refused.is(429, r#"{"message":"The daily limit is reached; try again tomorrow"}"#);
        assert_eq!(refused.field("retry-after"), (56_700 - 6 + 1).to_string());
        let zepto = r#"{"from":{"address":"a@ours.example"},"to":[{"email_address":{"address":"b@example.com"}}],"subject":"s","textbody":"t"}"#;
        let zepto = house.zeptomail(zepto).await;
        assert_eq!((zepto.status, &zepto.json()["error"]["details"][0]["code"]), (429, &"SMI_115".into()));
        house.clock.advance(Duration::from_secs(56_700));
        assert_eq!(send().await.status, 201);
        house.close().await;
    }

    async fn a_mail_agent_is_warned_of_once_a_day(engine: &Engine) {
        let house = House::beside(engine).await;
        let settings = r#"{"settings":{"dailyWarning":2,"notify":["ops@ours.example"]}}"#;
        let told = house.mailtura("PATCH", "/api/v1/agents/default", settings).await.json();
        assert_eq!(told["settings"]["notify"], serde_json::json!(["ops@ours.example"]));
        let bad = house.mailtura("PATCH", "/api/v1/agents/default", r#"{"settings":{"notify":["x"]}}"#).await;
        assert_eq!(bad.status, 422);
        let hook = r#"{"url":"https://8.8.8.8/","events":["mail_agent.daily_warning"]}"#;
        let hook = house.mailtura("POST", "/api/v1/webhooks", hook).await.json();
        assert_eq!(hook["events"], serde_json::json!(["mail_agent.daily_warning"]));
        let warnings = async || house.store.notices().await.unwrap();
        for (sent, expected) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
            assert_eq!(house.mailtura("POST", EMAILS, MAIL).await.status, 201);
            assert_eq!(warnings().await.len(), expected, "{sent}");
        }
        let first = &warnings().await[0];
        let detail = Detail::DailyWarning { agent_key: house.ours.1.key.clone(), warning: 2, sent: 3 };
        assert_eq!((first.kind, &first.detail), (EventKind::DailyWarning, &detail));
        house.clock.advance(Duration::from_secs(10));
        let events = house.mailtura("GET", "/api/v1/events?type=mail_agent.daily_warning", "").await.json();
        assert_eq!((events.as_array().unwrap().len(), &events[0]["data"]["sent"]), (1, &3.into()));
        // Tomorrow is another day; with the mail agent all that was told of it goes.
        house.clock.advance(Duration::from_secs(86_400));
        for _ in 0..3 {
            house.mailtura("POST", EMAILS, MAIL).await;
        }
        assert_eq!(warnings().await.len(), 2);
        assert!(house.store.remove_agent(house.ours.0.id, "default").await.unwrap());
        assert_eq!(warnings().await, []);
        house.close().await;
    }
}

fn grant(house: &House) -> Grant {
    Grant {
        tenant: house.ours.0.clone(),
        agent: house.ours.1.clone(),
        credential: postback::model::id::CredentialId::from_bytes([0; 16]),
        digest: [0; 32],
        kind: postback::model::tenant::CredentialKind::ApiKey,
        networks: Vec::new(),
        settings: Default::default(),
        person: None,
        domains: vec!["ours.example".into()],
    }
}

fn asked(house: &House) -> postback::model::once::Asked {
    use sha2::{Digest, Sha256};
    postback::model::once::Asked {
        agent: house.ours.1.id,
        key: Sha256::digest("order-12").into(),
        fingerprint: [0; 32],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_post_has_it_and_no_secret_is_kept() {
    let house = House::new().await;
    let hook = r#"{"url":"https://hooks.example.com/","events":["delivered"]}"#;
    let first = house.once("hook", "POST", "/api/v1/webhooks", hook).await;
    let again = house.once("hook", "POST", "/api/v1/webhooks", hook).await;
    assert_eq!((&again.json()["id"], again.field("idempotent-replayed")), (&first.json()["id"], "true"));
    assert_eq!((first.json().get("secret").is_some(), again.json().get("secret")), (true, None));
    assert_eq!(house.mailtura("GET", "/api/v1/webhooks", "").await.json().as_array().unwrap().len(), 1);
    let made = house.once("key", "POST", "/api/v1/keys", "{}").await.json();
    let again = house.once("key", "POST", "/api/v1/keys", "{}").await;
    assert_eq!((&again.json()["id"], again.json().get("secret")), (&made["id"], None));

    // What was refused changed nothing, and may be put right under its key.
    assert_eq!(house.once("mail", "POST", EMAILS, "{}").await.status, 422);
    assert_eq!(house.once("mail", "POST", EMAILS, MAIL).await.status, 201);
    for bad in ["é", &"x".repeat(256)] {
        assert_eq!(house.once(bad, "POST", EMAILS, MAIL).await.status, 400, "{bad}");
    }
    assert_eq!(house.messages().await, 1);
    // It means nothing where nothing is made.
    assert_eq!(house.once("mail", "GET", EMAILS, "").await.status, 200);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_so_many_requests_a_minute() {
    let settings = Settings { requests_per_minute_max: Some(3), ..Settings::default() };
    let house = House::with(settings, |_| {}).await;
    for left in ["2", "1", "0"] {
        let reply = house.mailtura("POST", EMAILS, MAIL).await;
        let told = [reply.field("ratelimit-limit"), reply.field("ratelimit-remaining")];
        assert_eq!((reply.status, told), (201, ["3", left]));
    }
    let refused = house.mailtura("POST", EMAILS, MAIL).await;
    refused.is(429, r#"{"message":"Too many requests; try again later"}"#);
    let told = ["retry-after", "ratelimit-remaining", "ratelimit-reset"].map(|name| refused.field(name));
    assert_eq!(told, ["20", "0", "60"]);
    // Every other key has all that it may, the same tenant's too; and one may have a limit of its own.
    let second = credential(&IdSource::seeded(9), &house.ours.1, CredentialKind::ApiKey, "pb_second");
    house.store.add_credential(second).await.unwrap();
    let seldom = credential(&IdSource::seeded(10), &house.ours.1, CredentialKind::ApiKey, "pb_seldom");
    let settings = CredentialSettings { rate_limit: Some(1), ..Default::default() };
    house.store.add_credential(Credential { settings, ..seldom }).await.unwrap();
    for (key, left) in [("pb_second", "2"), ("pb_seldom", "0"), (OTHER_KEY, "2"), (OPERATOR_KEY, "2")] {
        let reply = house.ask("GET", EMAILS, &[("Authorization", &format!("Bearer {key}"))], b"").await;
        assert_eq!((reply.status, reply.field("ratelimit-remaining")), (200, left), "{key}");
    }
    // Refused requests are told too what is left, and cost what others cost.
    house.clock.advance(Duration::from_secs(20));
    let bad = house.mailtura("POST", EMAILS, "{}").await;
    assert_eq!((bad.status, bad.field("ratelimit-remaining")), (422, "0"));
    assert_eq!(house.messages().await, 3);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_has_so_many_with_all_its_keys_together() {
    let house = House::with(Settings { requests_per_minute_max: Some(3), ..Settings::default() }, |_| {}).await;
    let limit = r#"{"settings":{"rateLimit":4}}"#;
    assert_eq!(house.operator("ours", "PATCH", "/api/v1/tenants/ours", limit).await.status, 200);
    let second = credential(&IdSource::seeded(9), &house.ours.1, CredentialKind::ApiKey, "pb_second");
    house.store.add_credential(second).await.unwrap();
    let ask = async |key: &str| {
        let reply = house.ask("GET", EMAILS, &[("Authorization", &format!("Bearer {key}"))], b"").await;
        let told = ["ratelimit-limit", "ratelimit-remaining", "retry-after"].map(|name| reply.field(name).to_owned());
        (reply.status, told)
    };
    let told = |status, [limit, left, wait]: [&str; 3]| (status, [limit, left, wait].map(str::to_owned));
    // What is told is the limit that is nearer.
    assert_eq!(ask(KEY).await, told(200, ["3", "2", ""]));
    assert_eq!(ask("pb_second").await, told(200, ["3", "2", ""]));
    assert_eq!(ask("pb_second").await, told(200, ["3", "1", ""]));
    assert_eq!(ask(KEY).await, told(200, ["4", "0", ""]));
    assert_eq!(ask("pb_second").await, told(429, ["4", "0", "15"]));
    // An operator's key is nobody's, and another tenant is another.
    assert_eq!(ask(OPERATOR_KEY).await, told(200, ["3", "1", ""]));
    assert_eq!(ask(OTHER_KEY).await, told(200, ["3", "2", ""]));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_has_a_limit_of_its_own() {
    let house = House::new().await;
    let change = |agent: &mut MailAgent| {
        agent.settings.daily_limit = Some(2);
        Ok::<_, StoreError>(())
    };
    house.store.change_agent(house.ours.0.id, house.ours.1.id, change).await.unwrap();
    let many = MAIL.replace("\"reader@example.com\"", r#"["a@example.com","b@example.com","c@example.com"]"#);
    assert_eq!(house.mailtura("POST", EMAILS, &many).await.status, 429);
    assert_eq!(house.mailtura("POST", EMAILS, MAIL).await.status, 201);
    assert_eq!(house.messages().await, 1);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn problems_for_those_who_ask_for_them() {
    let house = House::new().await;
    let token = format!("Bearer {KEY}");
    let ask = async |accept: &str, path: &str| {
        house.ask("POST", path, &[("Authorization", &token), ("Accept", accept)], b"{}").await
    };
    let told = ask("application/json, Application/Problem+JSON; q=0.9", "/api/v1/keys/x").await;
    told.is(
        405,
        r#"{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"Method not allowed; use DELETE, GET","message":"Method not allowed; use DELETE, GET"}"#,
    );
    assert_eq!(told.field("content-type"), "application/problem+json");
    let invalid = ask("application/problem+json", EMAILS).await;
    assert!(
        invalid.status == 422 && invalid.text().contains(r#""validation":[{"instancePath":"","keyword":"required""#)
    );
    let plain = ask("application/json", EMAILS).await;
    assert_eq!((plain.field("content-type"), plain.json().get("type")), ("application/json", None));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeptomails_surface_has_all_of_it_too() {
    let settings = Settings { requests_per_minute_max: Some(7), ..Settings::default() };
    let house = House::with(settings, |_| {}).await;
    let token = format!("Zoho-enczapikey {KEY}");
    let mail = r#"{"from":{"address":"a@ours.example"},"to":[{"email_address":{"address":"b@example.com"}}],"subject":"s","textbody":"t"}"#;
    let send = async |key: &str, path: &str, body: &str| {
        house.ask("POST", path, &[("Authorization", &token), ("Idempotency-Key", key)], body.as_bytes()).await
    };
    let first = send("order-12", "/v1.1/email", mail).await;
    let told = [first.field("ratelimit-limit"), first.field("ratelimit-remaining"), first.field("idempotent-replayed")];
    assert_eq!((first.status, told), (201, ["7", "6", ""]));
    let again = send("order-12", "/v1.1/email", mail).await;
    assert_eq!((again.status, again.field("idempotent-replayed"), &again.body), (201, "true", &first.body));
    assert_eq!(house.messages().await, 1);
    let other = send("order-12", "/v1.1/email/batch", mail).await;
    assert_eq!((other.status, &other.json()["error"]["details"][0]["code"]), (422, &"PB_422".into()));
    assert_eq!(send("é", "/v1.1/email", mail).await.status, 400);
    // A file is kept once; and what is managed is done once, its secret told once.
    let file = send("file", "/v1.1/files?name=a.txt", "x").await;
    assert_eq!((file.status, send("file", "/v1.1/files?name=a.txt", "x").await.body), (201, file.body));
    assert_eq!(send("order-13", "/v1.1/email", "{}").await.status, 400);
    let refused = send("order-13", "/v1.1/email", mail).await;
    let code = &refused.json()["error"]["details"][0]["code"];
    assert_eq!((refused.status, code, refused.field("retry-after")), (429, &"PB_429".into(), "9"));
    house.shut().await;
}
