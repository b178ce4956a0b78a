//! What is looked at: mails found and seen closely, sent again; records and keys of a domain; the installation and its
//! people, for an operator's key only.

use std::time::Duration;

use postback::mail::submitted::Switches;
use postback::model::message::{Facts, TlsWish};
use postback::model::tenant::Grant;
use serde_json::{Value, json};

use super::{House, OTHER_KEY, Reply};

fn ids(reply: &Reply) -> Vec<String> {
    reply.json().as_array().unwrap().iter().map(|mail| mail["subject"].as_str().unwrap().to_owned()).collect()
}

async fn send(house: &House, subject: &str, more: &str) -> String {
    let mail = format!(
        r#"{{"from":"a@ours.example","to":["kim@there.example","lee@there.example"],"subject":"{subject}",
            "html":"<p><a href=\"https://example.com/a\">x</a> <a href=\"mailto:a@b.example\">y</a></p>"{more}}}"#
    );
    // The newest has the last id.
    house.clock.advance(Duration::from_millis(1));
    let sent = house.mailtura("POST", "/api/v1/emails", &mail).await;
    assert_eq!(sent.status, 201, "{}", sent.text());
    sent.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_are_found_by_what_people_know_of_them() {
    let house = House::new().await;
    send(&house, "Your order 1001", r#","tags":["orders"]"#).await;
    send(&house, "Welcome", "").await;
    let found = async |query: &str| ids(&house.mailtura("GET", &format!("/api/v1/emails?{query}"), "").await);
    assert_eq!(found("").await, ["Welcome", "Your order 1001"]);
    assert_eq!(found("search=order+1001").await, ["Your order 1001"]);
    assert_eq!(found("search=kim%40there.example&tag=orders").await, ["Your order 1001"]);
    assert_eq!(found("search=%40elsewhere.example").await, Vec::<String>::new());
    assert_eq!(found("status=queued").await.len(), 2);
    assert_eq!(found("status=bounced").await.len(), 0);
    assert_eq!(found("until=2026-03-02T00:00:00Z").await.len(), 0);
    assert_eq!(found("since=2026-03-02T00:00:00Z&mailAgent=default").await.len(), 2);
    for (query, status) in [("status=lost", 422), ("mailAgent=nobody", 404), ("since=soon", 422)] {
        assert_eq!(house.mailtura("GET", &format!("/api/v1/emails?{query}"), "").await.status, status, "{query}");
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_is_seen_closely_and_sent_again() {
    let house = House::new().await;
    let id = send(&house, "Look", "").await;
    let at = format!("/api/v1/emails/{id}");
    let copies = house.mailtura("GET", &format!("{at}/copies?limit=1"), "").await;
    assert!(copies.field("link").contains("rel=\"next\""));
    let copies = copies.json();
    assert_eq!(
        (copies[0]["delivery"].is_null(), copies[0]["events"][0]["kind"].as_str()),
        (false, Some("sent")),
        "{copies}"
    );
    let content = house.mailtura("GET", &format!("{at}/content"), "").await;
    assert_eq!(content.field("content-type"), "message/rfc822");
    assert!(content.text().contains("Subject: Look") && content.text().contains("https://example.com/a"));
    let copy = house.mailtura("GET", &format!("{at}/content?to=lee%40there.example"), "").await.text();
    assert!(copy.contains("/c/") && !copy.contains("href=\"https://example.com/a\""), "{copy}");
    let tracking = house.mailtura("GET", &format!("{at}/tracking"), "").await.json();
    assert_eq!(tracking["links"][0]["target"], json!("https://example.com/a"), "{tracking}");
    assert!(tracking["pixel"].is_string() && tracking["untouched"].is_null(), "{tracking}");
    let unseen = json!({ "total": 0, "unique": 0, "persons": { "total": 0, "unique": 0 }, "machines": 0 });
    let email = house.mailtura("GET", &at, "").await.json();
    assert_eq!((&email["opened"], &email["clicked"]), (&unseen, &unseen), "{email}");
    let why = "it does not begin with http:// or https://";
    assert_eq!(tracking["left"], json!([{ "original": "mailto:a@b.example", "reason": why }]), "{tracking}");
    assert_eq!(house.mailtura("GET", &format!("{at}/content?to=nobody%40there.example"), "").await.status, 404);

    let again = house.mailtura("POST", &format!("{at}/resend"), r#"{"to":"lee@there.example"}"#).await;
    assert_eq!((again.status, &again.json()["to"]), (201, &json!(["lee@there.example"])), "{}", again.text());
    assert_ne!(again.json()["id"], json!(id));
    assert_eq!(house.mailtura("POST", &format!("{at}/resend"), "").await.json()["to"].as_array().unwrap().len(), 2);
    let nobody = house.mailtura("POST", &format!("{at}/resend"), r#"{"to":"nobody@there.example"}"#).await;
    assert_eq!((nobody.status, house.messages().await), (404, 3));

    let theirs = format!("Bearer {OTHER_KEY}");
    for (method, rest) in [("GET", "copies"), ("GET", "content"), ("GET", "tracking"), ("POST", "resend")] {
        let reply = house.ask(method, &format!("{at}/{rest}"), &[("Authorization", &theirs)], b"").await;
        assert_eq!(reply.status, 404, "{rest}");
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_wanted_of_a_mail_is_wanted_when_it_is_sent_again() {
    let house = House::new().await;
    let mut submission = house.submission("kim@there.example");
    submission.switches = Switches {
        tls: TlsWish::Required,
        spares_secrets: true,
        track_clicks: Some(true),
        list_unsubscribe: Some(true),
        bounce_address: "bounce@other.example".into(),
        ..Switches::default()
    };
    let agent = house.ours.1.id;
    house.store.add_domain(agent, "other.example").await.unwrap();
    let (tenant, domains) = (house.ours.0.clone(), house.store.domains(agent).await.unwrap());
    let grant = Grant::of_house(tenant, house.ours.1.clone(), domains);
    let first = house.intake.submit(&grant, submission).await.unwrap().message;
    let again = async || {
        house.clock.advance(Duration::from_millis(1));
        let sent = house.mailtura("POST", &format!("/api/v1/emails/{first}/resend"), "").await;
        assert_eq!(sent.status, 201, "{}", sent.text());
        house.store.messages(house.ours.0.id, None, 1).await.unwrap().remove(0).facts
    };
    let wanted =
        |facts: Facts| (facts.tls, facts.tracking.spares_secrets, facts.list_unsubscribe, facts.bounce_address);
    assert_eq!(wanted(again().await), (TlsWish::Required, true, true, "bounce@other.example".into()));
    // The agent may not use the address any more: it has the agent's own, as any mail.
    house.store.remove_domain(agent, "other.example").await.unwrap();
    assert_eq!(wanted(again().await), (TlsWish::Required, true, true, house.ours.1.settings.bounce_address.clone()));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_told_how_it_goes() {
    let house = House::new().await;
    send(&house, "One", "").await;
    let sum = |steps: &Value| -> u64 {
        steps.as_array().unwrap().iter().map(|step| step["counts"]["sent"].as_u64().unwrap()).sum()
    };
    for (span, steps) in [("hour", 12), ("day", 24), ("week", 7), ("month", 30)] {
        let pulse = house.mailtura("GET", &format!("/api/v1/pulse?span={span}"), "").await.json();
        assert_eq!((pulse.as_array().unwrap().len(), sum(&pulse)), (steps, 2), "{span}");
    }
    assert_eq!(house.mailtura("GET", "/api/v1/pulse?span=year", "").await.status, 422);
    let activity = house.mailtura("GET", "/api/v1/activity", "").await.json();
    assert_eq!((&activity["looks"], &activity["countries"]), (&json!(0), &json!([])), "{activity}");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_looked_up_and_keys_renewed() {
    let house = House::new().await;
    assert_eq!(house.mailtura("POST", "/api/v1/domains", r#"{"name":"new.example"}"#).await.status, 201);
    let records = house.mailtura("GET", "/api/v1/domains/new.example/records", "").await.json();
    let dkim = |records: &Value| {
        records.as_array().unwrap().iter().filter(|record| record["purpose"] == json!("dkim")).count()
    };
    assert_eq!(dkim(&records), 2, "{records}");
    let renewed = house.mailtura("POST", "/api/v1/domains/new.example/keys", "").await;
    assert_eq!((renewed.status, dkim(&renewed.json()["records"])), (200, 4), "{}", renewed.text());
    assert_eq!(house.mailtura("GET", "/api/v1/domains/none.example/records", "").await.status, 404);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_the_installation_and_its_people() {
    let house = House::new().await;
    for (method, path, body) in [
        ("GET", "installation", ""),
        ("GET", "reports", ""),
        ("GET", "reports/rpt_1", ""),
        ("POST", "reports/rpt_1/close", ""),
        ("GET", "users", ""),
        ("POST", "users/invitations", r#"{"role":"owner"}"#),
        ("POST", "users/a%40b.example/password", ""),
        ("DELETE", "users/a%40b.example", ""),
        ("GET", "audit", ""),
        ("GET", "users/invitations", ""),
        ("DELETE", "users/invitations/00", ""),
    ] {
        let reply = house.mailtura(method, &format!("/api/v1/{path}"), body).await;
        assert_eq!(reply.status, 403, "{method} {path}");
    }
    let operator =
        async |method, path: &str, body| house.operator("ours", method, &format!("/api/v1/{path}"), body).await;
    let installation = operator("GET", "installation", "").await.json();
    assert_eq!((&installation["capture"], installation["nodes"].is_array()), (&json!(true), true), "{installation}");
    assert_eq!(operator("GET", "reports?open=true", "").await.json(), json!([]));
    assert_eq!(operator("GET", "reports/rpt_1", "").await.status, 404);
    assert_eq!(operator("GET", "users", "").await.json(), json!([]));
    let link = operator("POST", "users/invitations", r#"{"role":"support","tenant":"theirs"}"#).await;
    assert_eq!(link.status, 201, "{}", link.text());
    let path = link.json()["path"].as_str().unwrap().to_owned();
    let form = b"name=Kim&email=kim%40theirs.example&password=correct+horse+battery";
    let fields = [("Sec-Fetch-Site", "same-origin")];
    assert_eq!(house.ask("GET", &path, &[], b"").await.status, 200);
    assert_eq!(house.ask("POST", &path, &fields, form).await.status, 303);
    let users = operator("GET", "users", "").await.json();
    let kim = (&users[0]["email"], &users[0]["role"], &users[0]["tenant"], &users[0]["secondFactor"]);
    assert_eq!(kim, (&json!("kim@theirs.example"), &json!("support"), &json!("theirs"), &json!(false)));
    assert_eq!(operator("POST", "users/kim%40theirs.example/password", r#"{"withoutCode":true}"#).await.status, 201);
    assert_eq!(operator("DELETE", "users/kim%40theirs.example", "").await.status, 204);
    assert_eq!(operator("DELETE", "users/kim%40theirs.example", "").await.status, 404);
    assert_eq!(operator("POST", "users/invitations", r#"{"role":"king"}"#).await.status, 422);
    for role in ["owner", "support"] {
        let body = format!(r#"{{"role":"{role}","tenant":"theirs"}}"#);
        let invited = house.operator("ours", "POST", "/api/v1/users/invitations", &body).await;
        assert_eq!(invited.status, 201);
        house.clock.advance(Duration::from_secs(1));
    }
    let first = operator("GET", "users/invitations?limit=1", "").await;
    let second = first.field("link").split(['<', '>']).nth(1).unwrap().trim_start_matches("/api/v1/").to_owned();
    let (first, second) = (first.json(), operator("GET", &second, "").await.json());
    assert_eq!((&first[0]["role"], &second[0]["role"]), (&json!("owner"), &json!("support")));
    assert_eq!((&first[0]["tenant"], &first[0]["email"]), (&json!("theirs"), &Value::Null));
    let path = format!("users/invitations/{}", first[0]["id"].as_str().unwrap());
    assert_eq!((operator("DELETE", &path, "").await.status, operator("DELETE", &path, "").await.status), (204, 404));
    assert_eq!(operator("GET", "users/invitations?tenant=theirs", "").await.json(), second);
    assert_eq!(operator("GET", "users/invitations?tenant=ours", "").await.json(), json!([]));
    let audit = operator("GET", "audit", "").await.json();
    let page = operator("GET", "audit?limit=2", "").await;
    let next = page.field("link").split(['<', '>']).nth(1).unwrap().trim_start_matches("/api/v1/").to_owned();
    let pages = [page.json()[0].clone(), page.json()[1].clone(), operator("GET", &next, "").await.json()[0].clone()];
    assert_eq!(pages.as_slice(), &audit.as_array().unwrap()[..3]);
    assert_eq!(operator("GET", "audit?after=x", "").await.status, 422);
    let actions: Vec<&str> = audit.as_array().unwrap().iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert!(
        actions.contains(&"removed user") && actions.contains(&"invited") && actions.contains(&"joined"),
        "{audit}"
    );
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_the_console_has() {
    let house = House::new().await;
    let change = r#"{"settings":{"sandbox":true,"trackTextLinks":true,"untrackedHosts":["*.Apps.example"],"authenticationKey":"open sesame"}}"#;
    let settings = house.mailtura("PATCH", "/api/v1/agents/default", change).await.json()["settings"].clone();
    assert_eq!((&settings["sandbox"], &settings["trackTextLinks"]), (&json!(true), &json!(true)), "{settings}");
    assert_eq!(
        (&settings["untrackedHosts"], &settings["hasAuthenticationKey"]),
        (&json!(["*.apps.example"]), &json!(true))
    );
    assert!(!settings.to_string().contains("sesame"));
    let cleared = r#"{"settings":{"authenticationKey":null,"untrackedHosts":[]}}"#;
    let settings = house.mailtura("PATCH", "/api/v1/agents/default", cleared).await.json()["settings"].clone();
    assert_eq!((&settings["sandbox"], &settings["hasAuthenticationKey"]), (&json!(true), &json!(false)), "{settings}");
    let wrong = r#"{"settings":{"untrackedHosts":["no host"]}}"#;
    assert_eq!(house.mailtura("PATCH", "/api/v1/agents/default", wrong).await.status, 422);
    house.shut().await;
}
