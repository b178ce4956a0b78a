//! ZeptoMail's further ways to send: batches, templates, cached files, mails that are one already, mails for later.

use postback::model::delivery::State;
use postback::model::message::Message;
use postback::model::template::{Template, Texts};
use serde_json::{Value, json};

use super::{House, KEY, NOW, OTHER_KEY, Reply};

impl House {
    /// A request to ZeptoMail's surface with this key.
    async fn zepto(&self, key: &str, method: &str, path: &str, body: &Value) -> Reply {
        let token = format!("Zoho-enczapikey {key}");
        self.ask(method, path, &[("Authorization", &token)], body.to_string().as_bytes()).await
    }

    /// All messages of `ours`, newest first, each with its bytes as text.
    async fn mails(&self) -> Vec<(Message, String)> {
        let mut mails = Vec::new();
        for message in self.store.messages(self.ours.0.id, None, 1_000).await.unwrap() {
            let content = self.store.content(message.id).await.unwrap().unwrap();
            mails.push((message, String::from_utf8(content.to_vec()).unwrap()));
        }
        mails
    }

    async fn keep_template(&self, name: &str, texts: Texts) -> Template {
        let template = Template {
            id: postback::model::id::TemplateId::from_uuid(uuid::Uuid::from_u128(7)),
            tenant: self.ours.0.id,
            agent: self.ours.1.id,
            name: name.into(),
            title: name.into(),
            version: 1,
            texts,
            created_at: NOW,
            updated_at: NOW,
            authors: Default::default(),
        };
        assert!(self.store.add_template(template.clone()).await.unwrap());
        template
    }
}

