//! Hundreds of hostile requests to Mailtura's surface: never a 500, always this API's error, nothing half-done.

use serde_json::{Value, json};

use super::evil::{INJECTIONS, no_addresses, no_bodies, of_every_type};
use super::{House, KEY, OTHER_KEY, Reply};

/// Paths that take a body, each with one that is good.
fn good() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        (
            "POST",
            "/api/v1/emails",
            json!({
                "from": "a@ours.example", "to": ["b@example.com"], "cc": [], "bcc": [], "replyTo": "c@example.com",
                "fromName": "Ours", "subject": "s", "html": "<p>x</p>", "text": "x", "template": null, "variables": null,
                "attachments": [], "headers": {}, "tags": [], "metadata": {}, "tracking": { "opens": true },
                "scheduledAt": null, "timeToLive": 60, "mailAgent": "default",
            }),
        ),
        ("POST", "/api/v1/templates", json!({ "name": "t", "title": "t", "subject": "s", "html": "h", "text": "t" })),
        ("POST", "/api/v1/templates/preview", json!({ "subject": "s", "html": "h", "text": "t", "variables": {} })),
        (
            "POST",
            "/api/v1/suppressions",
            json!({
                "value": "x@example.com", "action": "suppress", "note": "n", "mailAgent": null, "expiresAt": null,
            }),
        ),
        (
            "POST",
            "/api/v1/webhooks",
            json!({
                "url": "https://hooks.example.com/", "events": ["delivered"], "enabled": true, "secret": "s",
                "format": "mailtura", "description": "d", "hits": "first", "formField": "event", "headers": {},
                "keepsTimestamp": false,
            }),
        ),
        ("POST", "/api/v1/domains", json!({ "name": "d.example", "mailAgent": null })),
        ("POST", "/api/v1/keys", json!({ "name": "n", "kind": "api_key", "mailAgent": null })),
        ("POST", "/api/v1/agents", json!({ "name": "g", "settings": { "trackOpens": true } })),
        (
            "PATCH",
            "/api/v1/agents/default",
            json!({
                "settings": {
                    "privacy": "full", "trackClicks": "auto", "trackTextLinks": false, "pixelOnTop": false,
                    "hiddenLink": false, "untrackedHosts": ["*.app.example"], "durableHits": false,
                },
            }),
        ),
        (
            "POST",
            "/api/v1/tracking-hosts",
            json!({
                "host": "t.ours.example", "domain": "ours.example", "mailAgent": null,
                "appleAppSiteAssociation": "{}", "assetLinks": "[]",
            }),
        ),
        ("PATCH", "/api/v1/tenants/ours", json!({ "name": "Ours", "settings": { "fromName": null } })),
    ]
}

#[track_caller]
fn told(reply: &Reply, what: &str) {
    assert!(reply.status < 500, "{what}: {} {}", reply.status, reply.text());
    if reply.status >= 400 {
        let body = reply.json();
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {body}");
        for flaw in body["validation"].as_array().into_iter().flatten() {
            assert!(flaw["instancePath"].is_string() && flaw["keyword"].is_string(), "{what}: {body}");
        }
    }
}

