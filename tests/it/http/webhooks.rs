//! Webhooks under `/api/v1`: the seed's calls, our fields, and tests that go the whole way.

use postback::model::event::EventKind;
use postback::model::preview::GOOD_FOR;
use postback::model::webhook::{DispatchNext, DispatchState};
use postback::model::webhook_attempt::Trace;
use postback::model::webhook_key::WebhookKey;
use postback::store::dispatches::{DispatchSettlement, Lane, LeasedDispatch};
use postback::webhooks::formats::{self, Attempt};
use serde_json::{Value, json};

use super::{House, NOW, OTHER_KEY, Reply};
use crate::support::engines::on_both_engines;

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
            r#""state":"ok","#,
            secret,
            r#""format":"mailtura","description":"","mailAgent":null,"hits":"first","tags":[],"formField":"event","headers":{},"#,
            r#""keepsTimestamp":false,"atOnce":null,"perSecond":null,"timeoutSeconds":15,"inOrder":false,"#,
            r#""batch":false,"notify":[],"verifyTls":true,"ca":"","#,
            r#""clientCertificate":"","#,
            r#""createdAt":"2026-03-02T08:15:00.000Z","createdBy":"key_*","updatedAt":"2026-03-02T08:15:00.000Z","updatedBy":null}"#,
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

