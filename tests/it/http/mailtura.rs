//! Mailtura's surface: who may, sending, looking a mail up, and every error in its own words.

use super::{House, KEY, NOW, OTHER_KEY};

const MAIL: &str = r#"{"from":"a@ours.example","to":"reader@example.com","subject":"Your receipt","text":"Thanks"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_is_accepted_and_can_be_looked_up() {
    let house = House::new().await;
    let sent = house.mailtura("POST", "/api/v1/emails/", MAIL).await;
    sent.is(
        201,
        r#"{"id":"msg_*","emailId":"msg_*","status":"queued","to":["reader@example.com"],"createdAt":"2026-03-02T08:15:00.000Z"}"#,
    );
    let id = sent.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(sent.field("location"), format!("/api/v1/emails/{id}"));
    let seen = house.mailtura("GET", &format!("/api/v1/emails/{id}"), "").await;
    let body = seen.json();
    assert_eq!((seen.status, &body["status"], &body["subject"]), (200, &"queued".into(), &"Your receipt".into()));
    assert_eq!(body["recipients"][0]["address"], "reader@example.com");
    assert_eq!(body["createdAt"], NOW.rfc3339_millis());
    let theirs = [("Authorization", format!("Bearer {OTHER_KEY}"))];
    let theirs: Vec<_> = theirs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let path = format!("/api/v1/emails/{id}");
    house.ask("GET", &path, &theirs, b"").await.is(404, r#"{"message":"Email not found"}"#);
    house.mailtura("GET", "/api/v1/emails/msg_7", "").await.is(404, r#"{"message":"Email not found"}"#);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_refused_adds_the_domain_and_tries_again_at_once() {
    let house = House::new().await;
    let mail = MAIL.replace("ours.example", "new.example");
    assert_eq!(house.mailtura("POST", "/api/v1/emails", &mail).await.status, 403);
    house.store.add_domain(house.ours.1.id, "new.example").await.unwrap();
    assert_eq!(house.mailtura("POST", "/api/v1/emails", &mail).await.status, 201);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_the_documents_name() {
    let house = House::new().await;
    let mail = r#"{
        "to": ["a@example.com", "B <b@example.com>"], "from": "billing@ours.example", "fromName": "Ours, Billing",
        "replyTo": "help@ours.example", "cc": ["c@example.com"], "bcc": ["d@example.com", "a@example.com"],
        "subject": "Invoice № 12", "html": "<p>Hi</p>", "text": "Hi",
        "attachments": [{"filename": "invoice.pdf", "content": "JVBERi0xLjQK", "contentType": "application/pdf"},
                        {"filename": "logo.png", "content": "iVBORw0KGgo=", "contentType": "image/png", "contentId": "logo"}],
        "headers": {"X-Order": "12"}, "tags": ["invoice"], "metadata": {"orderId": "12", "10": 1, "2": [true, null]},
        "tracking": {"opens": true, "clicks": false}, "mailAgent": "default", "unknown": {"ignored": true}
    }"#;
    let sent = house.mailtura("POST", "/api/v1/emails", mail).await;
    assert_eq!((sent.status, &sent.json()["to"]), (201, &serde_json::json!(["a@example.com", "b@example.com"])));
    let message = house.store.messages(house.ours.0.id, None, 1).await.unwrap().remove(0);
    let facts = &message.facts;
    assert_eq!(facts.bcc.iter().map(|person| person.address.as_str()).collect::<Vec<_>>(), ["d@example.com"]);
    assert_eq!(serde_json::to_string(&facts.metadata).unwrap(), r#"{"orderId":"12","10":1,"2":[true,null]}"#);
    assert_eq!((facts.tracking.opens, facts.tracking.clicks, &facts.tags), (true, false, &vec!["invoice".to_owned()]));
    assert_eq!(house.store.deliveries(message.id).await.unwrap().len(), 4);
    let text = house.newest_mail().await;
    for line in [
        "From: \"Ours, Billing\" <billing@ours.example>\r\n",
        "To: <a@example.com>, \"B\" <b@example.com>\r\n",
        "Cc: <c@example.com>\r\n",
        "Reply-To: <help@ours.example>\r\n",
        "X-Order: 12\r\n",
        "filename=\"invoice.pdf\"\r\n",
        "Content-ID: <logo>\r\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("d@example.com"));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may() {
    let house = House::new().await;
    let ask = async |fields: &[(&str, &str)], status, body: &str| {
        house.ask("POST", "/api/v1/emails", fields, MAIL.as_bytes()).await.is(status, body);
    };
    let key = format!("Bearer {KEY}");
    const UNKNOWN: &str = r#"{"message":"Invalid API key"}"#;
    ask(&[], 401, UNKNOWN).await;
    ask(&[("Authorization", "Bearer nobody")], 401, UNKNOWN).await;
    ask(&[("Authorization", "Bearer ")], 401, UNKNOWN).await;
    ask(&[("Authorization", KEY)], 401, UNKNOWN).await;
    ask(&[("Authorization", &format!("Basic {KEY}"))], 401, UNKNOWN).await;
    const FORBIDDEN: &str = r#"{"message":"The API key may not act for this tenant"}"#;
    ask(&[("Authorization", &key), ("X-Tenant-ID", "theirs")], 403, FORBIDDEN).await;
    ask(&[("Authorization", &key), ("X-Tenant-ID", "nobody")], 404, r#"{"message":"Tenant not found"}"#).await;
    ask(&[("Authorization", &key), ("X-Tenant-ID", "nöbody")], 404, r#"{"message":"Tenant not found"}"#).await;
    assert_eq!(house.messages().await, 0);
    for fields in
        [[("Authorization", key.as_str()), ("X-Tenant-ID", "Ours")], [("authorization", &key), ("x-tenant-id", "")]]
    {
        assert_eq!(house.ask("POST", "/api/v1/emails", &fields, MAIL.as_bytes()).await.status, 201);
    }
    let refused = house.ask("GET", "/api/v1/webhooks", &[], b"").await;
    assert_eq!((refused.status, refused.field("www-authenticate")), (401, "Bearer"));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_and_methods() {
    let house = House::new().await;
    for (method, path, status, allow) in [
        ("GET", "/", 404, ""),
        ("GET", "/api/v1", 404, ""),
        ("GET", "/api/v1/nothing", 404, ""),
        ("GET", "/api/v2/emails", 404, ""),
        ("DELETE", "/api/v1/emails", 405, "GET, POST"),
        ("BREW", "/api/v1/webhooks/wh_1", 405, "DELETE, GET, PATCH, PUT"),
        ("OPTIONS", "/api/v1/webhooks", 405, "GET, POST"),
    ] {
        let reply = house.mailtura(method, path, "").await;
        assert_eq!((reply.status, reply.field("allow")), (status, allow), "{method} {path}");
        assert!(reply.json()["message"].is_string());
    }
    house.shut().await;
}

/// Replaces the value of a field of a good mail.
fn with(field: &str, value: &str) -> String {
    let mut mail: serde_json::Value = serde_json::from_str(MAIL).unwrap();
    mail[field] = serde_json::from_str(value).unwrap();
    mail.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_mails_leave_nothing_behind() {
    let house = House::new().await;
    let check = async |body: String, status, expected: &str| {
        let reply = house.mailtura("POST", "/api/v1/emails", &body).await;
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(reply.status == status && message.contains(expected), "{} {message}, from {body}", reply.status);
    };
    check("{".into(), 400, "Invalid JSON").await;
    check("[]".into(), 422, "body must be object").await;
    check("{}".into(), 422, "must have required property 'to'").await;
    check(r#"{"to":"a@example.com","to":"b@example.com"}"#.into(), 400, "stands twice").await;
    check("[".repeat(10_000), 400, "too deeply nested").await;
    check(with("to", "[]"), 422, "body/to must NOT have fewer than 1 items").await;
    check(with("to", "null"), 422, "must have required property 'to'").await;
    check(with("to", "\"nobody\""), 422, "body/to must match format \"email\"").await;
    check(with("cc", "[7]"), 422, "body/cc/0: must be an address, or an object with one").await;
    check(with("from", "\"a@theirs.example\""), 403, "may not send from theirs.example").await;
    check(with("from", "null"), 422, "must have required property 'from'").await;
    check(with("subject", "null"), 422, "must have required property 'subject'").await;
    check(with("subject", "\"x\\r\\nBcc: v@e.example\""), 422, "body/subject: line breaks").await;
    check(with("fromName", "\"x\\nBcc: v@e.example\""), 422, "body/from: line breaks").await;
    check(with("replyTo", r#"{"address":"a@b.example","name":"\u0000"}"#), 422, "body/replyTo: line breaks").await;
    check(with("headers", r#"{"X-A\r\nBcc":"x"}"#), 422, "is not a header name").await;
    check(with("headers", r#"{"X-A":"x\ny"}"#), 422, "body/headers: line breaks").await;
    check(with("headers", r#"{"Content-Type":"text/html"}"#), 422, "cannot be set").await;
    check(with("headers", "[]"), 422, "body/headers must be object").await;
    check(with("text", "null"), 422, "must have required property 'html'").await;
    check(with("html", "{}"), 422, "body/html must be string").await;
    check(with("template", "\"welcome\""), 422, "body/text: must not stand beside a template").await;
    check(with("mailAgent", "\"other\""), 404, "Mail agent not found").await;
    check(with("attachments", r#"[{"filename":"x","content":"*"}]"#), 422, "/attachments/0/content must match format")
        .await;
    check(with("attachments", r#"[{"filename":"x"}]"#), 422, "must have required property 'content'").await;
    check(with("attachments", r#"[{"filename":"../../x","content":""}]"#), 422, "is not a file name").await;
    check(with("attachments", r#"[{"contentType":"a/b\r\nX: y","content":""}]"#), 422, "\"mime-type\"").await;
    check(with("attachments", &format!("[{}]", vec!["{}"; 61].join(","))), 422, "more than 60 items").await;
    check(with("tags", r#"["a\nb"]"#), 422, "body/tags/0: control characters").await;
    check(with("metadata", &format!("{{\"x\":\"{}\"}}", "y".repeat(8 * 1024))), 422, "body/metadata").await;
    check(with("tracking", "{\"opens\":\"yes\"}"), 422, "body/tracking/opens must be boolean").await;
    check(with("scheduledAt", "\"tomorrow\""), 422, "format \"date-time\"").await;
    check(with("scheduledAt", "\"2030-01-01T00:00:00Z\""), 422, "within 30 days").await;
    let many = |count: usize| {
        format!("[{}]", (0..count).map(|n| format!("\"r{n}@example.com\"")).collect::<Vec<_>>().join(","))
    };
    check(with("to", &many(1_001)), 422, "more than 1000 items").await;
    assert_eq!(house.messages().await, 0);
    assert_eq!(house.mailtura("POST", "/api/v1/emails", &with("to", &many(1_000))).await.status, 201);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_mail_waits() {
    let house = House::new().await;
    let sent = house.mailtura("POST", "/api/v1/emails", &with("scheduledAt", "\"2026-03-03T10:00:00+01:00\"")).await;
    let path = format!("/api/v1/emails/{}", sent.json()["id"].as_str().unwrap());
    let seen = house.mailtura("GET", &path, "").await.json();
    assert_eq!(seen["recipients"][0]["nextAttemptAt"], "2026-03-03T09:00:00.000Z");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_room_and_a_database_that_is_gone_are_503() {
    let house = House::new().await;
    let is_put_off = async || {
        let refused = house.mailtura("POST", "/api/v1/emails", MAIL).await;
        refused.is(503, r#"{"message":"Temporarily unavailable; nothing was accepted, try again"}"#);
        assert_eq!(refused.field("retry-after"), "5");
    };
    house.intake.set_room(false);
    is_put_off().await;
    house.intake.set_room(true);
    assert_eq!(house.mailtura("POST", "/api/v1/emails", MAIL).await.status, 201);
    house.store.close().await;
    is_put_off().await;
    house.shut().await;
}
