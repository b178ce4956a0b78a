//! A hundred hostile requests and more to ZeptoMail's surface: never a 500, always this API's error, nothing half-queued.

use serde_json::{Value, json};

use super::evil::{INJECTIONS, no_addresses, no_bodies, of_every_type};
use super::{House, KEY, Reply};

const PATHS: [&str; 4] = ["/v1.1/email", "/v1.1/email/batch", "/v1.1/email/template", "/v1.1/email/template/batch"];

impl House {
    async fn send_bytes(&self, path: &str, body: &[u8]) -> Reply {
        let token = format!("Zoho-enczapikey {KEY}");
        self.ask("POST", path, &[("Authorization", &token)], body).await
    }
}

fn mail() -> Value {
    json!({
        "from": { "address": "billing@ours.example", "name": "Ours" },
        "to": [{ "email_address": { "address": "reader@example.com", "name": "Reader" } }],
        "subject": "s", "htmlbody": "<p>x</p>", "textbody": "x", "template_alias": "nothing",
    })
}

#[track_caller]
fn refused(told: &Reply, what: &str) {
    assert!((400..500).contains(&told.status), "{what}: {} {}", told.status, told.text());
    let body = told.json();
    let detail = &body["error"]["details"][0];
    assert!(
        detail["code"].is_string() && detail["message"].is_string() && body["request_id"].is_string(),
        "{what}: {body}"
    );
}

/// Fields that a mail cannot do without, or that have one type only.
const FIELDS: [&str; 14] = [
    "from",
    "to",
    "cc",
    "bcc",
    "reply_to",
    "subject",
    "htmlbody",
    "textbody",
    "track_opens",
    "client_reference",
    "mime_headers",
    "attachments",
    "inline_images",
    "bounce_address",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_types_everywhere() {
    let house = House::new().await;
    for field in FIELDS {
        for value in of_every_type() {
            let mut request = mail();
            request[field] = value.clone();
            let told = house.send_bytes("/v1.1/email", request.to_string().as_bytes()).await;
            assert!(told.status < 500, "{field}={value}: {}", told.text());
            if told.status >= 300 {
                refused(&told, &format!("{field}={value}"));
            }
        }
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_none() {
    let house = House::new().await;
    for path in PATHS {
        for body in no_bodies().into_iter().chain([b"{}".to_vec()]) {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            refused(&house.send_bytes(path, &body).await, &format!("{path} {shown}"));
        }
    }
    assert_eq!(house.messages().await, 0);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_gets_into_a_header() {
    let house = House::new().await;
    for evil in INJECTIONS {
        for (place, changes) in [
            ("subject", json!({ "subject": evil })),
            ("from name", json!({ "from": { "address": "a@ours.example", "name": evil } })),
            ("from", json!({ "from": { "address": format!("a@ours.example{evil}") } })),
            ("to name", json!({ "to": [{ "email_address": { "address": "a@example.com", "name": evil } }] })),
            ("to", json!({ "to": [{ "email_address": { "address": format!("a@example.com{evil}") } }] })),
            ("cc", json!({ "cc": [{ "email_address": { "address": format!("{evil}@example.com") } }] })),
            ("reply_to", json!({ "reply_to": [{ "address": "a@example.com", "name": evil }] })),
            ("header value", json!({ "mime_headers": { "X-A": evil } })),
            ("header name", json!({ "mime_headers": { evil: "x" } })),
            ("file name", json!({ "attachments": [{ "name": evil, "content": "eA==" }] })),
            (
                "file type",
                json!({ "attachments": [{ "name": "x", "mime_type": format!("text/plain{evil}"), "content": "eA==" }] }),
            ),
            ("cid", json!({ "inline_images": [{ "cid": evil, "content": "eA==" }] })),
            ("bounce address", json!({ "bounce_address": format!("a@ours.example{evil}") })),
            ("tag", json!({ "tags": [evil] })),
        ] {
            let mut request = mail();
            for (name, value) in changes.as_object().unwrap() {
                request[name] = value.clone();
            }
            refused(
                &house.send_bytes("/v1.1/email", request.to_string().as_bytes()).await,
                &format!("{place} {evil:?}"),
            );
        }
    }
    assert_eq!(house.messages().await, 0);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_and_headers_of_every_pathology() {
    let house = House::new().await;
    for address in no_addresses() {
        for field in ["to", "cc", "bcc", "reply_to"] {
            let mut request = mail();
            request[field] = json!([{ "email_address": { "address": address } }]);
            refused(
                &house.send_bytes("/v1.1/email", request.to_string().as_bytes()).await,
                &format!("{field} {address:?}"),
            );
        }
    }
    for name in [
        "From",
        "to",
        "BCC",
        "Sender",
        "Received",
        "DKIM-Signature",
        "Content-Type",
        "Return-Path",
        "X-Postback-Tag",
        "X-TM-CLIENT-REF",
        "a:b",
        "a b",
        "",
        "é",
    ] {
        let mut request = mail();
        request["mime_headers"] = json!({ name: "x" });
        refused(&house.send_bytes("/v1.1/email", request.to_string().as_bytes()).await, name);
    }
    assert_eq!(house.messages().await, 0);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_of_anything() {
    let house = House::new().await;
    let large = "x".repeat(2 << 20);
    for (what, changes) in [
        ("subject", json!({ "subject": "x".repeat(501) })),
        ("name", json!({ "from": { "address": "a@ours.example", "name": "x".repeat(251) } })),
        ("to", json!({ "to": vec!["a@example.com"; 501] })),
        ("attachments", json!({ "attachments": vec![json!({ "name": "x", "content": "" }); 61] })),
        ("file name", json!({ "attachments": [{ "name": "x".repeat(151), "content": "" }] })),
        ("file", json!({ "attachments": [{ "name": "x", "content": "A".repeat(21 << 20) }] })),
        ("reference", json!({ "client_reference": "x".repeat(1_001) })),
        ("tags", json!({ "tags": vec!["x"; 11] })),
        ("metadata", json!({ "metadata": { "x": "y".repeat(9_000) } })),
        ("header", json!({ "mime_headers": { "X-A": "x".repeat(901) } })),
    ] {
        let mut request = mail();
        for (name, value) in changes.as_object().unwrap() {
            request[name] = value.clone();
        }
        refused(&house.send_bytes("/v1.1/email", request.to_string().as_bytes()).await, what);
    }
    let mut request = mail();
    request["htmlbody"] = large.into();
    refused(&house.send_bytes("/v1.1/email/batch", request.to_string().as_bytes()).await, "a template of 2 MB");
    refused(&house.send_bytes("/v1.1/email", &vec![b' '; 50 << 20]).await, "50 MB");
    assert_eq!(house.messages().await, 0);
    house.shut().await;
}