#[track_caller]
fn refused(reply: &Reply, what: &str) {
    assert!((400..500).contains(&reply.status), "{what}: {} {}", reply.status, reply.text());
    told(reply, what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_types_everywhere() {
    let house = House::new().await;
    for (method, path, body) in good() {
        for field in body.as_object().unwrap().keys() {
            for value in of_every_type() {
                let mut request = body.clone();
                request[field] = value.clone();
                let shown: String = value.to_string().chars().take(40).collect();
                told(&house.mailtura(method, path, &request.to_string()).await, &format!("{path} {field}={shown}"));
            }
        }
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_none() {
    let house = House::new().await;
    let key = format!("Bearer {KEY}");
    for path in good()
        .into_iter()
        .filter(|(method, ..)| *method == "POST")
        .map(|(_, path, _)| path)
        .chain(["/api/v1/emails/batch"])
    {
        for body in no_bodies() {
            let reply = house.ask("POST", path, &[("Authorization", &key)], &body).await;
            refused(&reply, &format!("{path} {}", String::from_utf8_lossy(&body[..body.len().min(40)])));
        }
    }
    let large = vec![b' '; 50 << 20];
    assert_eq!(house.ask("POST", "/api/v1/emails", &[("Authorization", &key)], &large).await.status, 413);
    assert_eq!(house.messages().await, 0);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_gets_into_a_header_or_a_recipient() {
    let house = House::new().await;
    let mail = |changes: Value| {
        let mut mail = json!({ "from": "a@ours.example", "to": "b@example.com", "subject": "s", "text": "t" });
        for (name, value) in changes.as_object().unwrap() {
            mail[name] = value.clone();
        }
        mail.to_string()
    };
    for evil in INJECTIONS {
        for changes in [
            json!({ "subject": evil }),
            json!({ "fromName": evil }),
            json!({ "from": { "address": "a@ours.example", "name": evil } }),
            json!({ "from": format!("a@ours.example{evil}") }),
            json!({ "to": format!("a@example.com{evil}") }),
            json!({ "to": [{ "address": "a@example.com", "name": evil }] }),
            json!({ "cc": [format!("{evil}@example.com")] }),
            json!({ "bcc": format!("{evil} <a@example.com>") , "replyTo": { "email": "a@example.com", "name": evil } }),
            json!({ "headers": { "X-A": evil } }),
            json!({ "headers": { evil: "x" } }),
            json!({ "attachments": [{ "filename": evil, "content": "eA==" }] }),
            json!({ "attachments": [{ "contentType": format!("text/plain{evil}"), "content": "eA==" }] }),
            json!({ "attachments": [{ "contentId": evil, "content": "eA==" }] }),
            json!({ "tags": [evil] }),
        ] {
            refused(&house.mailtura("POST", "/api/v1/emails", &mail(changes.clone())).await, &changes.to_string());
        }
    }
    for address in no_addresses() {
        for field in ["to", "cc", "bcc", "replyTo"] {
            let reply = house.mailtura("POST", "/api/v1/emails", &mail(json!({ field: [address] }))).await;
            refused(&reply, &format!("{field} {address:?}"));
        }
    }
    assert_eq!(house.messages().await, 0);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_and_queries_that_are_none() {
    let house = House::new().await;
    for path in [
        "/api/v1/emails/%00",
        "/api/v1/emails/msg_%FF",
        "/api/v1/emails/..%2f..%2fetc",
        "/api/v1/templates/%0d%0aX:%20y",
        "/api/v1/templates/x?version=-1",
        "/api/v1/suppressions/%00",
        "/api/v1/suppressions/a@b@c",
        "/api/v1/domains/%C3%A9%00",
        "/api/v1/agents/%20",
        "/api/v1/tenants/theirs",
        "/api/v1/tenants/%27%20or%201=1",
        "/api/v1/keys/key_%",
        "/api/v1/webhooks/wh_",
        "/api/v1/emails?limit=1e3",
        "/api/v1/emails?after=%00",
        "/api/v1/events?type=%00",
        "/api/v1/events?since=9999999-01-01T00:00:00Z",
        "/api/v1/events?after=evt_%27",
        "/api/v1/statistics?from=2026-02-30",
        "/api/v1/statistics?from=-9999-01-01&to=9999-12-31",
        "/api/v1/suppressions?reason=%27",
        "/api/v1/suppressions?kind=both",
        "/api/v1/suppressions?limit=0",
        "/api/v1/suppressions?mailAgent=%00",
    ] {
        refused(&house.mailtura("GET", path, "").await, path);
    }
    for fine in [
        "/api/v1/suppressions?search=%25%27%5C_",
        "/api/v1/suppressions?after=%7C%7C%7C",
        "/api/v1/templates?after=%00%FF",
        "/api/v1/tenants?after=%F0%9F%92%A9",
    ] {
        assert_eq!(house.mailtura("GET", fine, "").await.status, 200, "{fine}");
    }
    let many = format!("/api/v1/emails?{}", "a=b&".repeat(2_000));
    assert_eq!(house.mailtura("GET", &many, "").await.status, 200);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_things_stay_theirs() {
    let house = House::new().await;
    let theirs = format!("Bearer {OTHER_KEY}");
    let theirs = [("Authorization", theirs.as_str())];
    for (path, body) in [
        ("/api/v1/templates", json!({ "name": "secret", "subject": "s", "text": "t" })),
        ("/api/v1/suppressions", json!({ "value": "x@example.com" })),
        ("/api/v1/agents", json!({ "name": "hidden" })),
        ("/api/v1/domains", json!({ "name": "own.example" })),
    ] {
        let made = house.ask("POST", path, &theirs, body.to_string().as_bytes()).await;
        assert_eq!(made.status, 201, "{path}: {}", made.text());
        let place = made.field("location").to_owned();
        for (method, body) in [("GET", ""), ("DELETE", ""), ("PATCH", r#"{"subject":"x","settings":{}}"#)] {
            let reply = house.mailtura(method, &place, body).await;
            assert!(matches!(reply.status, 404 | 405), "{method} {place}: {}", reply.status);
        }
        assert_eq!(house.ask("GET", &place, &theirs, b"").await.status, 200, "{place}");
    }
    let mail = r#"{"from":"a@ours.example","to":"b@example.com","template":"secret"}"#;
    assert_eq!(house.mailtura("POST", "/api/v1/emails", mail).await.status, 404);
    assert_eq!(house.mailtura("POST", "/api/v1/templates/secret/preview", "{}").await.status, 404);
    house.shut().await;
}
