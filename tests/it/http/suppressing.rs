//! Suppressions over Mailtura's surface: added, found in pages, removed, remembered.

use serde_json::{Value, json};

use super::{House, OTHER_KEY};
use crate::support::engines::on_both_engines;

const PATH: &str = "/api/v1/suppressions";

fn rows(reply: &Value) -> Vec<String> {
    let row = |one: &Value| format!("{} {}", one["value"].as_str().unwrap(), one["mailAgent"].as_str().unwrap_or("-"));
    reply.as_array().unwrap().iter().map(row).collect()
}

on_both_engines! {
    async fn whom_mail_does_not_go_to(engine: &Engine) {
        let house = House::beside(engine).await;
        let add = async |body: Value| house.mailtura("POST", PATH, &body.to_string()).await;
        let made = add(json!({ "value": "Stop@Example.com", "note": "asked us" })).await;
        made.is(
            201,
            r#"{"value":"stop@example.com","kind":"address","action":"suppress","reason":"manual","note":"asked us","mailAgent":null,"createdAt":"2026-03-02T08:15:00.000Z","createdBy":"key_*","expiresAt":null}"#,
        );
        let place = made.field("location").to_owned();
        assert_eq!(place, "/api/v1/suppressions/stop%40example%2Ecom");
        assert_eq!(house.mailtura("GET", &place, "").await.json(), made.json());
        let of_agent = json!({ "value": "stop@example.com", "mailAgent": "default", "action": "reject", "expiresAt": "2026-03-04T00:00:00Z" });
        assert_eq!(add(of_agent).await.status, 201);
        assert_eq!(add(json!({ "value": "spam.example" })).await.json()["kind"], json!("domain"));
        assert_eq!(house.mailtura("GET", &place, "").await.json()["action"], json!("reject"), "the hardest counts");

        // Pages never lose one of two that have the same value.
        let mut listed = Vec::new();
        let mut next = format!("{PATH}?limit=1");
        for _ in 0..3 {
            let page = house.mailtura("GET", &next, "").await;
            listed.extend(rows(&page.json()));
            let link = page.field("link").to_owned();
            next = link.strip_prefix('<').and_then(|link| link.split('>').next()).unwrap_or("").to_owned();
        }
        listed.sort();
        assert_eq!(listed, ["spam.example -", "stop@example.com -", "stop@example.com default"]);
        assert_eq!(next, "");
        for (query, expected) in [
            ("mailAgent=default", vec!["stop@example.com default"]),
            ("kind=domain", vec!["spam.example -"]),
            ("search=SPAM", vec!["spam.example -"]),
            ("reason=complaint", vec![]),
            ("since=2026-03-02T08:16:00Z", vec![]),
        ] {
            assert_eq!(rows(&house.mailtura("GET", &format!("{PATH}?{query}"), "").await.json()), expected, "{query}");
        }

        let mail = r#"{"from":"a@ours.example","to":["stop@example.com","fine@example.com"],"subject":"s","text":"t"}"#;
        let sent = house.mailtura("POST", "/api/v1/emails", mail).await.json();
        let sent = house.mailtura("GET", &format!("/api/v1/emails/{}", sent["id"].as_str().unwrap()), "").await.json();
        assert_eq!(sent["status"], json!("suppressed"), "reject bars all");

        let theirs = format!("Bearer {OTHER_KEY}");
        let theirs = [("Authorization", theirs.as_str())];
        assert_eq!(house.ask("GET", PATH, &theirs, b"").await.json(), json!([]));
        assert_eq!(house.ask("DELETE", &place, &theirs, b"").await.status, 404);
        assert_eq!(house.mailtura("DELETE", &format!("{place}?mailAgent=default"), "").await.status, 204);
        assert_eq!(house.mailtura("GET", &place, "").await.json()["action"], json!("suppress"));
        house.clock.advance(std::time::Duration::from_millis(1));
        assert_eq!(house.mailtura("DELETE", &place, "").await.status, 204);
        assert_eq!(house.mailtura("DELETE", &place, "").await.status, 404);
        let history = house.mailtura("GET", &format!("{place}/history"), "").await.json();
        let told: Vec<_> = history.as_array().unwrap().iter().map(|one| (one["change"].as_str().unwrap(), one["actor"].as_str().unwrap())).collect();
        assert_eq!((told.len(), told[0]), (4, ("removed", "api")));
        assert_eq!(house.ask("GET", &format!("{place}/history"), &theirs, b"").await.json(), json!([]));
        for (body, expected) in [
            (json!({}), "must have required property 'value'"),
            (json!({ "value": "x" }), "body/value: must be an address or a domain"),
            (json!({ "value": "a@example.com", "action": "delete" }), "body/action must be equal to one of"),
            (json!({ "value": "spam.example", "action": "suppress_tracking" }), "body/action: suppress_tracking is for"),
            (json!({ "value": "a@example.com", "expiresAt": "2026-03-01T00:00:00Z" }), "body/expiresAt: must be in the future"),
            (json!({ "value": "a@example.com", "note": "a\nb" }), "body/note: control characters"),
        ] {
            let refused = add(body.clone()).await;
            assert!(refused.status == 422 && refused.text().contains(expected), "{body}: {}", refused.text());
        }
        assert_eq!(add(json!({ "value": "a@example.com", "mailAgent": "nobody" })).await.status, 404);
        assert_eq!(house.mailtura("GET", &format!("{PATH}?kind=mail"), "").await.status, 422);
        assert_eq!(house.mailtura("GET", &format!("{PATH}/x"), "").await.status, 404);
        house.close().await;
    }
}
