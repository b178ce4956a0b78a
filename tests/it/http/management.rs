//! Tenants, mail agents, domains and keys over Mailtura's surface: whose they are, and what each answer says.

use postback::intake::caller::AuthFailure;
use postback::model::tenant::CredentialKind;
use serde_json::{Value, json};

use super::{House, KEY, OTHER_KEY, Reply};
use crate::support::engines::on_both_engines;

const TENANTS: &str = "/api/v1/tenants";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_adds_a_tenant_that_can_send_at_once() {
    let house = House::new().await;
    let new = r#"{"name":"acme-corp","domain":"Acme.example","settings":{"fromEmail":"noreply@acme.example","fromName":"Acme"}}"#;
    let made = house.operator("", "POST", TENANTS, new).await;
    made.is(
        201,
        r#"{"id":"acme-corp","name":"acme-corp","domain":"acme.example","settings":{"fromEmail":"noreply@acme.example","fromName":"Acme","dailyLimit":null,"rateLimit":null},"createdAt":"2026-03-02T08:15:00.000Z","createdBy":"key_*","updatedAt":"2026-03-02T08:15:00.000Z","updatedBy":null}"#,
    );
    assert_eq!(made.field("location"), "/api/v1/tenants/acme-corp");
    let mail = r#"{"to":"reader@example.com","subject":"Your receipt","html":"<p>Thanks</p>"}"#;
    assert_eq!(house.operator("acme-corp", "POST", "/api/v1/emails", mail).await.status, 201);
    let listed = house.operator("ACME-corp", "GET", "/api/v1/emails", "").await.json();
    assert_eq!((listed[0]["from"]["name"].as_str(), listed.as_array().unwrap().len()), (Some("Acme"), 1));

    house.operator("", "POST", TENANTS, new).await.is(409, r#"{"message":"it exists already"}"#);
    let named = house.operator("", "POST", TENANTS, r#"{"name":"Blue & Sons, Ltd."}"#).await;
    assert_eq!(named.json()["id"], "blue-sons-ltd");
    for (bad, expected) in [
        ("{}", "must have required property 'name'"),
        (r#"{"name":"!"}"#, "body/name: an id is up to 63"),
        (r#"{"name":"x","id":"-x"}"#, "body/id: an id is up to 63"),
        (r#"{"name":"x","domain":"localhost"}"#, "body/domain must match format"),
        (r#"{"name":"x","settings":{"fromName":"X"}}"#, "must have required property 'fromEmail'"),
        (r#"{"name":"x","settings":{"dailyLimit":-1}}"#, "body/settings/dailyLimit: must be from 0"),
        (r#"{"name":"x","settings":{"dailyLimit":1.5}}"#, "body/settings/dailyLimit must be integer"),
        (r#"{"name":"x","settings":{"rateLimit":0}}"#, "body/settings/rateLimit: must be from 1"),
        (r#"{"name":"a\u0007b"}"#, "body/name: control characters"),
    ] {
        let refused = house.operator("", "POST", TENANTS, bad).await;
        assert!(refused.status == 422 && refused.text().contains(expected), "{bad}: {}", refused.text());
    }
    assert_eq!(house.operator("", "DELETE", "/api/v1/tenants/acme-corp", "").await.status, 204);
    assert_eq!(house.operator("", "DELETE", "/api/v1/tenants/acme-corp", "").await.status, 404);
    assert_eq!(house.operator("", "DELETE", "/api/v1/tenants/ours", "").await.status, 409);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_page_by_key_and_others_see_their_own() {
    let house = House::new().await;
    let ids = |reply: &Value| -> Vec<String> {
        reply.as_array().unwrap().iter().map(|tenant| tenant["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = house.operator("", "GET", "/api/v1/tenants?limit=1", "").await;
    assert_eq!(ids(&first.json()), ["ours"]);
    assert_eq!(first.field("link"), "</api/v1/tenants?limit=1&after=ours>; rel=\"next\"");
    let second = house.operator("", "GET", "/api/v1/tenants?limit=1&after=ours", "").await;
    assert_eq!((ids(&second.json()), second.field("link")), (vec!["theirs".to_owned()], ""));

    assert_eq!(ids(&house.mailtura("GET", TENANTS, "").await.json()), ["ours"]);
    assert_eq!(house.mailtura("GET", "/api/v1/tenants/theirs", "").await.status, 404);
    assert_eq!(house.mailtura("PATCH", "/api/v1/tenants/theirs", r#"{"name":"x"}"#).await.status, 404);
    for (method, path) in [("POST", TENANTS), ("DELETE", "/api/v1/tenants/theirs"), ("DELETE", "/api/v1/tenants/ours")]
    {
        assert_eq!(house.mailtura(method, path, r#"{"name":"x"}"#).await.status, 403, "{method} {path}");
    }
    let limited = house.mailtura("PATCH", "/api/v1/tenants/ours", r#"{"settings":{"dailyLimit":9}}"#).await;
    assert!(limited.status == 403 && limited.text().contains("--operator"));
    let named = house.mailtura(
        "PATCH",
        "/api/v1/tenants/ours",
        r#"{"name":"Ours!","settings":{"fromEmail":"a@ours.example"}}"#,
    );
    assert_eq!(named.await.json()["settings"]["fromEmail"], "a@ours.example");
    let change = r#"{"settings":{"dailyLimit":9,"fromEmail":null}}"#;
    let changed = house.operator("", "PUT", "/api/v1/tenants/ours", change).await.json();
    let settings = json!({ "fromEmail": null, "fromName": null, "dailyLimit": 9, "rateLimit": null });
    assert_eq!((&changed["name"], &changed["settings"]), (&json!("Ours!"), &settings));
    assert_eq!(house.mailtura("PATCH", "/api/v1/tenants/ours", "{}").await.status, 400);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_agents() {
    let house = House::new().await;
    let made =
        house.mailtura("POST", "/api/v1/agents", r#"{"name":"news/letter","settings":{"trackOpens":false}}"#).await;
    assert_eq!((made.status, made.field("location")), (201, "/api/v1/agents/news%2Fletter"));
    let path = made.field("location").to_owned();
    let body = made.json();
    assert_eq!((&body["settings"]["trackOpens"], &body["settings"]["trackClicks"]), (&json!(false), &json!(true)));
    assert_eq!((body["key"].as_str().unwrap().len(), &body["domains"]), (21, &json!([])));
    house
        .mailtura("POST", "/api/v1/agents", r#"{"name":"news/letter"}"#)
        .await
        .is(409, r#"{"message":"it exists already"}"#);
    let tracking = r#"{"settings":{"untrackedHosts":["*.App.Example"],"durableHits":true,"pixelOnTop":true}}"#;
    let settings = house.mailtura("PATCH", &path, tracking).await.json()["settings"].clone();
    assert_eq!((&settings["untrackedHosts"], &settings["durableHits"]), (&json!(["*.app.example"]), &json!(true)));
    assert_eq!((&settings["pixelOnTop"], &settings["hiddenLink"]), (&json!(true), &json!(false)));
    assert!(house.store.has_durable_hits().await.unwrap());
    let change = r#"{"settings":{"privacy":"aggregate_only","dailyLimit":5,"bounceAddress":"b@ours.example"}}"#;
    let changed = house.mailtura("PATCH", &path, change).await.json();
    assert_eq!(
        (&changed["settings"]["privacy"], &changed["settings"]["dailyLimit"]),
        (&json!("aggregate_only"), &json!(5))
    );
    let bad = house.mailtura("PATCH", &path, r#"{"settings":{"privacy":"none"}}"#).await;
    assert_eq!(bad.json()["validation"][0]["keyword"], "enum");
    let names: Vec<Value> = house
        .mailtura("GET", "/api/v1/agents", "")
        .await
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["name"].clone())
        .collect();
    assert_eq!(names, ["default", "news/letter"]);

    let domain = r#"{"name":"News.Example","mailAgent":"news/letter"}"#;
    let added = house.mailtura("POST", "/api/v1/domains", domain).await;
    let body = added.json();
    assert_eq!((added.status, &body["name"], &body["mailAgent"]), (201, &json!("news.example"), &json!("news/letter")));
    assert_eq!(body["status"], json!("verified"), "in capture mode nobody is asked");
    assert_eq!(house.mailtura("POST", "/api/v1/domains", domain).await.status, 409);
    let listed = house.mailtura("GET", "/api/v1/domains?mailAgent=news%2Fletter", "").await;
    assert_eq!((listed.status, &listed.json()[0]["name"]), (200, &json!("news.example")));
    assert!(listed.json()[0].get("records").is_none());
    assert_eq!(house.mailtura("GET", "/api/v1/domains/news.example", "").await.status, 404);
    assert_eq!(house.mailtura("DELETE", "/api/v1/domains/NEWS.example?mailAgent=news%2Fletter", "").await.status, 204);
    assert_eq!(house.mailtura("GET", "/api/v1/domains/not%20one", "").await.status, 404);

    assert_eq!(house.mailtura("DELETE", "/api/v1/agents/default", "").await.status, 409);
    assert_eq!(house.mailtura("DELETE", &path, "").await.status, 204);
    assert_eq!(house.mailtura("GET", &path, "").await.status, 404);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_told_once_and_revoked() {
    let house = House::new().await;
    let made = house.mailtura("POST", "/api/v1/keys", r#"{"name":"the shop"}"#).await.json();
    let (id, secret) = (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned());
    let with = |key: &str| [("Authorization", format!("Bearer {key}"))];
    let ask = async |key: &str, method: &str, path: &str| {
        let fields = with(key);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        house.ask(method, path, &fields, b"").await
    };
    assert_eq!(ask(&secret, "GET", "/api/v1/emails").await.status, 200);
    let path = format!("/api/v1/keys/{id}");
    let seen = house.mailtura("GET", &path, "").await.json();
    assert_eq!((&seen["name"], seen.get("secret"), &seen["kind"]), (&json!("the shop"), None, &json!("api_key")));
    assert_eq!(ask(OTHER_KEY, "GET", &path).await.status, 404);
    assert_eq!(ask(OTHER_KEY, "DELETE", &path).await.status, 404);
    assert_eq!(house.mailtura("POST", "/api/v1/keys", r#"{"kind":"operator_key"}"#).await.status, 403);
    assert_eq!(house.operator("", "POST", "/api/v1/keys", r#"{"kind":"operator_key"}"#).await.status, 201);
    let password = house.mailtura("POST", "/api/v1/keys", r#"{"kind":"smtp_password"}"#).await.json();
    assert_eq!(ask(password["secret"].as_str().unwrap(), "GET", "/api/v1/emails").await.status, 401);

    let page = house.mailtura("GET", "/api/v1/keys?limit=2", "").await;
    assert_eq!(page.json().as_array().unwrap().len(), 2);
    assert!(page.field("link").contains("rel=\"next\"") && !page.text().contains("\"secret\""));
    assert_eq!(ask(&secret, "GET", "/api/v1/emails").await.status, 200);
    assert_eq!(house.mailtura("DELETE", &path, "").await.status, 204);
    assert_eq!(ask(&secret, "GET", "/api/v1/emails").await.status, 401);
    assert_eq!(ask(KEY, "GET", "/api/v1/emails").await.status, 200);
    house.shut().await;
}

on_both_engines! {
    async fn a_key_may_do_what_it_is_for(engine: &Engine) {
        let house = House::beside(engine).await;
        let made = |key: &'static str, body: &'static str| {
            let house = &house;
            async move {
                let token = format!("Bearer {key}");
                house.ask("POST", "/api/v1/keys", &[("Authorization", &token)], body.as_bytes()).await
            }
        };
        let secret = |reply: &Reply| reply.json()["secret"].as_str().unwrap().to_owned();
        let sender = made(KEY, r#"{"permissions":["send_emails"],"rateLimit":60,"expiresAt":"2026-03-02T09:15:00Z"}"#);
        let sender = sender.await;
        let told = &sender.json();
        assert_eq!(
            [&told["permissions"], &told["rateLimit"], &told["expiresAt"]],
            [&json!(["send_emails"]), &json!(60), &json!("2026-03-02T09:15:00.000Z")]
        );
        let keeper = made(KEY, r#"{"permissions":["administer_api","view_analytics_api"]}"#).await;
        let (sender, keeper) = (secret(&sender), secret(&keeper));
        let mail = r#"{"from":"a@ours.example","to":"b@example.com","subject":"s","text":"t"}"#;
        for (key, method, path, expected) in [
            (&sender, "POST", "/api/v1/emails", "ok"),
            (&sender, "GET", "/api/v1/emails", "view_analytics_api"),
            (&sender, "POST", "/api/v1/templates", "manage_templates_api"),
            (&sender, "GET", "/api/v1/suppressions", "manage_suppressions_api"),
            (&sender, "GET", "/api/v1/webhooks", "webhook_access"),
            (&sender, "GET", "/api/v1/domains", "manage_domains_api"),
            (&sender, "GET", "/api/v1/keys", "administer_api"),
            (&sender, "GET", "/api/v1/queue", "administer_api"),
            (&keeper, "POST", "/api/v1/emails", "send_emails"),
            (&keeper, "GET", "/api/v1/emails", "ok"),
            (&keeper, "GET", "/api/v1/statistics", "ok"),
            (&keeper, "GET", "/api/v1/keys", "ok"),
        ] {
            let body = if method == "POST" { mail } else { "" };
            let reply = house.ask(method, path, &[("Authorization", &format!("Bearer {key}"))], body.as_bytes()).await;
            match expected {
                "ok" => assert!(reply.status < 300, "{method} {path}: {}", reply.text()),
                lacking => {
                    let lacks = format!("The API key lacks the permission {lacking:?}");
                    assert_eq!((reply.status, &reply.json()["message"]), (403, &json!(lacks)), "{method} {path}");
                }
            }
        }
        let zepto = house.ask("POST", "/v1.1/files?name=a.txt", &[("Authorization", &keeper)], b"x").await;
        assert_eq!((zepto.status, &zepto.json()["error"]["details"][0]["code"]), (403, &json!("PB_403")));
        assert!(house.intake.authenticate("emailapikey", &sender, house.address.ip()).await.is_ok());
        assert!(house.intake.authenticate("emailapikey", &keeper, house.address.ip()).await.is_err());

        // A key makes keys that may do no more than it may.
        let keepers: &'static str = keeper.clone().leak();
        assert_eq!(made(keepers, r#"{"permissions":["send_emails"]}"#).await.status, 403);
        let child = made(keepers, "{}").await.json();
        assert_eq!(child["permissions"], json!(["administer_api", "view_analytics_api"]));
        // Nor does a slow one make faster ones.
        let slow: &'static str = secret(&made(KEY, r#"{"rateLimit":60}"#).await).leak();
        for (body, expected) in [("{}", 60), (r#"{"rateLimit":600}"#, 60), (r#"{"rateLimit":6}"#, 6)] {
            assert_eq!(made(slow, body).await.json()["rateLimit"], expected, "{body}");
        }
        for bad in [
            r#"{"permissions":[]}"#,
            r#"{"permissions":["all"]}"#,
            r#"{"rateLimit":0}"#,
            r#"{"expiresAt":"x"}"#,
            r#"{"expiresAt":"2026-03-02T08:15:00Z"}"#,
        ] {
            assert_eq!(made(KEY, bad).await.status, 422, "{bad}");
        }

        // Its time ends.
        house.clock.advance(std::time::Duration::from_secs(3600));
        let token = format!("Bearer {sender}");
        let late = house.ask("POST", "/api/v1/emails", &[("Authorization", &token)], mail.as_bytes()).await;
        assert_eq!(late.status, 401);
        house.close().await;
    }

    async fn a_mail_agent_has_networks_of_its_own(engine: &Engine) {
        let house = House::beside(engine).await;
        let set = async |networks: &str| {
            let body = format!(r#"{{"settings":{{"networks":{networks}}}}}"#);
            house.operator("ours", "PATCH", "/api/v1/agents/default", &body).await
        };
        assert_eq!(set(r#"["127.0.0.1","10.0.0.0/8"]"#).await.json()["settings"]["networks"], json!(["127.0.0.1/32", "10.0.0.0/8"]));
        assert_eq!(house.mailtura("GET", "/api/v1/emails", "").await.status, 200);
        for bad in [r#"["x"]"#, r#"["10.0.0.0/33"]"#, r#"[1]"#, r#""10.0.0.1""#] {
            assert_eq!(set(bad).await.status, 422, "{bad}");
        }
        let theirs = r#"{"settings":{"networks":["10.0.0.0/8"]}}"#;
        let session = house.intake.authenticate("emailapikey", OTHER_KEY, house.address.ip()).await.unwrap();
        assert_eq!(house.operator("theirs", "PATCH", "/api/v1/agents/default", theirs).await.status, 200);
        assert_eq!(house.intake.renewed(&session, house.address.ip()).await.err(), Some(AuthFailure::NotFromHere));
        assert!(house.intake.renewed(&session, "10.0.0.1".parse().unwrap()).await.is_ok());
        let token = format!("Bearer {OTHER_KEY}");
        let refused = house.ask("GET", "/api/v1/emails", &[("Authorization", &token)], b"").await;
        refused.is(403, r#"{"message":"The API key may not be used from this address"}"#);
        let refused = house.ask("POST", "/v1.1/email", &[("Authorization", OTHER_KEY)], b"{}").await;
        let error = &refused.json()["error"];
        let told = (refused.status, &error["code"], &error["details"][0]["code"]);
        assert_eq!(told, (403, &json!("TM_3601"), &json!("SERR_156")));
        let form = format!("grant_type=refresh_token&client_id=x&client_secret={OTHER_KEY}&refresh_token={OTHER_KEY}");
        assert_eq!(house.ask("POST", "/oauth/v2/token", &[], form.as_bytes()).await.json()["error"], "invalid_client");
        assert!(house.intake.authenticate("emailapikey", OTHER_KEY, house.address.ip()).await.is_err());
        house.close().await;
    }

    async fn who_sends_as_another_mail_agent_is_bound_by_its_networks(engine: &Engine) {
        let house = House::beside(engine).await;
        let (near, far) = (r#"["127.0.0.0/8"]"#, r#"["10.0.0.0/8"]"#);
        assert_eq!(house.mailtura("POST", "/api/v1/agents", r#"{"name":"news"}"#).await.status, 201);
        let domain = r#"{"name":"proved.example","mailAgent":"news"}"#;
        assert_eq!(house.mailtura("POST", "/api/v1/domains", domain).await.status, 201);
        assert_eq!(house.mailtura("POST", "/api/v1/domains/proved.example/verify?mailAgent=news", "").await.status, 200);
        let mail = r#"{"from":"a@proved.example","to":"b@example.com","subject":"s","text":"t","mailAgent":"news"}"#;
        let sent = house.mailtura("POST", "/api/v1/emails", mail).await.json();
        let again = format!("/api/v1/emails/{}/resend", sent["id"].as_str().unwrap());
        let batch = format!("[{mail}]");
        for (networks, expected) in [(far, 403), (near, 201)] {
            let body = format!(r#"{{"settings":{{"networks":{networks}}}}}"#);
            assert_eq!(house.mailtura("PATCH", "/api/v1/agents/news", &body).await.status, 200);
            for (path, body) in [
                ("/api/v1/emails", mail),
                ("/api/v1/emails/batch", &batch),
                (&again, ""),
                ("/api/v1/emails/preview", mail),
            ] {
                let reply = house.mailtura("POST", path, body).await;
                let expected = if path.ends_with("preview") && expected == 201 { 200 } else { expected };
                assert_eq!(reply.status, expected, "{path}: {}", reply.text());
            }
        }
        // An operator's key acts as the tenant's first mail agent, from where that one's are used.
        let body = format!(r#"{{"settings":{{"networks":{far}}}}}"#);
        assert_eq!(house.operator("theirs", "PATCH", "/api/v1/agents/default", &body).await.status, 200);
        let mail = r#"{"from":"a@theirs.example","to":"b@example.com","subject":"s","text":"t"}"#;
        assert_eq!(house.operator("theirs", "POST", "/api/v1/emails", mail).await.status, 403);
        house.close().await;
    }

    async fn things_say_who_made_them(engine: &Engine) {
        let house = House::beside(engine).await;
        let key = house.mailtura("POST", "/api/v1/keys", r#"{"name":"second"}"#).await.json();
        let id_of = async |name: &str| {
            let keys = house.store.credentials(house.ours.0.id).await.unwrap();
            keys.into_iter().find(|key| key.name == name && key.kind == CredentialKind::ApiKey).unwrap().id.to_string()
        };
        let (first, second) = (id_of("tests").await, id_of("second").await);
        assert_eq!(key["createdBy"], first.as_str());
        let bearer = format!("Bearer {}", key["secret"].as_str().unwrap());
        let as_second = async |method: &str, path: &str, body: &str| {
            house.ask(method, path, &[("Authorization", bearer.as_str())], body.as_bytes()).await.json()
        };
        let hook = r#"{"url":"https://8.8.8.8/","events":["sent"]}"#;
        let host = r#"{"host":"links.ours.example","domain":"ours.example"}"#;
        for (path, body, changes) in [
            ("agents", r#"{"name":"news"}"#, Some(r#"{"settings":{"trackOpens":false}}"#)),
            ("templates", r#"{"name":"hi","subject":"s","text":"t"}"#, Some(r#"{"subject":"z"}"#)),
            ("webhooks", hook, Some(r#"{"description":"d"}"#)),
            ("domains", r#"{"name":"proved.example"}"#, None),
            ("suppressions", r#"{"value":"x@example.com"}"#, None),
            ("tracking-hosts", host, None),
        ] {
            let made = house.mailtura("POST", &format!("/api/v1/{path}"), body).await;
            let place = made.field("location").to_owned();
            let made = made.json();
            assert_eq!(made["createdBy"], first.as_str(), "{path}: {made}");
            let Some(changes) = changes else {
                assert_eq!(as_second("GET", &place, "").await["createdBy"], first.as_str(), "{path}");
                continue;
            };
            assert!(made["updatedBy"].is_null() || path == "templates", "{path}: {made}");
            house.clock.advance(std::time::Duration::from_secs(1));
            as_second("PATCH", &place, changes).await;
            let changed = house.mailtura("GET", &place, "").await.json();
            assert_eq!([&changed["createdBy"], &changed["updatedBy"]], [first.as_str(), second.as_str()], "{path}");
            assert_ne!(changed["updatedAt"], changed["createdAt"], "{path}");
        }
        let versions = house.mailtura("GET", "/api/v1/templates/hi/versions", "").await.json();
        assert_eq!([&versions[0]["createdBy"], &versions[1]["createdBy"]], [second.as_str(), first.as_str()]);
        let tenant = house.operator("", "POST", TENANTS, r#"{"name":"new"}"#).await.json();
        assert!(tenant["createdBy"].as_str().unwrap().starts_with("key_") && tenant["updatedBy"].is_null(), "{tenant}");
        let ours = as_second("PATCH", "/api/v1/tenants/ours", r#"{"name":"Ours"}"#).await;
        assert_eq!((&ours["createdBy"], &ours["updatedBy"]), (&Value::Null, &json!(second)));
        house.close().await;
    }

    async fn what_is_set_holds_at_once(engine: &Engine) {
        let house = House::beside(engine).await;
        let mail = r#"{"to":"b@example.com","subject":"s","text":"t"}"#;
        let refused = house.mailtura("POST", "/api/v1/emails", mail).await;
        assert_eq!((refused.status, &refused.json()["validation"][0]["params"]["missingProperty"]), (422, &json!("from")));
        for (path, address) in [("/api/v1/agents/default", "a@ours.example"), ("/api/v1/tenants/ours", "b@ours.example")] {
            let body = format!(r#"{{"settings":{{"fromEmail":"{address}"}}}}"#);
            assert_eq!(house.mailtura("PATCH", path, &body).await.status, 200);
            house.clock.advance(std::time::Duration::from_millis(1));
            assert_eq!(house.mailtura("POST", "/api/v1/emails", mail).await.status, 201);
            let sent = house.mailtura("GET", "/api/v1/emails?limit=1", "").await.json();
            assert_eq!(sent[0]["from"]["address"], address);
        }
        house.mailtura("PATCH", "/api/v1/agents/default", "{}").await.is(400, r#"{"message":"Nothing to change"}"#);
        house.close().await;
    }

    async fn an_operators_key_is_for_operators(engine: &Engine) {
        let house = House::beside(engine).await;
        assert_eq!(house.mailtura("POST", "/api/v1/agents", r#"{"name":"ops"}"#).await.status, 201);
        let key = |kind: &str| format!(r#"{{"kind":"{kind}","mailAgent":"ops"}}"#);
        let made = house.operator("", "POST", "/api/v1/keys", &key("operator_key")).await;
        let path = made.field("location").to_owned();
        for method in ["GET", "DELETE"] {
            assert_eq!(house.mailtura(method, &path, "").await.status, 404, "{method}");
        }
        let kinds = |listed: Value| {
            let kinds = listed.as_array().unwrap().iter().map(|key| key["kind"].as_str().unwrap().to_owned());
            let mut kinds: Vec<_> = kinds.collect();
            kinds.sort_unstable();
            kinds
        };
        assert_eq!(kinds(house.mailtura("GET", "/api/v1/keys", "").await.json()), ["api_key"]);
        let all = kinds(house.operator("", "GET", "/api/v1/keys", "").await.json());
        assert_eq!(all, ["api_key", "operator_key", "operator_key"]);
        // Nor does it go with its mail agent, nor that one with a key of its own that asks.
        let agent = "/api/v1/agents/ops";
        assert_eq!(house.mailtura("DELETE", agent, "").await.status, 403);
        let own = house.mailtura("POST", "/api/v1/keys", &key("api_key")).await.json();
        let own = format!("Bearer {}", own["secret"].as_str().unwrap());
        assert_eq!(house.ask("DELETE", agent, &[("Authorization", &own)], b"").await.status, 409);
        assert_eq!(house.operator("", "GET", &path, "").await.status, 200);
        assert_eq!(house.operator("", "DELETE", &path, "").await.status, 204);
        assert_eq!(house.mailtura("DELETE", agent, "").await.status, 204);
        house.close().await;
    }

    async fn a_tenant_without_its_first_agent_is_repaired(engine: &Engine) {
        let house = House::beside(engine).await;
        assert_eq!(house.operator("theirs", "POST", "/api/v1/agents", r#"{"name":"other"}"#).await.status, 201);
        let theirs = house.store.tenant("theirs").await.unwrap().unwrap();
        assert!(house.store.remove_agent(theirs.id, "default").await.unwrap());
        let listed = house.operator("theirs", "GET", "/api/v1/agents", "").await.json();
        assert_eq!(listed[0]["name"], json!("other"));
        assert_eq!(house.operator("theirs", "POST", "/api/v1/agents", r#"{"name":"default"}"#).await.status, 201);
        house.close().await;
    }

    async fn a_domain_is_claimed_once_at_one_time(engine: &Engine) {
        let house = House::beside(engine).await;
        assert_eq!(house.mailtura("POST", "/api/v1/agents", r#"{"name":"news"}"#).await.status, 201);
        let claim = || house.mailtura("POST", "/api/v1/domains", r#"{"name":"new.example"}"#);
        let other = house.mailtura("POST", "/api/v1/domains", r#"{"name":"new.example","mailAgent":"news"}"#);
        let (a, b, c, d, e, other) = tokio::join!(claim(), claim(), claim(), claim(), claim(), other);
        let mut statuses = [a, b, c, d, e].map(|reply| reply.status);
        statuses.sort_unstable();
        assert_eq!((statuses, other.status), ([201, 409, 409, 409, 409], 201));
        assert_eq!(house.store.signing_keys(house.ours.0.id, "new.example").await.unwrap().len(), 2);
        let domains = house.store.claimed_domains(house.ours.0.id).await.unwrap();
        assert_eq!(domains.iter().find(|domain| domain.name == "new.example").unwrap().agents.len(), 2);
        house.close().await;
    }

    async fn what_capture_mode_believed_is_shown_anew(engine: &Engine) {
        let house = House::beside(engine).await;
        let by = |domain: &Value| (domain["status"].as_str().unwrap().to_owned(), domain["verifiedBy"].clone());
        let verified = |by: Value| ("verified".to_owned(), by);
        let added = house.mailtura("POST", "/api/v1/domains", r#"{"name":"proved.example"}"#).await.json();
        assert_eq!(by(&added), verified(json!("capture")));
        let given = house.operator("", "POST", "/api/v1/domains", r#"{"name":"given.example"}"#).await.json();
        assert_eq!(by(&given), verified(json!("operator")));
        let domains = async || house.store.domains(house.ours.1.id).await.unwrap();
        let all = ["given.example", "ours.example", "proved.example"];
        for round in 0..2 {
            assert_eq!(house.store.review_captured(true).await.unwrap(), Vec::<String>::new());
            assert_eq!(domains().await, all, "{round}");
            assert_eq!(house.store.review_captured(false).await.unwrap(), ["proved.example"]);
            assert_eq!(domains().await, all[..2], "{round}");
        }
        let real = House::on(engine, Default::default(), |intake| intake.is_capture = false).await;
        let path = "/api/v1/domains/proved.example";
        let doubted = real.mailtura("GET", path, "").await.json();
        assert_eq!(by(&doubted), ("unverified".to_owned(), json!("capture")));
        let proved = real.mailtura("POST", &format!("{path}/verify"), "").await.json();
        assert_eq!(by(&proved), verified(json!("dns")));
        assert_eq!(house.store.review_captured(false).await.unwrap(), Vec::<String>::new());
        assert_eq!(domains().await, all);
        real.close().await;
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_things_are_not_there() {
    let house = House::new().await;
    let hook = r#"{"url":"https://hooks.example.com/","events":["delivered"]}"#;
    let theirs = format!("Bearer {OTHER_KEY}");
    let theirs = [("Authorization", theirs.as_str())];
    for (path, body) in [
        ("/api/v1/emails", r#"{"from":"a@theirs.example","to":"b@example.com","subject":"s","text":"t"}"#),
        ("/api/v1/webhooks", hook),
        ("/api/v1/keys", "{}"),
    ] {
        let made = house.ask("POST", path, &theirs, body.as_bytes()).await;
        assert_eq!(made.status, 201, "{path}");
        let place = made.field("location").to_owned();
        assert_eq!(house.ask("GET", &place, &theirs, b"").await.status, 200, "{place}");
        for method in ["GET", "PATCH", "PUT", "DELETE"] {
            let reply = house.mailtura(method, &place, hook).await;
            assert!(matches!(reply.status, 404 | 405), "{method} {place}: {}", reply.status);
        }
        assert_eq!(house.mailtura("GET", &format!("{place}/events"), "").await.status, 404);
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_is_shown_to_be_the_tenants() {
    let house = House::with(postback::http::Settings::default(), |intake| intake.is_capture = false).await;
    let added = house.mailtura("POST", "/api/v1/domains", r#"{"name":"proved.example"}"#).await;
    let body = added.json();
    assert_eq!((added.status, &body["status"], &body["verifiedAt"]), (201, &json!("unverified"), &Value::Null));
    let purposes: Vec<_> =
        body["records"].as_array().unwrap().iter().map(|record| record["purpose"].as_str().unwrap()).collect();
    assert_eq!(purposes, ["ownership", "dkim", "dkim"]);
    assert_eq!(body["records"][0]["name"], json!("_postback.proved.example"));
    assert!(body["records"][1]["value"].as_str().unwrap().starts_with("v=DKIM1; k="));
    let send = async || {
        house.clock.advance(std::time::Duration::from_secs(6));
        let mail = r#"{"from":"a@proved.example","to":"b@example.com","subject":"s","text":"t"}"#;
        house.mailtura("POST", "/api/v1/emails", mail).await.status
    };
    assert_eq!(send().await, 403);
    let path = "/api/v1/domains/proved.example";
    assert_eq!(house.mailtura("POST", &format!("{path}/verify"), "").await.json()["status"], json!("verified"));
    assert_eq!(send().await, 201);
    // Another tenant's claim of the same domain is another claim, and an operator's word is proof.
    let theirs = format!("Bearer {OTHER_KEY}");
    let theirs = [("Authorization", theirs.as_str())];
    assert_eq!(house.ask("GET", path, &theirs, b"").await.status, 404);
    assert_eq!(house.ask("POST", "/api/v1/domains", &theirs, br#"{"name":"proved.example"}"#).await.status, 201);
    let unproved = house.ask("POST", &format!("{path}/verify"), &theirs, b"").await.json();
    assert_eq!(unproved["status"], json!("unverified"));
    let given = house.operator("theirs", "POST", "/api/v1/domains", r#"{"name":"given.example"}"#).await;
    assert_eq!(given.json()["status"], json!("verified"));
    // Both APIs show the same.
    assert_eq!(house.mailtura("DELETE", path, "").await.status, 204);
    assert_eq!(send().await, 403);
    assert_eq!(house.mailtura("GET", path, "").await.status, 404);
    house.shut().await;
}