on_both_engines! {
    async fn a_change_does_not_undo_a_rotation(engine: &Engine) {
        let house = House::beside(engine).await;
        let path = format!("/api/v1/webhooks/{}", house.added(SEED).await);
        let rotation = format!("{path}/secret/rotate");
        for round in 0..10 {
            let tag = format!(r#"{{"tags":["{round}"]}}"#);
            let all = SEED.replace("}", r#","description":"replaced"}"#);
            let (rotated, changed, replaced) = tokio::join!(
                house.mailtura("POST", &rotation, ""),
                house.mailtura("PATCH", &path, &tag),
                house.mailtura("PUT", &path, &all),
            );
            assert_eq!((rotated.status, changed.status, replaced.status), (200, 200, 200));
            let kept = house.store.webhooks(house.ours.0.id, None, 10).await.unwrap().remove(0);
            assert_eq!(kept.secret.reveal(), rotated.json()["secret"].as_str().unwrap());
            assert_eq!(kept.description, "replaced");
        }
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_ours() {
    let house = House::new().await;
    let body = r#"{
        "url": "https://example.com/hook", "events": ["hardbounce", "email_open"], "format": "transmail",
        "secret": "my key", "description": "Test", "mailAgent": "default", "hits": "persons", "formField": "payload",
        "headers": {"Authorization": "Basic eDp5"}, "keepsTimestamp": true, "tags": ["a", "b"], "atOnce": 2,
        "perSecond": 50, "timeoutSeconds": 30, "inOrder": true, "batch": true, "notify": ["ops@example.com"]
    }"#;
    let added = house.mailtura("POST", "/api/v1/webhooks", body).await.json();
    let expected = json!({
        "events": ["opened", "hard_bounced"], "format": "transmail", "secret": "my key", "description": "Test",
        "mailAgent": "default", "hits": "persons", "formField": "payload",
        "headers": { "Authorization": "***" }, "keepsTimestamp": true, "tags": ["a", "b"], "atOnce": 2,
        "perSecond": 50, "timeoutSeconds": 30, "inOrder": true, "batch": true, "notify": ["ops@example.com"],
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&added[name], value, "{name}");
    }
    let path = format!("/api/v1/webhooks/{}", added["id"].as_str().unwrap());
    let kept = r#"{"headers":{"authorization":"***","X-New":"1"},"atOnce":null}"#;
    let changed = house.mailtura("PATCH", &path, kept).await.json();
    assert_eq!((&changed["atOnce"], &changed["perSecond"]), (&Value::Null, &json!(50)));
    let stored = house.store.webhooks(house.ours.0.id, None, 10).await.unwrap().remove(0);
    let named = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(stored.headers, [named("authorization", "Basic eDp5"), named("X-New", "1")]);
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
    check(r#"{"atOnce":65}"#, 422, "body/atOnce: must be from 1 to 64").await;
    check(r#"{"timeoutSeconds":31}"#, 422, "body/timeoutSeconds: must be from 1 to 30").await;
    check(r#"{"perSecond":0}"#, 422, "body/perSecond: must be from 1 to").await;
    check(r#"{"notify":["nobody"]}"#, 422, "body/notify: \"nobody\" is not a mail address").await;
    check(r#"{"tags":[""]}"#, 422, "body/tags/0 must NOT have fewer").await;
    check(r#"{"ca":"-"}"#, 422, "body/ca: the CA is not PEM").await;
    check(r#"{"clientCertificate":"x"}"#, 422, "body/clientCertificate: a client certificate and its key go").await;
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
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_enabled_is_told_at_once_what_waits() {
    let house = House::new().await;
    let path = format!("/api/v1/webhooks/{}", house.added(r#"{"url":"https://example.com/","events":["sent"]}"#).await);
    let mail = r#"{"from":"a@ours.example","to":"kim@there.example","subject":"Hello","text":"Hi"}"#;
    assert_eq!(house.mailtura("POST", "/api/v1/emails", mail).await.status, 201);
    let later = NOW + std::time::Duration::from_secs(12 * 3600);
    let due = async || house.store.next_dispatch_due(Lane::Retry).await.unwrap();
    for (lane, method, body) in [
        (Lane::Fresh, "PATCH", r#"{"enabled":true}"#),
        (Lane::Retry, "PUT", r#"{"url":"https://example.com/","events":["sent"]}"#),
    ] {
        let dispatch = house.store.lease_dispatches(lane, 1, vec![]).await.unwrap().remove(0);
        settled(&house, dispatch, DispatchNext::Waits(later), Some(500), Some("http_status")).await;
        for other in [r#"{"description":"x"}"#, r#"{"enabled":false}"#] {
            assert_eq!(house.mailtura("PATCH", &path, other).await.status, 200);
        }
        assert_eq!(house.mailtura(method, &path, body).await.status, 200);
        assert_eq!(due().await, Some(NOW), "{method}");
    }
    let dispatch = house.store.lease_dispatches(Lane::Retry, 1, vec![]).await.unwrap().remove(0);
    settled(&house, dispatch, DispatchNext::Waits(later), Some(500), Some("http_status")).await;
    assert_eq!(house.mailtura("PATCH", &path, r#"{"description":"x"}"#).await.status, 200);
    assert_eq!(due().await, Some(later), "a change of something else hurries nothing");
    house.shut().await;
}

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
        given_up_beside: 0,
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
        let told = reply.json();
        assert_eq!((&told["delivered"], &told["statusCode"], told.get("error")), (&json!(true), &json!(200), None));
        assert_eq!(told["id"], dispatch.event.id.to_string());
        let posted: Value = serde_json::from_str(told["request"]["body"].as_str().unwrap()).unwrap();
        assert_eq!((&posted["id"], &posted["data"]["test"]), (&told["id"], &json!(true)));
        assert_eq!((&told["attempt"]["number"], &told["attempt"]["delivered"]), (&json!(1), &json!(true)));
        assert_eq!((dispatch.event.kind.as_str(), dispatch.event.is_test), (kind, true));
        assert_eq!(
            (dispatch.event.recipient.as_str(), dispatch.webhook.id.to_string()),
            ("test@example.com", id.clone())
        );
    }
    let ends = DispatchNext::Ends(DispatchState::Exhausted);
    for (status, error) in [(Some(500), "http_status"), (None, "connect_refused")] {
        let (reply, _) = tested(&house, &id, "", ends, status, Some(error)).await;
        let told = reply.json();
        assert_eq!((reply.status, &told["delivered"]), (200, &json!(false)));
        assert_eq!((&told["statusCode"], &told["error"]), (&json!(status), &json!(error)));
    }
    // Tests go out whatever the switch says, and to what is not there yet.
    house.mailtura("PATCH", &format!("/api/v1/webhooks/{id}"), r#"{"enabled":false}"#).await;
    let (reply, _) = tested(&house, &id, "", arrived, Some(200), None).await;
    assert_eq!(reply.json()["delivered"], true);
    let draft = r#"{"url":"https://draft.example.com/","format":"transmail-json","eventType":"clicked","headers":{"X-Key":"hush"}}"#;
    let deliver = async {
        let dispatch = leased(&house).await;
        settled(&house, dispatch.clone(), arrived, Some(204), None).await;
        dispatch
    };
    let (reply, dispatch) = tokio::join!(house.mailtura("POST", "/api/v1/webhooks/test", draft), deliver);
    assert_eq!(
        (&reply.json()["statusCode"], dispatch.webhook.url.as_str()),
        (&json!(204), "https://draft.example.com/")
    );
    assert_eq!(reply.json()["request"]["headers"]["X-Key"], "***");
    assert_eq!(house.mailtura("GET", "/api/v1/webhooks", "").await.json().as_array().unwrap().len(), 1);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_nothing_to_sign_with_is_given_a_secret() {
    let house = House::new().await;
    // The grant of this caller is remembered from now on; what counts is the agent as it is.
    house.mailtura("POST", "/api/v1/agents", r#"{"name":"two"}"#).await;
    let key = r#"{"settings":{"authenticationKey":"open sesame"}}"#;
    assert_eq!(house.mailtura("PATCH", "/api/v1/agents/default", key).await.status, 200);
    let hook = |format: &str, agent: &str| {
        format!(r#"{{"url":"https://a.example.com/","events":["delivered"],"format":"{format}"{agent}}}"#)
    };
    let (of_default, of_two) = (r#","mailAgent":"default""#, r#","mailAgent":"two""#);
    let check = async |format, agent, has_own: bool| {
        let added = house.mailtura("POST", "/api/v1/webhooks", &hook(format, agent)).await.json();
        let secret = added["secret"].as_str().unwrap();
        assert!(if has_own { secret.starts_with("whsec_") } else { secret.is_empty() }, "{format} {agent} {secret}");
        let preview = house.mailtura("POST", "/api/v1/webhooks/preview", &hook(format, agent)).await.text();
        assert!(preview.contains("X-Mailtura-Signature") || preview.contains("producer-signature"), "{preview}");
        format!("/api/v1/webhooks/{}", added["id"].as_str().unwrap())
    };
    check("mailtura", of_default, true).await;
    check("transmail", of_two, true).await;
    check("transmail-json", "", true).await;
    let path = check("transmail-json", of_default, false).await;
    let body = house.mailtura("POST", &format!("{path}/preview"), "").await.json();
    assert!(body["headers"].get("producer-signature").is_some(), "{body}");
    // A change that takes away what signed tells the secret that it made, once.
    let described = house.mailtura("PATCH", &path, r#"{"description":"x"}"#).await.json();
    assert_eq!(described.get("secret"), None);
    let changed = house.mailtura("PATCH", &path, r#"{"mailAgent":"two"}"#).await.json();
    assert!(changed["secret"].as_str().unwrap().starts_with("whsec_"), "{changed}");
    assert_eq!(house.mailtura("PATCH", &path, r#"{"format":"mailtura"}"#).await.json().get("secret"), None);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_is_kept_as_it_is_read() {
    let house = House::new().await;
    for (written, read) in [
        ("https://\u{24d4}\u{24e7}\u{24d0}\u{24dc}\u{24df}\u{24db}\u{24d4}.com./a#frag", "https://example.com/a"),
        ("https://\u{df}.example.com/", "https://xn--zca.example.com/"),
        ("HTTPS://Example.COM:443", "https://example.com/"),
        ("https://example.com/a?b=c&d", "https://example.com/a?b=c&d"),
    ] {
        let hook = json!({ "url": written, "events": ["sent"] }).to_string();
        let added = house.mailtura("POST", "/api/v1/webhooks", &hook).await.json();
        assert_eq!(added["url"], read);
        let path = format!("/api/v1/webhooks/{}", added["id"].as_str().unwrap());
        house.mailtura("PATCH", &path, r#"{"url":"https://other.example/"}"#).await;
        for method in ["PATCH", "PUT"] {
            assert_eq!(house.mailtura(method, &path, &hook).await.json()["url"], read, "{method}");
        }
        assert_eq!(house.mailtura("GET", &path, "").await.json()["url"], read);
        let preview = house.mailtura("POST", "/api/v1/webhooks/preview", &hook).await.json();
        assert_eq!(preview["url"], read);
    }
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
    for body in
        [r#"{"events":["sent"]}"#, r#"{"url":"https://169.254.169.254/"}"#, r#"{"url":"https://a.com/","hits":"x"}"#]
    {
        assert_eq!(house.mailtura("POST", "/api/v1/webhooks/test", body).await.status, 422, "{body}");
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_is_what_would_be_posted() {
    let house = House::new().await;
    let secret = "whsec_1Yw0u3mDq5uTpGk8vJb2o+Z/4cQX7hRzNfLsEa9iMtU=";
    let hook = json!({ "url": "https://a.example.com/x?y", "events": ["sent"], "secret": secret }).to_string();
    let id = house.added(&hook).await;
    let path = format!("/api/v1/webhooks/{id}/preview");
    let preview = house.mailtura("POST", &path, r#"{"eventType":"opened"}"#).await.json();
    assert_eq!((&preview["method"], &preview["url"]), (&json!("POST"), &json!("https://a.example.com/x?y")));
    let body = preview["body"].as_str().unwrap();
    let signature = postback::webhooks::signature::mailtura(secret, body.as_bytes());
    assert_eq!(preview["headers"]["X-Mailtura-Signature"], signature);
    assert!(body.contains(r#""type":"email.opened""#) && preview.get("exact").is_none());
    let draft = r#"{"url":"https://b.example.com/","format":"transmail","secret":"key","eventType":"bounced"}"#;
    let preview = house.mailtura("POST", "/api/v1/webhooks/preview", draft).await.json();
    assert!(preview["body"].as_str().unwrap().starts_with("event=%7B%22event_name%22"), "{preview}");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_previewed_is_sent_byte_for_byte() {
    let house = House::new().await;
    for format in ["mailtura", "transmail", "transmail-json"] {
        let hook = json!({ "url": "https://a.example.com/", "events": ["sent"], "format": format, "secret": "key" });
        let id = house.added(&hook.to_string()).await;
        let saved = format!("/api/v1/webhooks/{id}");
        for (path, hook) in [(saved.as_str(), json!({})), ("/api/v1/webhooks", hook)] {
            for kind in [EventKind::Sent, EventKind::Clicked, EventKind::HardBounced, EventKind::WebhookDisabled] {
                exactly(&house, path, &hook, kind).await;
            }
        }
    }
    house.shut().await;
}

/// Previews a test, has it sent a while later, and sees that it is what was shown; and that nothing else is.
async fn exactly(house: &House, path: &str, hook: &Value, kind: EventKind) {
    let asked = |more: &[(&str, &Value)]| {
        let mut body = hook.clone();
        more.iter().for_each(|(name, value)| body[*name] = (*value).clone());
        body.to_string()
    };
    let (preview, test) = (format!("{path}/preview"), format!("{path}/test"));
    let shown = house.mailtura("POST", &preview, &asked(&[("eventType", &kind.as_str().into())])).await.json();
    house.clock.advance(GOOD_FOR / 2);
    let send = async |body: String| {
        let deliver = async {
            let dispatch = leased(house).await;
            settled(house, dispatch.clone(), DispatchNext::Ends(DispatchState::Arrived), Some(200), None).await;
            dispatch
        };
        tokio::join!(house.mailtura("POST", &test, &body), deliver)
    };
    let (reply, LeasedDispatch { event, message, webhook, lease, .. }) =
        send(asked(&[("preview", &shown["preview"])])).await;
    let attempt = Attempt { at: house.clock.now(), number: lease.attempt };
    let posted = formats::build(&webhook, &event, &message, attempt);
    assert_eq!(String::from_utf8_lossy(&posted.body), shown["body"].as_str().unwrap(), "{kind:?}");
    assert_eq!((event.kind, &reply.json()["request"]["body"]), (kind, &shown["body"]));
    // Once, soon, of that kind, and of the webhook as it was.
    let stale = async |body: String, why: &str| {
        let told = house.mailtura("POST", &test, &body).await;
        assert!(told.status == 409 && told.text().contains(why), "{}", told.text());
    };
    stale(asked(&[("preview", &shown["preview"])]), "sent already").await;
    let other = if kind == EventKind::Sent { "opened" } else { "sent" };
    let shown = house.mailtura("POST", &preview, &asked(&[("eventType", &kind.as_str().into())])).await.json();
    stale(asked(&[("preview", &shown["preview"]), ("eventType", &other.into())]), "would not be what").await;
    if hook.get("url").is_some() {
        let elsewhere = "https://b.example.com/".into();
        stale(asked(&[("preview", &shown["preview"]), ("url", &elsewhere)]), "would not be what").await;
    }
    house.clock.advance(GOOD_FOR + std::time::Duration::from_millis(1));
    stale(asked(&[("preview", &shown["preview"])]), "older than four minutes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_replaced_with_time_to_learn_it() {
    let house = House::new().await;
    let added = house.mailtura("POST", "/api/v1/webhooks", SEED).await.json();
    let path = format!("/api/v1/webhooks/{}", added["id"].as_str().unwrap());
    let rotated = house.mailtura("POST", &format!("{path}/secret/rotate"), "").await.json();
    assert_eq!(rotated["oldSecretExpiresAt"], "2026-03-03T08:15:00.000Z");
    assert!(rotated["secret"].as_str().unwrap().starts_with("whsec_") && rotated["secret"] != added["secret"]);
    let shown = house.mailtura("GET", &path, "").await.json();
    assert_eq!(shown["oldSecret"], json!({ "expiresAt": "2026-03-03T08:15:00.000Z", "signsAlone": true }));
    let activated = house.mailtura("POST", &format!("{path}/secret/activate"), "").await.json();
    assert_eq!((&activated["oldSecret"]["signsAlone"], activated.get("secret")), (&json!(false), None));
    let revoked = house.mailtura("POST", &format!("{path}/secret/revoke"), "").await.json();
    assert_eq!(revoked.get("oldSecret"), None);
    let own = r#"{"secret":"mine","overlapHours":0}"#;
    assert_eq!(house.mailtura("POST", &format!("{path}/secret/rotate"), own).await.json()["secret"], "mine");
    assert_eq!(house.mailtura("GET", &path, "").await.json().get("oldSecret"), None);
    for bad in [r#"{"overlapHours":169}"#, r#"{"secret":""}"#] {
        assert_eq!(house.mailtura("POST", &format!("{path}/secret/rotate"), bad).await.status, 422, "{bad}");
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_alone_believes_whoever_answers() {
    let house = House::new().await;
    let id = house.added(r#"{"url":"https://example.com/","events":["sent"]}"#).await;
    let path = format!("/api/v1/webhooks/{id}");
    let refused = house.mailtura("PATCH", &path, r#"{"verifyTls":false}"#).await;
    assert!(
        refused.status == 422 && refused.text().contains("body/verifyTls: only who looks after"),
        "{}",
        refused.text()
    );
    let verifies = async |method: &str, by_operator: bool, body: &str| {
        let changed = match by_operator {
            true => house.operator("ours", method, &path, body).await,
            false => house.mailtura(method, &path, body).await,
        };
        changed.json()["verifyTls"].as_bool().unwrap()
    };
    assert!(!verifies("PATCH", true, r#"{"verifyTls":false}"#).await);
    assert!(!verifies("PATCH", false, r#"{"url":"https://example.com/","description":"x"}"#).await);
    assert!(!verifies("PATCH", true, r#"{"url":"https://example.net/"}"#).await);
    // It was said of one place.
    assert!(verifies("PATCH", false, r#"{"url":"https://example.org/"}"#).await);
    assert!(!verifies("PATCH", true, r#"{"verifyTls":false}"#).await);
    assert!(verifies("PATCH", false, r#"{"verifyTls":true}"#).await);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_may_hold_a_public_key_alone() {
    let house = House::new().await;
    let hook = |format: &str, secret: &str| {
        json!({ "url": "https://example.com/", "events": ["sent"], "format": format, "secret": secret }).to_string()
    };
    let added = house.mailtura("POST", "/api/v1/webhooks", &hook("mailtura", "whsk_")).await.json();
    let [secret, public] = ["secret", "publicKey"].map(|name| added[name].as_str().unwrap().to_owned());
    assert_eq!(WebhookKey::of(&secret).unwrap().public(), public);
    let path = format!("/api/v1/webhooks/{}", added["id"].as_str().unwrap());
    let shown = house.mailtura("GET", &path, "").await.json();
    assert_eq!((shown["publicKey"].as_str(), shown.get("secret")), (Some(public.as_str()), None));
    let look = house.mailtura("POST", &format!("{path}/preview"), r#"{"eventType":"sent"}"#).await.json();
    let names: Vec<&String> = look["headers"].as_object().unwrap().keys().collect();
    assert!(look["headers"]["webhook-signature"].as_str().unwrap().starts_with("v1a,"), "{look}");
    assert!(!names.iter().any(|name| name.eq_ignore_ascii_case("x-mailtura-signature")), "{look}");
    // A fresh one is of the same kind, and both are listed while the old one counts.
    let rotated = house.mailtura("POST", &format!("{path}/secret/rotate"), "").await.json();
    assert!(rotated["publicKey"].as_str().is_some_and(|fresh| fresh.starts_with("whpk_") && fresh != public));
    let look = house.mailtura("POST", &format!("{path}/preview"), r#"{"eventType":"sent"}"#).await.json();
    assert_eq!(look["headers"]["webhook-signature"].as_str().unwrap().matches("v1a,").count(), 2);
    // A form has no header for such a signature, and what is no key is refused.
    let refused = house.mailtura("PATCH", &path, r#"{"format":"transmail"}"#).await;
    assert!(refused.status == 422 && refused.text().contains("signs JSON bodies"), "{}", refused.text());
    for (format, secret) in [("transmail", "whsk_"), ("mailtura", "whsk_AAAA")] {
        let refused = house.mailtura("POST", "/api/v1/webhooks", &hook(format, secret)).await;
        assert!(refused.status == 422 && !refused.text().contains("AAAA"), "{}", refused.text());
    }
    let rotate = house.mailtura("POST", &format!("{path}/secret/rotate"), r#"{"secret":"whsk_AAAA"}"#).await;
    assert_eq!(rotate.status, 422);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_posted_can_be_looked_at_and_told_again() {
    let house = House::new().await;
    let id = house.added(r#"{"url":"https://example.com/","events":["sent"]}"#).await;
    let path = format!("/api/v1/webhooks/{id}");
    let ends = DispatchNext::Ends(DispatchState::Exhausted);
    let mut events = Vec::new();
    for status in [200, 500, 200] {
        let error = (status == 500).then_some("http_status");
        let (reply, _) = tested(&house, &id, "", ends, Some(status), error).await;
        events.push(reply.json()["id"].as_str().unwrap().to_owned());
    }
    let ids = |page: &Value| -> Vec<String> {
        page.as_array().unwrap().iter().map(|each| each["eventId"].as_str().unwrap().to_owned()).collect()
    };
    for (query, count) in [
        ("attempts", 3),
        ("attempts?status=failed", 1),
        ("attempts?limit=2", 2),
        ("dispatches", 3),
        ("dispatches?state=exhausted", 3),
        ("dispatches?state=arrived", 0),
    ] {
        let page = house.mailtura("GET", &format!("{path}/{query}"), "").await;
        assert_eq!(ids(&page.json()).len(), count, "{query}: {}", page.text());
        if query == "attempts?limit=2" {
            let link = page.field("link");
            let next = link.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned();
            assert_eq!(ids(&house.mailtura("GET", &next, "").await.json()).len(), 1);
        }
    }
    let one = house.mailtura("GET", &format!("{path}/dispatches/{}", events[1]), "").await.json();
    assert_eq!((&one["dispatch"]["state"], &one["test"]), (&json!("exhausted"), &json!(true)));
    assert_eq!((&one["log"][0]["statusCode"], &one["log"][0]["request"]["exact"]), (&json!(500), &json!(false)));
    let again = house.mailtura("POST", &format!("{path}/dispatches/{}/replay", events[1]), "").await;
    again.is(202, r#"{"eventId":"evt_*","state":"queued"}"#);
    assert_eq!(again.json()["eventId"], events[1]);

    let wanted =
        r#"{"from":"2026-03-01T00:00:00Z","to":"2026-03-02T00:00:00Z","fates":["missed"],"perSecond":5,"tag":"a"}"#;
    let begun = house.mailtura("POST", &format!("{path}/replays"), wanted).await;
    let replay = begun.json();
    assert_eq!((begun.status, &replay["status"], &replay["events"]), (201, &json!("running"), &json!(["sent"])));
    let place = begun.field("location").to_owned();
    assert_eq!(house.mailtura("GET", &place, "").await.json(), replay);
    house.mailtura("DELETE", &place, "").await.is(204, "");
    let all = house.mailtura("GET", &format!("{path}/replays"), "").await.json();
    assert_eq!((&all[0]["id"], &all[0]["status"]), (&replay["id"], &json!("cancelled")));
    for _ in 0..5 {
        assert_eq!(house.mailtura("POST", &format!("{path}/replays"), wanted).await.status, 201);
    }
    let full = house.mailtura("POST", &format!("{path}/replays"), wanted).await;
    full.is(409, r#"{"message":"A webhook can have at most 5 replays running"}"#);
    for bad in [
        "{}",
        r#"{"from":"x"}"#,
        r#"{"from":"2026-03-01T00:00:00Z","to":"2026-02-01T00:00:00Z"}"#,
        r#"{"from":"2026-03-01T00:00:00Z","fates":["lost"]}"#,
        r#"{"from":"2026-03-01T00:00:00Z","perSecond":1001}"#,
    ] {
        assert_eq!(house.mailtura("POST", &format!("{path}/replays"), bad).await.status, 422, "{bad}");
    }
    let theirs = format!("Bearer {OTHER_KEY}");
    for (method, what) in [
        ("GET", "attempts"),
        ("GET", "dispatches"),
        ("GET", "replays"),
        ("POST", "secret/rotate"),
        ("POST", "preview"),
        ("POST", "replays"),
    ] {
        let reply = house.ask(method, &format!("{path}/{what}"), &[("Authorization", &theirs)], b"{}").await;
        assert_eq!(reply.status, 404, "{what}");
    }
    house.shut().await;
}
