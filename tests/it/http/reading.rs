//! What is read: mails in pages, events since a cursor, counts by day.

use std::time::Duration;

use serde_json::{Value, json};

use super::House;

fn mail(subject: &str) -> String {
    json!({ "from": "a@ours.example", "to": ["a@example.com", "b@example.com"], "subject": subject, "html": "<a href=\"https://example.com/\">x</a>" }).to_string()
}

fn column(reply: &Value, field: &str) -> Vec<String> {
    reply.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_page_newest_first() {
    let house = House::new().await;
    for subject in ["one", "two", "three"] {
        assert_eq!(house.mailtura("POST", "/api/v1/emails", &mail(subject)).await.status, 201);
        house.clock.advance(Duration::from_secs(1));
    }
    let first = house.mailtura("GET", "/api/v1/emails?limit=2", "").await;
    assert_eq!(column(&first.json(), "subject"), ["three", "two"]);
    assert_eq!(column(&first.json(), "status"), ["queued", "queued"]);
    assert!(first.json()[0].get("recipients").is_none());
    let next = first.field("link").strip_prefix('<').unwrap().split('>').next().unwrap().to_owned();
    let second = house.mailtura("GET", &next, "").await;
    assert_eq!((column(&second.json(), "subject"), second.field("link")), (vec!["one".to_owned()], ""));
    for (query, expected) in [
        ("limit=0", "querystring/limit: must be from 1 to 100"),
        ("limit=x", "querystring/limit must be integer"),
        ("after=evt_1", r#"querystring/after must match format \"email id\""#),
    ] {
        let refused = house.mailtura("GET", &format!("/api/v1/emails?{query}"), "").await;
        assert!(refused.status == 422 && refused.text().contains(expected), "{}", refused.text());
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_fetched_from_where_one_stopped() {
    let house = House::new().await;
    let sent = house.mailtura("POST", "/api/v1/emails", &mail("one")).await.json();
    // What might still be being written is not listed yet; about one mail everything is told at once.
    assert_eq!(house.mailtura("GET", "/api/v1/events", "").await.json(), json!([]));
    let of_mail = format!("/api/v1/emails/{}/events", sent["id"].as_str().unwrap());
    assert_eq!(column(&house.mailtura("GET", &of_mail, "").await.json(), "type"), ["email.sent", "email.sent"]);
    house.clock.advance(Duration::from_secs(6));
    house.mailtura("POST", "/api/v1/emails", &mail("two")).await;
    house.clock.advance(Duration::from_secs(6));

    let first = house.mailtura("GET", "/api/v1/events?limit=3", "").await;
    assert_eq!(first.json()[0]["data"]["subject"], "one");
    assert_eq!(first.json()[0]["timestamp"], first.json()[0]["data"]["sentAt"]);
    assert_eq!(first.json().as_array().unwrap().len(), 3);
    let after = column(&first.json(), "id").pop().unwrap();
    let second = house.mailtura("GET", &format!("/api/v1/events?after={after}"), "").await;
    assert_eq!((second.json().as_array().unwrap().len(), second.field("link")), (1, ""));
    for (query, count) in [
        ("type=sent", 4),
        ("type=delivered,email.opened", 0),
        (&*format!("emailId={}", sent["id"].as_str().unwrap()), 2),
        ("since=2026-03-02T08:15:06Z", 2),
        ("since=2026-03-02T09:15:06%2B01:00", 2),
        (&*format!("since=2026-03-02T08:15:00Z&after={after}"), 1),
    ] {
        let listed = house.mailtura("GET", &format!("/api/v1/events?{query}"), "").await;
        assert_eq!(listed.json().as_array().unwrap().len(), count, "{query}");
    }
    for query in ["type=nothing", "since=yesterday", "emailId=1", "after=1"] {
        assert_eq!(house.mailtura("GET", &format!("/api/v1/events?{query}"), "").await.status, 422, "{query}");
    }
    let theirs = format!("Bearer {}", super::OTHER_KEY);
    let theirs = [("Authorization", theirs.as_str())];
    assert_eq!(house.ask("GET", "/api/v1/events", &theirs, b"").await.json(), json!([]));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_are_counted() {
    let house = House::new().await;
    house.mailtura("POST", "/api/v1/emails", &mail("one")).await;
    let day = |date: &str, sent: u64, opened: u64| {
        let seen = |total: u64| json!({ "total": total, "unique": total.min(1), "persons": { "total": total, "unique": total.min(1) }, "machines": 0 });
        json!({
            "date": date, "sent": sent, "delivered": 0, "deferred": 0, "bounced": { "total": 0, "hard": 0, "soft": 0 },
            "failed": 0, "complained": 0, "opened": seen(opened), "clicked": seen(0),
        })
    };
    house.clock.advance(Duration::from_secs(86_400));
    house.mailtura("POST", "/api/v1/emails", &mail("two")).await;
    let counted = house.mailtura("GET", "/api/v1/statistics?from=2026-03-01&to=2026-03-03", "").await;
    let expected = [day("2026-03-01", 0, 0), day("2026-03-02", 2, 0), day("2026-03-03", 2, 0)];
    assert_eq!(counted.json(), json!(expected));
    assert_eq!(
        house.mailtura("GET", "/api/v1/statistics?mailAgent=default", "").await.json()[29],
        day("2026-03-03", 2, 0)
    );
    assert_eq!(house.mailtura("GET", "/api/v1/statistics?mailAgent=other", "").await.status, 404);
    assert_eq!(house.mailtura("GET", "/api/v1/statistics?from=2024-01-01", "").await.status, 422);
    house.shut().await;
}
