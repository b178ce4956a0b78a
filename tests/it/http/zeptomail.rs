//! ZeptoMail's surface: what its real clients send is taken, and its errors can be read blindly.

use postback::model::message::Source;
use serde_json::{Value, json};

use super::{House, KEY, masked};

const ACCEPTED: &str = concat!(
    r#"{"data":[{"code":"EM_104","additional_info":[],"message":"Email request received"}],"message":"OK","#,
    r#""request_id":"2d6f.*","object":"email"}"#
);

fn mail() -> Value {
    json!({
        "from": { "address": "billing@ours.example", "name": "Ours" },
        "to": [{ "email_address": { "address": "reader@example.com", "name": "Reader" } }],
        "subject": "Your receipt",
        "htmlbody": "<p>Hi</p>",
    })
}

fn with(changes: Value) -> String {
    let mut mail = mail();
    for (name, value) in changes.as_object().unwrap() {
        mail[name] = value.clone();
    }
    mail.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_is_accepted_byte_for_byte() {
    let house = House::new().await;
    let sent = house.zeptomail(&mail().to_string()).await;
    sent.is(201, ACCEPTED);
    assert_eq!(sent.field("content-type"), "application/json");
    let message = house.store.messages(house.ours.0.id, None, 1).await.unwrap().remove(0);
    assert_eq!((message.source, &sent.json()["request_id"]), (Source::Http, &json!(message.facts.request_id)));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_in_every_spelling() {
    let house = House::new().await;
    let mail = mail().to_string();
    for token in [format!("zoho-ENCZAPIKEY {KEY}"), format!("Zoho-enczapikey   {KEY}"), KEY.to_owned()] {
        assert_eq!(house.ask("POST", "/v1.1/email/", &[("Authorization", &token)], mail.as_bytes()).await.status, 201);
    }
    for token in ["", "Zoho-enczapikey nobody", "Bearer pb_ours", "Zoho-oauthtoken pb_ours"] {
        let refused = house.ask("POST", "/v1.1/email", &[("Authorization", token)], mail.as_bytes()).await;
        refused.is(
            401,
            concat!(
                r#"{"error":{"code":"TM_4001","details":[{"code":"SERR_157","message":"Invalid API Token found"}],"#,
                r#""message":"Access Denied","request_id":"2d6f.*"},"request_id":"2d6f.*"}"#
            ),
        );
    }
    assert_eq!(house.messages().await, 3);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_real_clients_send() {
    let house = House::new().await;
    let nulls = [
        "bounce_address",
        "reply_to",
        "cc",
        "bcc",
        "track_clicks",
        "track_opens",
        "client_reference",
        "mime_headers",
        "attachments",
        "inline_images",
        "textbody",
    ];
    let nulls = Value::Object(nulls.iter().map(|name| ((*name).to_owned(), Value::Null)).collect());
    for changes in [
        nulls,
        json!({ "htmlbody": null, "reply_to": [], "cc": [], "bcc": [], "attachments": [] }),
        json!({ "to": [], "bcc": [{ "email_address": { "address": "hidden@example.com" } }] }),
        json!({ "cc": [{ "address": "c@example.com", "name": "" }], "reply_to": [{ "email_address": { "address": "r@x.example" } }] }),
        json!({ "from": { "address": "billing@ours.example" }, "merge_info": "{\"name\":\"Reader\"}", "other": [{}] }),
        json!({ "mime_headers": { "headers": { "X-Order": "4711" } } }),
        json!({ "inline_images": [{ "content_id": "logo1", "mime_type": "image/png", "content": "iVBORw0KGgo=" }] }),
    ] {
        let body = with(changes);
        let sent = house.zeptomail(&body).await;
        assert_eq!(sent.text(), ACCEPTED, "{body}");
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_arrives() {
    let house = House::new().await;
    let changes = json!({
        "textbody": "Hi", "bounce_address": "bounce@ours.example", "track_clicks": false, "track_opens": true,
        "client_reference": "order-4711", "mime_headers": { "X-Order": "4711" },
        "cc": [{ "email_address": { "address": "c@example.com", "name": "C" } }],
        "bcc": [{ "email_address": { "address": "d@example.com", "name": "D" } }],
        "reply_to": [{ "address": "help@ours.example", "name": "Help" }],
        "attachments": [{ "content": "SGVsbG8K", "mime_type": "text/plain", "name": "hello.txt" }],
        "inline_images": [{ "cid": "logo1", "mime_type": "image/png", "content": "iVBORw0KGgo=" }],
    });
    house.zeptomail(&with(changes)).await.is(201, ACCEPTED);
    let facts = house.store.messages(house.ours.0.id, None, 1).await.unwrap().remove(0).facts;
    assert_eq!((facts.client_reference.as_str(), facts.bounce_address.as_str()), ("order-4711", "bounce@ours.example"));
    assert_eq!((facts.tracking.opens, facts.tracking.clicks), (true, false));
    let text = house.newest_mail().await;
    for line in ["X-Order: 4711\r\n", "Reply-To: \"Help\" <help@ours.example>\r\n", "SGVsbG8K\r\n", "<logo1>\r\n"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("d@example.com"));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_byte_for_byte() {
    let house = House::new().await;
    let check = async |body: String, status, code: &str, detail: Value, message: &str| {
        let refused = house.zeptomail(&body).await;
        let request_id = refused.json()["request_id"].clone();
        let error = json!({ "code": code, "details": [detail], "message": message, "request_id": request_id });
        let expected = json!({ "error": error, "request_id": request_id }).to_string();
        refused.is(status, &masked(&expected));
    };
    let detail = |code: &str, message: &str, target: &str, value: &str| {
        let mut detail = json!({ "code": code, "message": message, "target": target });
        if !value.is_empty() {
            detail["target_value"] = value.into();
        }
        detail
    };
    let missing = "Mandatory Field Missing";
    let empty = detail("GE_102", "Mandatory Field 'subject' was set as Empty Value", "subject", "");
    check(with(json!({ "subject": "" })), 400, "TM_3201", empty, missing).await;
    let nobody = detail("GE_102", "No recipient field found", "to", "");
    check(with(json!({ "to": [] })), 400, "TM_3201", nobody, missing).await;
    let from = detail("GE_102", "Mandatory Field 'from' was not found", "from", "");
    check(with(json!({ "from": null })), 400, "TM_3201", from, missing).await;
    let address = detail("SM_113", "Invalid Email Address", "to", "nobody@");
    let to = json!({ "to": [{ "email_address": { "address": "nobody@" } }] });
    check(with(to), 400, "TM_4001", address, "Invalid value").await;
    let domain = detail("SM_111", "Sender address domain is not verified", "from", "theirs.example");
    let from = json!({ "from": { "address": "a@theirs.example" } });
    check(with(from), 400, "TM_4001", domain, "Access Denied").await;
    let injected =
        detail("SM_113", "Invalid value: line breaks and control characters are not allowed here", "subject", "");
    check(with(json!({ "subject": "x\r\nBcc: v@e.example" })), 400, "TM_4001", injected, "Invalid value").await;
    let kind = detail("SM_120", "Invalid MIME type", "attachments", "x");
    let file = json!({ "attachments": [{ "name": "x", "mime_type": "x", "content": "" }] });
    check(with(file), 400, "TM_3301", kind, "Invalid value").await;
    let key = detail("UE_106", "Invalid file cache key", "attachments", "2d6f.h1");
    let file = json!({ "attachments": [{ "file_cache_key": "2d6f.h1" }] });
    check(with(file), 422, "TM_3501", key, "Unprocessable Entity").await;
    let long = detail("SM_129", "Longer than 500 characters", "subject", "");
    check(with(json!({ "subject": "ü".repeat(501) })), 422, "TM_8001", long, "Limit Exceeded").await;
    let many = detail("SM_127", "More than 500 entries", "cc", "");
    check(with(json!({ "cc": vec!["a@example.com"; 501] })), 422, "TM_8001", many, "Limit Exceeded").await;
    let why = "EOF while parsing an object at line 1 column 1";
    let syntax = json!({ "code": "SM_101", "message": "Invalid JSON", "description": why });
    check("{".into(), 400, "TM_3301", syntax, "Invalid JSON").await;
    assert_eq!(house.messages().await, 0);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_on_every_path() {
    let house = House::new().await;
    for (method, path, status) in [
        ("GET", "/v1.1", 404),
        ("POST", "/v1.1/nothing", 404),
        ("GET", "/v1.1/email", 401),
        ("PUT", "/v1.1/email", 405),
        ("PUT", "/v1.1/email/x", 405),
    ] {
        let refused = house.ask(method, path, &[], b"{}").await;
        assert_eq!(refused.status, status, "{method} {path}");
        assert!(refused.json()["error"]["details"][0]["message"].is_string());
    }
    house.shut().await;
}
