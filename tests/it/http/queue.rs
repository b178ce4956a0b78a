//! The queue over Mailtura's surface: looked at, held, released, retried, cancelled, purged, paused; each by its owner.

use serde_json::Value;

use super::{House, Reply};

impl House {
    async fn queue(&self, verb: &str, choice: &str) -> Reply {
        self.mailtura("POST", &format!("/api/v1/queue/{verb}"), choice).await
    }

    async fn waits(&self, to: &str) -> String {
        let mail = format!(r#"{{"from":"a@ours.example","to":"{to}","subject":"s","html":"<p>Hi</p>"}}"#);
        let sent = self.mailtura("POST", "/api/v1/emails", &mail).await.json();
        sent["id"].as_str().unwrap().to_owned()
    }
}

fn count(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["count"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_steered_by_its_owner() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for to in ["ann@one.example", "bob@one.example", "cy@two.example"] {
        ids.push(house.waits(to).await);
    }
    let domains = house.mailtura("GET", "/api/v1/queue", "").await.json();
    let shown: Vec<_> = domains.as_array().unwrap().iter().map(|one| (&one["domain"], &one["waiting"])).collect();
    let one = (&Value::from("one.example"), &Value::from(2));
    assert_eq!((shown[0], shown.len()), (one, 2));
    let page = house.mailtura("GET", "/api/v1/queue/deliveries?limit=1&domain=ONE.example", "").await;
    assert!(page.field("link").contains("&after=dlv%5F"), "{}", page.field("link"));
    let view = &page.json()[0];
    assert!(ids[..2].iter().any(|id| view["emailId"] == id.as_str()), "{view}");
    assert_eq!((&view["attempts"], &view["heldAt"]), (&0.into(), &Value::Null));
    let strangers = house.operator("theirs", "GET", "/api/v1/queue", "").await.json();
    assert_eq!(strangers.as_array().unwrap().len(), 0, "others have a queue of their own");

    assert_eq!(count(&house.queue("hold", r#"{"domain":"one.example"}"#).await), 2);
    let held = house.mailtura("GET", "/api/v1/queue/deliveries?held=true", "").await.json();
    assert_eq!(held.as_array().unwrap().len(), 2);
    assert!(held[0]["nextAttemptAt"].is_null() && held[0]["heldAt"].is_string());
    assert_eq!(count(&house.queue("release", r#"{"to":"Ann@one.example"}"#).await), 1);
    assert_eq!(count(&house.queue("retry", r#"{"mailAgent":"default"}"#).await), 2, "what is held stays held");
    assert_eq!(count(&house.queue("retry", r#"{"reason":"mailbox_full"}"#).await), 0);
    assert_eq!(count(&house.queue("cancel", &format!(r#"{{"emailId":"{}"}}"#, ids[0])).await), 1);
    let cancelled = house.mailtura("GET", &format!("/api/v1/emails/{}", ids[0]), "").await.json();
    assert_eq!(cancelled["recipients"][0]["reason"], "Message was cancelled");
    for refused in ["{}", r#"{"all":false}"#, r#"{"emailId":"x"}"#, r#"{"reason":"x"}"#, r#"{"olderThanMinutes":0}"#] {
        assert_eq!(house.queue("cancel", refused).await.status, 422, "{refused}");
    }
    assert_eq!(house.queue("hold", r#"{"mailAgent":"nobody"}"#).await.status, 404);
    assert_eq!(count(&house.queue("purge", r#"{"olderThanMinutes":1}"#).await), 0, "nothing is as old");
    assert_eq!(count(&house.queue("purge", r#"{"all":true}"#).await), 2);
    assert_eq!(house.mailtura("GET", "/api/v1/queue", "").await.json().as_array().unwrap().len(), 0);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_is_paused_and_goes_on() {
    const PAUSES: &str = "/api/v1/queue/pauses";
    let house = House::new().await;
    let new = r#"{"mailAgent":"default","domain":"one.example","note":"moving"}"#;
    let made = house.mailtura("POST", PAUSES, new).await;
    assert_eq!((made.status, &made.json()["mailAgent"]), (201, &Value::from("default")));
    assert_eq!(house.mailtura("POST", PAUSES, new).await.status, 409);
    assert_eq!(house.mailtura("POST", PAUSES, "{}").await.status, 201);
    let listed = house.mailtura("GET", PAUSES, "").await.json();
    let notes: Vec<_> = listed.as_array().unwrap().iter().map(|pause| pause["note"].as_str().unwrap()).collect();
    assert_eq!((notes.len(), notes.contains(&"moving")), (2, true));
    assert_eq!(house.operator("theirs", "GET", PAUSES, "").await.json().as_array().unwrap().len(), 0);
    let of_agent = format!("{PAUSES}?mailAgent=default&domain=one.example");
    for (path, status) in [(of_agent.as_str(), 204), (&of_agent, 404), (PAUSES, 204), (PAUSES, 404)] {
        assert_eq!(house.mailtura("DELETE", path, "").await.status, status, "{path}");
    }
    assert_eq!(house.mailtura("DELETE", &format!("{PAUSES}?domain=x"), "").await.status, 422);
    house.shut().await;
}
