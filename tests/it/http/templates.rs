//! Templates over Mailtura's surface, mails made of them, and mails that go out together.

use serde_json::{Value, json};

use super::{House, KEY, OTHER_KEY, Reply};

const TEMPLATES: &str = "/api/v1/templates";

fn welcome() -> Value {
    json!({
        "name": "welcome-email", "subject": "Hi {{name}}",
        "html": "<p>{{name}}{{#if isNew}}, welcome{{else}}, welcome back{{/if}}</p>{{#each items}}<i>{{this.name}}</i>{{/each}}",
        "text": "{{name}}", "variables": { "name": "string" },
    })
}

async fn refused(house: &House, method: &str, path: &str, body: Value, status: u16, expected: &str) {
    let reply = house.mailtura(method, path, &body.to_string()).await;
    assert!(reply.status == status && reply.text().contains(expected), "{body}: {} {}", reply.status, reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_have_versions_and_can_be_seen_before() {
    let house = House::new().await;
    let made = house.mailtura("POST", TEMPLATES, &welcome().to_string()).await;
    assert_eq!((made.status, made.field("location")), (201, "/api/v1/templates/welcome-email"), "{}", made.text());
    let body = made.json();
    assert_eq!(
        (&body["version"], &body["title"], &body["mailAgent"]),
        (&json!(1), &json!("welcome-email"), &json!("default"))
    );
    let path = "/api/v1/templates/welcome-email";
    let seen = house.mailtura("GET", path, "").await.json();
    assert_eq!(seen, body);
    assert_eq!(house.mailtura("GET", &format!("{TEMPLATES}/{}", body["id"].as_str().unwrap()), "").await.json(), body);

    let data = json!({ "variables": { "name": "<Ann>", "isNew": true, "items": [{ "name": "a" }] } });
    let preview = house.mailtura("POST", &format!("{path}/preview"), &data.to_string()).await;
    let expected = json!({
        "subject": "Hi <Ann>", "html": "<p>&lt;Ann&gt;, welcome</p><i>a</i>", "text": "<Ann>", "missing": [],
    });
    assert_eq!((preview.status, preview.json()), (200, expected));
    let empty = house.mailtura("POST", &format!("{path}/preview"), "").await.json();
    assert_eq!((&empty["subject"], &empty["missing"]), (&json!("Hi "), &json!(["name"])));
    let draft = json!({ "subject": "{{a}}", "html": "{{{b}}}", "variables": { "a": 1, "b": "<b>" } });
    let draft = house.mailtura("POST", "/api/v1/templates/preview", &draft.to_string()).await.json();
    assert_eq!(draft, json!({ "subject": "1", "html": "<b>", "text": null, "missing": [] }));

    let changed = house.mailtura("PATCH", path, r#"{"subject":"Dear {{name}}","text":null}"#).await.json();
    assert_eq!(
        (&changed["version"], &changed["subject"], changed.get("text")),
        (&json!(2), &json!("Dear {{name}}"), None)
    );
    let old = house.mailtura("GET", &format!("{path}?version=1"), "").await.json();
    assert_eq!((&old["version"], &old["subject"]), (&json!(1), &json!("Hi {{name}}")));
    assert_eq!(house.mailtura("GET", &format!("{path}?version=9"), "").await.status, 404);
    let versions = house.mailtura("GET", &format!("{path}/versions"), "").await.json();
    assert_eq!((&versions[0]["version"], &versions[1]["version"]), (&json!(2), &json!(1)));

    house.mailtura("POST", TEMPLATES, &welcome().to_string()).await.is(409, r#"{"message":"Template already exists"}"#);
    let other = json!({ "name": "other", "subject": "s", "text": "t" });
    assert_eq!(house.mailtura("POST", TEMPLATES, &other.to_string()).await.status, 201);
    let page = house.mailtura("GET", "/api/v1/templates?limit=1", "").await;
    assert_eq!((&page.json()[0]["name"], page.json()[0].get("html")), (&json!("other"), None));
    assert_eq!(page.field("link"), "</api/v1/templates?limit=1&after=other>; rel=\"next\"");
    let renamed = json!({ "name": "welcome", "subject": "s", "html": "h" });
    assert_eq!(house.mailtura("PUT", path, &renamed.to_string()).await.json()["version"], json!(3));
    assert_eq!(house.mailtura("GET", path, "").await.status, 404);
    assert_eq!(house.mailtura("DELETE", "/api/v1/templates/welcome", "").await.status, 204);
    assert_eq!(house.mailtura("DELETE", "/api/v1/templates/welcome", "").await.status, 404);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_templates() {
    let house = House::new().await;
    let with = |field: &str, value: Value| {
        let mut template = welcome();
        template[field] = value;
        template
    };
    refused(&house, "POST", TEMPLATES, with("name", json!("a b")), 422, "body/name: must be up to 100 letters").await;
    refused(&house, "POST", TEMPLATES, with("name", json!("..")), 422, "body/name").await;
    refused(&house, "POST", TEMPLATES, with("subject", json!("")), 422, "body/subject must NOT have fewer").await;
    refused(&house, "POST", TEMPLATES, with("html", json!("{{#if a}}")), 422, "body/html").await;
    refused(&house, "POST", TEMPLATES, with("html", json!("{{> partial}}")), 422, "is not supported").await;
    refused(&house, "POST", TEMPLATES, with("mailAgent", json!("nobody")), 404, "Mail agent not found").await;
    let bare = json!({ "name": "x", "subject": "s", "html": "" });
    refused(&house, "POST", TEMPLATES, bare, 422, "must have required property 'html'").await;
    house.mailtura("POST", TEMPLATES, &welcome().to_string()).await;
    refused(&house, "PATCH", "/api/v1/templates/welcome-email", json!({}), 400, "Nothing to change").await;
    let bodiless = json!({ "html": null, "text": null });
    refused(&house, "PATCH", "/api/v1/templates/welcome-email", bodiless, 422, "'html'").await;
    refused(&house, "POST", "/api/v1/templates/none/preview", json!({}), 404, "Template not found").await;
    house.shut().await;
}

fn mail(to: &str) -> Value {
    json!({ "from": "a@ours.example", "to": to, "template": "welcome-email", "variables": { "name": "Ann" } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_are_made_of_templates() {
    let house = House::new().await;
    let send = async |body: Value| house.mailtura("POST", "/api/v1/emails", &body.to_string()).await;
    assert_eq!(send(mail("b@example.com")).await.status, 404);
    house.mailtura("POST", TEMPLATES, &welcome().to_string()).await;
    assert_eq!(send(mail("b@example.com")).await.status, 201);
    let text = house.newest_mail().await;
    assert!(text.contains("Subject: Hi Ann\r\n") && text.contains("<p>Ann, welcome back</p>"), "{text}");
    house.clock.advance(std::time::Duration::from_millis(1));
    let mut own = mail("b@example.com");
    own["subject"] = json!("For {{name}} alone");
    assert_eq!(send(own).await.status, 201);
    assert!(house.newest_mail().await.contains("Subject: For Ann alone\r\n"));
    house.clock.advance(std::time::Duration::from_millis(1));
    // With variables a mail's own texts are filled in; without, they are left alone.
    let own = json!({ "from": "a@ours.example", "to": "b@example.com", "subject": "{{x}}", "text": "{{x}}", "variables": { "x": "y" } });
    assert_eq!(send(own.clone()).await.status, 201);
    assert!(house.newest_mail().await.contains("Subject: y\r\n"));
    house.clock.advance(std::time::Duration::from_millis(1));
    let mut plain = own;
    plain["variables"] = Value::Null;
    assert_eq!(send(plain).await.status, 201);
    assert!(house.newest_mail().await.contains("Subject: {{x}}\r\n"));
    let mut both = mail("b@example.com");
    both["html"] = json!("<p>");
    refused(&house, "POST", "/api/v1/emails", both, 422, "body/html: must not stand beside a template").await;
    let endless =
        json!({ "from": "a@ours.example", "to": "b@example.com", "subject": "s", "text": "{{#a}}", "variables": {} });
    refused(&house, "POST", "/api/v1/emails", endless, 422, "body/text").await;
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_one_commit_and_each_has_an_id() {
    let house = House::new().await;
    house.mailtura("POST", TEMPLATES, &welcome().to_string()).await;
    let batch = |count: usize| -> Value { (0..count).map(|n| mail(&format!("r{n}@example.com"))).collect() };
    let path = "/api/v1/emails/batch";
    let sent = house.once("batch", "POST", path, &batch(500).to_string()).await;
    assert_eq!(sent.status, 201, "{}", sent.text());
    let told = sent.json();
    let ids: std::collections::HashSet<_> = told.as_array().unwrap().iter().map(|one| one["id"].to_string()).collect();
    assert_eq!((ids.len(), house.messages().await), (500, 500));
    assert_eq!(told[499]["to"], json!(["r499@example.com"]));
    let again = house.once("batch", "POST", path, &batch(500).to_string()).await;
    assert_eq!((again.field("idempotent-replayed"), again.json()), ("true", told));
    assert_eq!(house.messages().await, 500);
    refused(&house, "POST", path, batch(501), 422, "more than 500 items").await;
    refused(&house, "POST", path, json!([]), 422, "fewer than 1 items").await;
    refused(&house, "POST", path, json!({}), 422, "must be array").await;
    // One that is bad keeps all of them out.
    let mut one_bad = batch(3);
    one_bad[1]["to"] = json!("nobody");
    refused(&house, "POST", path, one_bad, 422, "body/1/to must match format").await;
    let mut other = batch(2);
    other[1]["mailAgent"] = json!("default");
    refused(&house, "POST", path, other, 422, "body/1/mailAgent: must be the same").await;
    let mut foreign = batch(2);
    foreign[1]["from"] = json!("a@theirs.example");
    refused(&house, "POST", path, foreign, 403, "may not send from").await;
    assert_eq!(house.messages().await, 500);
    house.shut().await;
}

impl House {
    async fn raw_mail(&self, path: &str, mail: &str) -> Reply {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\nContent-Type: Message/RFC822; x=y\r\nContent-Length: {}\r\n\r\n",
            mail.len()
        );
        Reply::read(&self.raw(&[head.as_bytes(), mail.as_bytes()].concat()).await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_is_one_already() {
    let house = House::new().await;
    let mail = "From: a@ours.example\nTo: b@example.com, C <c@example.com>\nBcc: d@example.com\nSubject: raw\nX-Own: 1\n\nbody\n";
    let sent = house.raw_mail("/api/v1/emails", mail).await;
    assert_eq!((sent.status, &sent.json()["to"]), (201, &json!(["b@example.com", "c@example.com", "d@example.com"])));
    let text = house.newest_mail().await;
    assert!(text.contains("X-Own: 1\r\n") && text.contains("\r\n\r\nbody\r\n") && !text.contains("Bcc"), "{text}");
    let theirs = mail.replace("ours.example", "theirs.example");
    assert_eq!(house.raw_mail("/api/v1/emails", &theirs).await.status, 403);
    assert_eq!(house.raw_mail("/api/v1/emails", "From: a@ours.example\n\n").await.status, 422);
    assert_eq!(house.raw_mail("/api/v1/emails", "").await.status, 422);
    // Elsewhere a body is JSON, whatever it is called.
    assert_eq!(house.raw_mail("/api/v1/emails/batch", mail).await.status, 400);
    assert_eq!(house.messages().await, 1);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_can_be_taken_back() {
    let house = House::new().await;
    let later = json!({
        "from": "a@ours.example", "to": "b@example.com", "subject": "s", "text": "t", "scheduledAt": "2026-03-03T10:00:00Z",
    });
    let sent = house.mailtura("POST", "/api/v1/emails", &later.to_string()).await.json();
    let path = format!("/api/v1/emails/{}/cancel", sent["id"].as_str().unwrap());
    let theirs = format!("Bearer {OTHER_KEY}");
    assert_eq!(house.ask("POST", &path, &[("Authorization", &theirs)], b"").await.status, 404);
    let cancelled = house.mailtura("POST", &path, "").await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")), "{}", cancelled.text());
    house.mailtura("POST", &path, "").await.is(409, r#"{"message":"Nothing of this mail waits to be sent"}"#);
    assert_eq!(house.mailtura("POST", "/api/v1/emails/msg_7/cancel", "").await.status, 404);
    house.shut().await;
}
