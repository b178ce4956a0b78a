//! What is kept of a recipient: given out in pages, erased, and nobody else's.

use std::time::Duration;

use serde_json::json;

use super::{House, OTHER_KEY};
use crate::support::node::deliver_all;

const READER: &str = "/api/v1/recipients/Reader%40Example.com";

fn mail(to: &[&str]) -> String {
    json!({ "from": "a@ours.example", "to": to, "subject": "s", "html": "<p>Hi</p>" }).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_is_given_out_and_erased() {
    let house = House::new().await;
    for to in [&["reader@example.com"][..], &["reader@example.com", "b@example.com"], &["b@example.com"]] {
        assert_eq!(house.mailtura("POST", "/api/v1/emails", &mail(to)).await.status, 201);
    }
    deliver_all(&house.store, house.clock.now()).await;
    // Ids are in the order of time.
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(house.mailtura("POST", "/api/v1/emails", &mail(&["READER@example.com"])).await.status, 201);

    let first = house.mailtura("GET", &format!("{READER}?limit=2"), "").await;
    assert_eq!((first.status, first.json().as_array().unwrap().len()), (200, 2));
    assert_eq!(first.json()[0]["message"]["facts"]["subject"], "s");
    assert_eq!(first.json()[0]["attempts"][0]["outcome"], "delivered");
    let next = first.field("link").strip_prefix('<').unwrap().split('>').next().unwrap().to_owned();
    let second = house.mailtura("GET", &next, "").await;
    assert_eq!((second.json().as_array().unwrap().len(), second.field("link")), (1, ""));
    let other = [("Authorization", &*format!("Bearer {OTHER_KEY}"))];
    let others = house.ask("GET", READER, &other, b"").await;
    assert_eq!((others.status, others.json()), (200, json!([])));
    assert_eq!(house.mailtura("GET", "/api/v1/recipients/reader", "").await.status, 404);

    house.ask("DELETE", READER, &other, b"").await.is(200, r#"{"deliveries":0,"messages":0,"shared":0,"queued":0}"#);
    house.mailtura("DELETE", READER, "").await.is(200, r#"{"deliveries":2,"messages":1,"shared":1,"queued":1}"#);
    assert_eq!(house.mailtura("GET", READER, "").await.json().as_array().unwrap().len(), 1, "what is queued stays");
    let of_b = house.mailtura("GET", "/api/v1/recipients/b%40example.com", "").await;
    assert_eq!(of_b.json().as_array().unwrap().len(), 2);
    house.shut().await;
}
