//! Webhooks under `/api/v1`: the seed's calls, our fields, and tests that go the whole way.

use postback::model::webhook::{DispatchNext, DispatchState};
use postback::model::webhook_attempt::Trace;
use postback::store::dispatches::{DispatchSettlement, Lane, LeasedDispatch};
use serde_json::{Value, json};

use super::{House, NOW, OTHER_KEY, Reply};

const SEED: &str = r#"{"url":"https://your-app.com/webhooks/mailtura","events":["delivered","opened","clicked","bounced"],"enabled":true}"#;

impl House {
    async fn added(&self, body: &str) -> String {
        let added = self.mailtura("POST", "/api/v1/webhooks", body).await;
        assert_eq!(added.status, 201, "{}", added.text());
        added.json()["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_life_of_a_webhook() {
    let house = House::new().await;
    let added = house.mailtura("POST", "/api/v1/webhooks", SEED).await;
    let rest = |secret: &str| {
        [
            r#"{"id":"wh_*","url":"https://your-app.com/webhooks/mailtura","events":["delivered","opened","clicked","bounced"],"enabled":true,"#,
            secret,
            r#""format":"mailtura","description":"","mailAgent":null,"hits":"first","formField":"event","headers":{},"keepsTimestamp":false,"#,
            r#""createdAt":"2026-03-02T08:15:00.000Z","updatedAt":"2026-03-02T08:15:00.000Z"}"#,
        ]
        .concat()
    };
    added.is(201, &rest(r#""secret":"whsec_*","#));
    let id = added.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/webhooks/{id}");
    assert_eq!(added.field("location"), path);
    house.mailtura("GET", &path, "").await.is(200, &rest(""));
    house.mailtura("GET", "/api/v1/webhooks/", "").await.is(200, &format!("[{}]", rest("")));
    let changed = house.mailtura("PATCH", &path, r#"{"events":["email.delivered","bounced"]}"#).await;
    assert_eq!((changed.status, &changed.json()["events"]), (200, &json!(["delivered", "bounced"])));
    let off = house.mailtura("PATCH", &path, r#"{"enabled":false}"#).await.json();
    assert_eq!((&off["enabled"], &off["disabledBy"]), (&json!(false), &json!("owner")));
    let replaced = house.mailtura("PUT", &path, r#"{"url":"https://new.example/","events":["failed"]}"#).await;
    let body = replaced.json();
    assert_eq!(
        (&body["url"], &body["events"], &body["enabled"]),
        (&json!("https://new.example/"), &json!(["failed"]), &json!(true))
    );
    let kept = house.store.webhooks(house.ours.0.id, None, 10).await.unwrap().remove(0);
    assert_eq!(kept.secret.reveal(), added.json()["secret"].as_str().unwrap());
    house.mailtura("DELETE", &path, "").await.is(204, "");
    house.mailtura("DELETE", &path, "").await.is(404, r#"{"message":"Webhook not found"}"#);
    house.mailtura("GET", "/api/v1/webhooks", "").await.is(200, "[]");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_ours() {
    let house = House::new().await;
    let body = r#"{
        "url": "https://example.com/hook", "events": ["hardbounce", "email_open"], "format": "transmail",
        "secret": "my key", "description": "Test", "mailAgent": "default", "hits": "persons", "formField": "payload",
        "headers": {"Authorization": "Basic eDp5"}, "keepsTimestamp": true
    }"#;
    let added = house.mailtura("POST", "/api/v1/webhooks", body).await.json();
    let expected = json!({
        "events": ["opened", "hard_bounced"], "format": "transmail", "secret": "my key", "description": "Test",
        "mailAgent": "default", "hits": "persons", "formField": "payload",
        "headers": { "Authorization": "Basic eDp5" }, "keepsTimestamp": true,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&added[name], value, "{name}");
    }
    let path = format!("/api/v1/webhooks/{}", added["id"].as_str().unwrap());
    let changed = house.mailtura("PATCH", &path, r#"{"mailAgent":null,"headers":null}"#).await.json();
    assert_eq!((&changed["mailAgent"], &changed["headers"]), (&Value::Null, &json!({})));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_webhooks() {
    let house = House::new().await;
    let id = house.added(SEED).await;
    let path = format!("/api/v1/webhooks/{id}");
    let check = async |body: &str, status, expected: &str| {
        let reply = house.mailtura("PATCH", &path, body).await;
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(reply.status == status && message.contains(expected), "{} {message}, from {body}", reply.status);
    };
    check("{}", 400, "Nothing to change").await;
    check("", 400, "Invalid JSON").await;
    check(r#"{"url":"x"}"#, 422, "body/url must match format \"uri\"").await;
    check(r#"{"url":"http://example.com/"}"#, 422, "body/url: the URL must begin with https://").await;
    let own = format!(r#"{{"url":"http://{}/"}}"#, house.address);
    check(&own, 422, "body/url: the URL leads to a door of Postback itself").await;
    check(r#"{"url":"https://169.254.169.254/"}"#, 422, "body/url: the URL leads to the metadata service of a cloud")
        .await;
    check(r#"{"url":7}"#, 422, "body/url must be string").await;
    check(r#"{"events":[]}"#, 422, "body/events must NOT have fewer than 1 items").await;
    check(r#"{"events":["delivered","exploded"]}"#, 422, "body/events/1 must be equal to one of").await;
    check(r#"{"events":"delivered"}"#, 422, "body/events must be array").await;
    check(r#"{"enabled":"yes"}"#, 422, "body/enabled must be boolean").await;
    check(r#"{"format":"xml"}"#, 422, "body/format must be equal").await;
    check(r#"{"hits":"none"}"#, 422, "body/hits must be equal").await;
    check(r#"{"secret":""}"#, 422, "body/secret must NOT have fewer").await;
    check(r#"{"secret":"a\nb"}"#, 422, "body/secret: control").await;
    check(r#"{"formField":"1 x"}"#, 422, "body/formField").await;
    check(r#"{"mailAgent":"other"}"#, 404, "Mail agent not found").await;
    check(r#"{"headers":{"Host":"x"}}"#, 422, "body/headers: the header \"Host\" cannot be set").await;
    check(r#"{"headers":{"X A":"x"}}"#, 422, "is not a header name").await;
    check(r#"{"headers":{"X-A":"x\r\nHost: y"}}"#, 422, "has a control character").await;
    check(r#"{"headers":{"Webhook-Id":"x"}}"#, 422, "cannot be set").await;
    let create = async |body: &str, expected: &str| {
        let reply = house.mailtura("POST", "/api/v1/webhooks", body).await;
        assert!(reply.status == 422 && reply.text().contains(expected), "{} {}", reply.status, reply.text());
    };
    create(r#"{"events":["sent"]}"#, "must have required property 'url'").await;
    create(r#"{"url":"https://example.com/"}"#, "must have required property 'events'").await;
    create(r#"{"url":"nonsense","events":["sent"]}"#, concat!(
        r#"{"message":"body/url must match format \"uri\"","validation":[{"instancePath":"/url","keyword":"format","#,
        r#""message":"must match format \"uri\"","params":{"format":"uri"}}]}"#,
    )).await;
    let theirs = format!("Bearer {OTHER_KEY}");
    for method in ["GET", "PATCH", "PUT", "DELETE"] {
        let reply = house.ask(method, &path, &[("Authorization", &theirs)], b"{\"enabled\":false}").await;
        reply.is(404, r#"{"message":"Webhook not found"}"#);
    }
    let test = format!("{path}/test");
    house.ask("POST", &test, &[("Authorization", &theirs)], b"").await.is(404, r#"{"message":"Webhook not found"}"#);
    assert_eq!(house.mailtura("GET", &path, "").await.json()["enabled"], true);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_page_by_key() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(house.added(SEED).await);
    }
    ids.sort();
    let mut path = "/api/v1/webhooks?limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = house.mailtura("GET", &path, "").await;
        let body = page.json();
        seen.extend(body.as_array().unwrap().iter().map(|webhook| webhook["id"].as_str().unwrap().to_owned()));
        let Some(next) = page.field("link").strip_prefix('<') else { break };
        path = next.split_once(">; rel=\"next\"").unwrap().0.to_owned();
    }
    assert_eq!(seen, ids);
    for query in ["limit=0", "limit=101", "limit=x", "after=wh_7"] {
        assert_eq!(house.mailtura("GET", &format!("/api/v1/webhooks?{query}"), "").await.status, 422, "{query}");
    }
    house.shut().await;
}

/// Plays the part that delivers: the next dispatch, once it is there.
async fn leased(house: &House) -> LeasedDispatch {
    loop {
        if let Some(dispatch) = house.store.lease_dispatches(Lane::Trial, 1, Vec::new()).await.unwrap().pop() {
            return dispatch;
        }
        house.store.wakes().trials.heard().await;
    }
}

async fn settled(
    house: &House,
    dispatch: LeasedDispatch,
    next: DispatchNext,
    status: Option<u16>,
    error: Option<&str>,
) {
    let LeasedDispatch { id, lease, .. } = dispatch;
    let error = error.map(str::to_owned);
    let trace = Trace::default();
    let settlement = DispatchSettlement {
        id,
        lease,
        next,
        started_at: NOW,
        at: NOW,
        status,
        error,
        wish: None,
        trace,
        bears: false,
    };
    house.store.settle_dispatch(settlement).await.unwrap();
}

async fn tested(
    house: &House,
    id: &str,
    body: &str,
    next: DispatchNext,
    status: Option<u16>,
    error: Option<&str>,
) -> (Reply, LeasedDispatch) {
    let path = format!("/api/v1/webhooks/{id}/test");
    let deliver = async {
        let dispatch = leased(house).await;
        settled(house, dispatch.clone(), next, status, error).await;
        dispatch
    };
    tokio::join!(house.mailtura("POST", &path, body), deliver)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_goes_the_whole_way() {
    let house = House::new().await;
    let id = house.added(r#"{"url":"https://example.com/","events":["failed"]}"#).await;
    let arrived = DispatchNext::Ends(DispatchState::Arrived);
    for (body, kind) in [
        ("", "delivered"),
        ("{}", "delivered"),
        (r#"{"eventType":"email.delivered"}"#, "delivered"),
        (r#"{"eventType":"email.sent"}"#, "sent"),
        (r#"{"eventType":"opened"}"#, "opened"),
        (r#"{"eventType":"email.clicked"}"#, "clicked"),
        (r#"{"eventType":"email.bounced"}"#, "hard_bounced"),
        (r#"{"eventType":"softbounce"}"#, "soft_bounced"),
        (r#"{"eventType":"email.complained"}"#, "complained"),
        (r#"{"eventType":"failed"}"#, "failed"),
    ] {
        let (reply, dispatch) = tested(&house, &id, body, arrived, Some(200), None).await;
        reply.is(200, r#"{"id":"evt_*","delivered":true,"statusCode":200}"#);
        assert_eq!(reply.json()["id"], dispatch.event.id.to_string());
        assert_eq!((dispatch.event.kind.as_str(), dispatch.event.is_test), (kind, true));
        assert_eq!(
            (dispatch.event.recipient.as_str(), dispatch.webhook.id.to_string()),
            ("test@example.com", id.clone())
        );
    }
    let ends = DispatchNext::Ends(DispatchState::Exhausted);
    let (reply, _) = tested(&house, &id, "", ends, Some(500), Some("status 500")).await;
    reply.is(200, r#"{"id":"evt_*","delivered":false,"statusCode":500,"error":"status 500"}"#);
    let (reply, _) = tested(&house, &id, "", ends, None, Some("connection refused")).await;
    reply.is(200, r#"{"id":"evt_*","delivered":false,"statusCode":null,"error":"connection refused"}"#);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tests_that_cannot_be() {
    let house = House::new().await;
    let id = house.added(SEED).await;
    let path = format!("/api/v1/webhooks/{id}/test");
    let unknown = house.mailtura("POST", &path, r#"{"eventType":"email.exploded"}"#).await;
    assert!(unknown.status == 422 && unknown.text().contains("body/eventType must be equal to one of"));
    assert_eq!(house.mailtura("POST", &path, "nonsense").await.status, 400);
    house.mailtura("PATCH", &format!("/api/v1/webhooks/{id}"), r#"{"enabled":false}"#).await;
    house.mailtura("POST", &path, "").await.is(409, r#"{"message":"The webhook is disabled; enable it to test it"}"#);
    house.shut().await;
}