fn batch() -> Value {
    json!({
        "from": { "address": "billing@ours.example", "name": "Ours" },
        "to": [
            { "email_address": { "address": "a@example.com", "name": "A" }, "merge_info": { "name": "<Ann>", "company": "A Inc" } },
            { "email_address": { "address": "b@example.com", "name": "B" } },
            { "email_address": { "address": "c@example.com" }, "merge_info": "{\"name\":\"Cid\"}" },
        ],
        "subject": "Hi {{name}}",
        "htmlbody": "<p>{{name}} of {{company}}</p>",
        "textbody": "{{name}} of {{company}}",
        "merge_info": { "name": "there", "company": "your firm" },
        "client_reference": "ref-{{name}}",
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_recipient_of_a_batch_has_a_mail_of_its_own() {
    let house = House::new().await;
    let sent = house.zepto(KEY, "POST", "/v1.1/email/batch", &batch()).await;
    assert_eq!(sent.status, 201, "{}", sent.text());
    let mut mails = house.mails().await;
    mails.sort_by_key(|(message, _)| message.facts.to[0].address.clone());
    let told: Vec<_> = mails
        .iter()
        .map(|(message, _)| {
            let facts = &message.facts;
            (facts.to.len(), facts.to[0].address.as_str(), facts.subject.as_str(), facts.client_reference.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, "a@example.com", "Hi <Ann>", "ref-<Ann>"),
            (1, "b@example.com", "Hi there", "ref-there"),
            (1, "c@example.com", "Hi Cid", "ref-Cid"),
        ]
    );
    for (message, _) in &mails {
        assert_eq!(sent.json()["request_id"], json!(message.facts.request_id));
    }
    for (place, expected) in
        [(0, "<p>&lt;Ann&gt; of A Inc</p>"), (1, "<p>there of your firm</p>"), (2, "<p>Cid of </p>")]
    {
        assert!(mails[place].1.contains(expected), "{}", mails[place].1);
    }
    assert!(mails[0].1.contains("\r\n<Ann> of A Inc\r\n"), "plain text is not escaped: {}", mails[0].1);
    let references: std::collections::HashSet<_> =
        mails.iter().map(|(message, _)| &message.facts.email_reference).collect();
    assert_eq!(references.len(), 3);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_are_accepted_and_one_more_is_not() {
    let house = House::new().await;
    let to = |count: usize| {
        let person = |n: usize| json!({ "email_address": { "address": format!("r{n}@example.com") }, "merge_info": { "name": n } });
        (0..count).map(person).collect::<Vec<_>>()
    };
    let mut all = batch();
    all["to"] = to(500).into();
    assert_eq!(house.zepto(KEY, "POST", "/v1.1/email/batch", &all).await.status, 201);
    assert_eq!(house.messages().await, 500);
    all["to"] = to(501).into();
    let refused = house.zepto(KEY, "POST", "/v1.1/email/batch", &all).await;
    assert_eq!((refused.status, &refused.json()["error"]["details"][0]["code"]), (422, &json!("SM_127")));
    // One bad one is enough: nothing is half-queued.
    all["to"] = to(400).into();
    all["to"][399]["email_address"]["address"] = "nobody@".into();
    assert_eq!(house.zepto(KEY, "POST", "/v1.1/email/batch", &all).await.status, 400);
    all["to"][399] =
        json!({ "email_address": { "address": "x@example.com" }, "merge_info": { "name": "a\r\nBcc: v@e.example" } });
    assert_eq!(house.zepto(KEY, "POST", "/v1.1/email/batch", &all).await.status, 400);
    assert_eq!(house.messages().await, 500);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_by_key_alias_and_old_name() {
    let house = House::new().await;
    let texts = Texts {
        subject: "Welcome {{user.name}}".into(),
        html: Some("<h1>{{user.name}}</h1>{{#each items}}<i>{{this}}</i>{{else}}none{{/each}}".into()),
        text: None,
    };
    let template = house.keep_template("welcome", texts).await;
    let key = format!("2d6f.0.k1.{}.0", template.id.uuid());
    for (field, name, path) in [
        ("template_key", key.as_str(), "/v1.1/email/template"),
        ("mail_template_key", key.as_str(), "/v1.1/email/template"),
        ("template_alias", "welcome", "/v1.1/email/template/batch"),
        ("template_key", "welcome", "/v1.1/email/template"),
    ] {
        let mut request = batch();
        for gone in ["subject", "htmlbody", "textbody"] {
            request.as_object_mut().unwrap().remove(gone);
        }
        request[field] = name.into();
        request["merge_info"] = json!({ "user": { "name": "Ann & Bob" }, "items": ["x", 7] });
        request["to"] = json!([{ "email_address": { "address": "a@example.com" } }]);
        let sent = house.zepto(KEY, "POST", path, &request).await;
        assert_eq!(sent.status, 201, "{path} {field}: {}", sent.text());
        let (message, mail) = house.mails().await.remove(0);
        assert_eq!(message.facts.subject, "Welcome Ann & Bob");
        assert!(mail.contains("<h1>Ann &amp; Bob</h1><i>x</i><i>7</i>"), "{mail}");
        assert!(mail.contains("\r\nAnn & Bob\r\n\r\nx7"), "a text is made of it: {mail}");
    }
    let sent = house.messages().await;
    let check = async |key: &str, request: Value, status, code: &str| {
        let refused = house.zepto(key, "POST", "/v1.1/email/template", &request).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["details"][0]["code"]),
            (status, &json!(code)),
            "{request}"
        );
    };
    let with = |name: &str, value: &str| {
        let mut request = batch();
        request[name] = value.into();
        request
    };
    check(KEY, with("template_key", "nothing"), 422, "MTR_107").await;
    check(KEY, with("template_alias", "2d6f.0.k1.00000000-0000-0000-0000-000000000009.0"), 422, "MTR_107").await;
    check(KEY, with("template_alias", ""), 400, "GE_102").await;
    let mut theirs = with("template_key", &key);
    theirs["from"]["address"] = "a@theirs.example".into();
    check(OTHER_KEY, theirs, 422, "MTR_107").await;
    let mut flawed = with("template_key", &key);
    flawed["merge_info"] = json!([1]);
    check(KEY, flawed, 400, "SM_113").await;
    assert_eq!(house.messages().await, sent);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_cannot_be_filled_in_is_refused() {
    let house = House::new().await;
    for (field, text) in
        [("htmlbody", "{{#a}}"), ("subject", "{{"), ("textbody", "{{> x}}"), ("client_reference", "{{/x}}")]
    {
        let mut request = batch();
        request[field] = text.into();
        let refused = house.zepto(KEY, "POST", "/v1.1/email/batch", &request).await;
        let detail = refused.json()["error"]["details"][0].clone();
        assert_eq!((refused.status, &detail["code"], &detail["target"]), (422, &json!("MTR_101"), &json!(field)));
    }
    let mut request = batch();
    request["htmlbody"] = "{{#a}}{{#a}}{{#a}}{{/a}}{{/a}}{{/a}}".into();
    request["merge_info"] = json!({ "a": vec![0; 500] });
    request["to"] = json!(["a@example.com"]);
    let refused = house.zepto(KEY, "POST", "/v1.1/email/batch", &request).await;
    assert_eq!((refused.status, &refused.json()["error"]["details"][0]["code"]), (422, &json!("MTR_101")));
    assert_eq!(house.messages().await, 0);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_kept_and_attached_by_key() {
    let house = House::new().await;
    let token = format!("Zoho-enczapikey {KEY}");
    let upload = async |token: &str, path: &str, kind: &str, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {token}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        Reply::read(&house.raw(&[head.as_bytes(), body].concat()).await)
    };
    let kept = upload(&token, "/v1.1/files?name=l%C3%B6go.png", "image/png", b"\x89PNG").await;
    assert_eq!(kept.status, 201, "{}", kept.text());
    let told = kept.json();
    assert_eq!(
        (&told["object"], &told["data"][0]["code"], told.get("request_id")),
        (&json!("file"), &json!("fm_101"), None)
    );
    let key = told["file_cache_key"].as_str().unwrap().to_owned();
    let mail = json!({
        "from": { "address": "billing@ours.example" }, "to": ["a@example.com"], "subject": "s",
        "htmlbody": "<img src='cid:logo1'>",
        "attachments": [{ "file_cache_key": key }, { "file_cache_key": key, "name": "other.png" }],
        "inline_images": [{ "cid": "logo1", "file_cache_key": key }],
    });
    assert_eq!(house.zepto(KEY, "POST", "/v1.1/email", &mail).await.status, 201);
    let (_, text) = house.mails().await.remove(0);
    assert_eq!(text.matches("iVBORw==").count(), 3, "{text}");
    assert!(text.contains("other.png") && text.contains("l%C3%B6go.png"), "{text}");
    let mut theirs = mail.clone();
    theirs["from"]["address"] = "a@theirs.example".into();
    let refused = house.zepto(OTHER_KEY, "POST", "/v1.1/email", &theirs).await;
    assert_eq!((refused.status, &refused.json()["error"]["details"][0]["code"]), (422, &json!("UE_106")));
    for (path, kind, body, status, code) in [
        ("/v1.1/files?name=a.png", "image/png", &b""[..], 400, "SM_120"),
        ("/v1.1/files", "image/png", b"x", 400, "GE_102"),
        ("/v1.1/files?name=..%2Fa", "image/png", b"x", 400, "SM_113"),
        ("/v1.1/files?name=a%0D%0Ab", "image/png", b"x", 400, "SM_113"),
        ("/v1.1/files?name=a", "image", b"x", 400, "SM_120"),
    ] {
        let refused = upload(&token, path, kind, body).await;
        assert_eq!((refused.status, &refused.json()["error"]["details"][0]["code"]), (status, &json!(code)), "{path}");
    }
    let listed = house.zepto(KEY, "GET", "/v1.1/files", &json!({})).await.json();
    assert_eq!((&listed["data"][0]["file_cache_key"], &listed["data"][0]["size"]), (&json!(key), &json!(4)));
    assert_eq!(house.zepto(OTHER_KEY, "DELETE", &format!("/v1.1/files/{key}"), &json!({})).await.status, 404);
    assert_eq!(house.zepto(KEY, "DELETE", &format!("/v1.1/files/{key}"), &json!({})).await.status, 204);
    assert_eq!(house.zepto(KEY, "DELETE", &format!("/v1.1/files/{key}"), &json!({})).await.status, 404);
    assert_eq!(house.zepto(KEY, "POST", "/v1.1/email", &mail).await.status, 422);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_is_one_already_goes_to_whom_it_names() {
    let house = House::new().await;
    let send = async |mail: &str| {
        let head = format!(
            "POST /v1.1/email HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {KEY}\r\n\
             Content-Type: message/rfc822\r\nContent-Length: {}\r\n\r\n{mail}",
            mail.len()
        );
        Reply::read(&house.raw(head.as_bytes()).await)
    };
    let mail = "From: Ours <billing@ours.example>\nSender: root\nTo: a@example.com, B <b@example.com>\nCc: a@example.com\n\
                Bcc: hidden@example.com\nSubject: raw\nX-Postback-Tag: x\n\nhello\n";
    let sent = send(mail).await;
    assert_eq!(sent.status, 201, "{}", sent.text());
    let (message, text) = house.mails().await.remove(0);
    assert!(text.contains("Subject: raw\r\n\r\nhello\r\n") && !text.contains("hidden@"), "{text}");
    assert_eq!(message.facts.tags, ["x"]);
    let to: Vec<_> = house
        .store
        .deliveries(message.id)
        .await
        .unwrap()
        .iter()
        .map(|view| view.delivery.address.to_string())
        .collect();
    assert_eq!(to, ["a@example.com", "b@example.com", "hidden@example.com"]);
    for (mail, code) in [
        ("From: a@ours.example\n\nnobody\n", "GE_102"),
        ("From: a@theirs.example\nTo: a@example.com\n\nx\n", "SM_111"),
        ("From: a@ours.example, \"CEO\" <ceo@theirs.example>\nTo: a@example.com\n\nx\n", "SM_111"),
        ("From: a@ours.example\nSender: CEO <ceo@theirs.example>\nTo: a@example.com\n\nx\n", "SM_111"),
        ("From: a@ours.example\nTo: nobody@localhost\n\nx\n", "SM_113"),
        ("no header", "SM_113"),
        ("From: a@ours.example\nTo: a@example.com\n\n\0\n", "SM_113"),
        ("", "SM_113"),
    ] {
        let refused = send(mail).await;
        assert_eq!((refused.status, &refused.json()["error"]["details"][0]["code"]), (400, &json!(code)), "{mail:?}");
    }
    assert_eq!(house.messages().await, 1);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_for_later_waits_and_can_be_taken_back() {
    let house = House::new().await;
    let mut later = batch();
    later["scheduled_at"] = "2026-03-02T09:15:00Z".into();
    later["time_to_live"] = 600.into();
    later["tags"] = json!(["a", "b"]);
    later["metadata"] = json!({ "z": 1, "a": { "b": [] } });
    let sent = house.zepto(KEY, "POST", "/v1.1/email/batch", &later).await;
    assert_eq!(sent.status, 201, "{}", sent.text());
    let request_id = sent.json()["request_id"].as_str().unwrap().to_owned();
    let (message, _) = house.mails().await.remove(0);
    assert_eq!((message.facts.tags.len(), message.facts.metadata["z"].clone()), (2, json!(1)));
    let view = house.store.deliveries(message.id).await.unwrap().remove(0);
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(
        (view.due_at, view.delivery.expires_at),
        (Some(NOW + hour), NOW + hour + std::time::Duration::from_secs(600))
    );
    let path = format!("/v1.1/email/{request_id}");
    assert_eq!(house.zepto(OTHER_KEY, "DELETE", &path, &json!({})).await.status, 404);
    assert_eq!(house.zepto(KEY, "DELETE", "/v1.1/email/nothing", &json!({})).await.status, 404);
    let cancelled = house.zepto(KEY, "DELETE", &path, &json!({})).await;
    assert_eq!((cancelled.status, &cancelled.json()["request_id"]), (200, &json!(request_id)));
    assert_eq!(house.zepto(KEY, "DELETE", &path, &json!({})).await.status, 409);
    for (message, _) in house.mails().await {
        let states: Vec<_> =
            house.store.deliveries(message.id).await.unwrap().iter().map(|view| view.delivery.state).collect();
        assert_eq!(states, [State::Cancelled]);
    }
    for (field, value) in [
        ("scheduled_at", json!("tomorrow")),
        ("scheduled_at", json!("2027-03-02T09:15:00Z")),
        ("time_to_live", json!(0)),
        ("time_to_live", json!("1h")),
    ] {
        let mut flawed = batch();
        flawed[field] = value;
        let refused = house.zepto(KEY, "POST", "/v1.1/email/batch", &flawed).await;
        assert_eq!((refused.status, &refused.json()["error"]["details"][0]["target"]), (400, &json!(field)));
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_address_is_ones_own() {
    let house = House::new().await;
    for (address, status) in [
        ("bounce@ours.example", 201),
        ("bounce@deep.bounce.ours.example", 201),
        ("x@theirs.example", 400),
        ("x@yours.example", 400),
        ("x@example", 400),
    ] {
        let mut request = batch();
        request["bounce_address"] = address.into();
        let answered = house.zepto(KEY, "POST", "/v1.1/email/batch", &request).await;
        assert_eq!(answered.status, status, "{address}: {}", answered.text());
    }
    house.shut().await;
}
