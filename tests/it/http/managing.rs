//! ZeptoMail's management: access tokens, mail agents and their keys, templates, and what became of mails.

use postback::ids::IdSource;
use postback::model::id::CredentialId;
use postback::model::network::Network;
use postback::model::tenant::{Credential, CredentialKind};
use serde_json::{Value, json};

use super::{House, KEY, OTHER_KEY, Reply, credential};
use crate::support::engines::on_both_engines;

/// Somebody who manages a tenant.
struct Manager<'h> {
    house: &'h House,
    token: String,
}

impl<'h> Manager<'h> {
    /// Signs in with a key of the tenant.
    async fn new(house: &'h House, key: &str) -> Self {
        let id = house.key_id(key).await;
        let form = format!("grant_type=refresh_token&client_id={id}&client_secret={key}&refresh_token={key}");
        let told = house.ask("POST", "/oauth/v2/token", &[], form.as_bytes()).await;
        assert_eq!(told.status, 200);
        let told = told.json();
        assert_eq!((&told["token_type"], &told["expires_in"]), (&json!("Bearer"), &json!(3600)), "{told}");
        Self { house, token: format!("Zoho-oauthtoken {}", told["access_token"].as_str().unwrap()) }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Reply {
        let fields = [("Authorization", self.token.as_str())];
        self.house.ask(method, &format!("/v1.1{path}"), &fields, body.to_string().as_bytes()).await
    }

    /// The data of a success.
    async fn data(&self, method: &str, path: &str, body: Value) -> Value {
        let told = self.ask(method, path, body).await;
        assert!(told.status < 300, "{method} {path}: {}", told.text());
        told.json()["data"].clone()
    }

    #[track_caller]
    fn refused(told: &Reply, status: u16, code: &str) {
        let body = told.json();
        let error = &body["error"];
        assert_eq!((told.status, &error["code"], &body["status"]), (status, &json!(code), &json!("failure")), "{body}");
        assert!(error["message"].is_string() && error["details"][0]["message"].is_string(), "{body}");
    }
}

impl House {
    /// The id of the key with this secret.
    async fn key_id(&self, key: &str) -> CredentialId {
        let digest: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(key).into();
        self.store.grant(&digest).await.unwrap().unwrap().credential
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_tokens_are_for_who_has_the_key() {
    let house = House::new().await;
    let id = house.key_id(KEY).await;
    let form = |client: &str, secret: &str, refresh: &str| {
        format!("grant_type=refresh_token&client_id={client}&client_secret={secret}&refresh_token={refresh}")
    };
    let own = id.to_string();
    for form in [
        form(&own, "nobody", "nobody"),
        form("key_0", KEY, KEY),
        form(&own, OTHER_KEY, KEY),
        form(&own, KEY, OTHER_KEY),
        form("", "", ""),
        form(&own, KEY, KEY).replace("refresh_token&", "password&"),
        String::new(),
    ] {
        let refused = house.ask("POST", "/oauth/v2/token", &[], form.as_bytes()).await;
        assert_eq!(refused.status, 200);
        assert!(refused.json()["error"].is_string(), "{form}");
        assert_eq!(refused.json().get("access_token"), None);
    }
    assert_eq!(house.ask("GET", "/oauth/v2/token", &[], b"").await.status, 405);
    let manager = Manager::new(&house, KEY).await;
    assert_eq!(manager.ask("GET", "/agents", json!({})).await.status, 200);
    for token in [
        "",
        "Zoho-oauthtoken x",
        "Zoho-oauthtoken 1000.00",
        &format!("Zoho-enczapikey {KEY}"),
        &format!("Zoho-oauthtoken {KEY}"),
    ] {
        let refused = house.ask("GET", "/v1.1/agents", &[("Authorization", token)], b"{}").await;
        Manager::refused(&refused, 401, "SERR_157");
    }
    // It dies with its key.
    assert!(house.store.remove_credential(house.ours.0.id, id).await.unwrap());
    let other = Manager { house: &house, token: manager.token.replace("Zoho-oauthtoken", "zoho-OAUTHTOKEN ") };
    house.clock.advance(std::time::Duration::from_secs(6));
    Manager::refused(&other.ask("GET", "/agents", json!({})).await, 401, "SERR_157");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_agents_come_and_go() {
    let house = House::new().await;
    let manager = Manager::new(&house, KEY).await;
    let added = manager.data("POST", "/agents", json!({ "mailagent_name": "Alerts", "description": "alerts" })).await;
    assert_eq!(
        (&added["mailagent_name"], &added["status"], &added["created_time"]),
        (&json!("Alerts"), &json!("active"), &json!("02 Mar 2026 08:15 AM"))
    );
    let key = added["mailagent_key"].as_str().unwrap();
    let clash = manager.ask("POST", "/agents", json!({ "mailagent_name": "Alerts", "description": "" })).await;
    Manager::refused(&clash, 409, "MA_107");
    assert_eq!(
        (&clash.json()["error"]["field"], &clash.json()["error"]["value"]),
        (&json!("mailagent_name"), &json!("Alerts"))
    );
    Manager::refused(&manager.ask("POST", "/agents", json!({})).await, 400, "MA_101");
    let path = format!("/agents/{key}");
    let changed = manager.data("PUT", &path, json!({ "mailagent_name": "News", "description": "news" })).await;
    assert_eq!((&changed["mailagent_name"], &changed["description"]), (&json!("News"), &json!("news")));
    let listed = manager.data("GET", "/agents", json!({})).await;
    assert_eq!(
        listed.as_array().unwrap().iter().map(|agent| agent["mailagent_name"].clone()).collect::<Vec<_>>(),
        ["News", "default"]
    );
    Manager::refused(&manager.ask("DELETE", &path, json!({})).await, 400, "MA_101");
    let default = house.ours.1.key.clone();
    Manager::refused(
        &manager.ask("PUT", &format!("/agents/{default}"), json!({ "mailagent_name": "x" })).await,
        400,
        "MA_101",
    );

    let token = manager.data("POST", &format!("{path}/apikeys"), json!({})).await;
    assert_eq!(token["username"], json!("emailapikey"));
    let password = manager.data("POST", &format!("{path}/short-passwords"), json!({})).await;
    assert_eq!(password["username"], json!(key));
    house
        .store
        .add_domain(house.store.agent(house.ours.0.id, "News").await.unwrap().unwrap().id, "ours.example")
        .await
        .unwrap();
    let mail =
        json!({ "from": { "address": "a@ours.example" }, "to": ["b@example.com"], "subject": "s", "textbody": "t" });
    let send = async |token: &str| {
        house.ask("POST", "/v1.1/email", &[("Authorization", token)], mail.to_string().as_bytes()).await
    };
    let sent = send(token["password"].as_str().unwrap()).await;
    assert_eq!(sent.status, 201, "{}", sent.text());
    assert_eq!(send(password["password"].as_str().unwrap()).await.status, 401, "good for SMTP alone");
    let shown = manager.data("GET", &format!("{path}/apikeys"), json!({})).await;
    assert_eq!((&shown[0]["id"], &shown[0]["apikey"]), (&token["id"], &json!("****************")));
    assert!(!shown.to_string().contains(token["password"].as_str().unwrap()));
    assert_eq!(manager.data("GET", &format!("{path}/short-passwords"), json!({})).await.as_array().unwrap().len(), 1);

    manager.data("PUT", &path, json!({ "status": "shutdown" })).await;
    house.clock.advance(std::time::Duration::from_secs(6));
    let refused = send(token["password"].as_str().unwrap()).await;
    assert_eq!((refused.status, &refused.json()["error"]["details"][0]["code"]), (403, &json!("AE_101")));
    manager.data("PUT", &path, json!({ "status": "active" })).await;
    assert_eq!(send(token["password"].as_str().unwrap()).await.status, 201);
    manager.data("PUT", &path, json!({ "status": "shutdown" })).await;

    let id = token["id"].as_str().unwrap();
    assert_eq!(manager.ask("DELETE", &format!("{path}/short-passwords/{id}"), json!({})).await.status, 404);
    assert_eq!(manager.ask("DELETE", &format!("{path}/apikeys/{id}"), json!({})).await.status, 204);
    assert_eq!(manager.ask("DELETE", &format!("{path}/apikeys/{id}"), json!({})).await.status, 404);
    assert_eq!(manager.ask("DELETE", &path, json!({})).await.status, 204);
    assert_eq!(manager.ask("GET", &path, json!({})).await.status, 404);
    house.shut().await;
}

on_both_engines! {
    async fn the_first_agent_and_the_one_that_asks_stay(engine: &Engine) {
        let house = House::beside(engine).await;
        let manager = Manager::new(&house, KEY).await;
        let default = format!("/agents/{}", house.ours.1.key);
        manager.data("PUT", &default, json!({ "status": "shutdown" })).await;
        Manager::refused(&manager.ask("DELETE", &default, json!({})).await, 409, "MA_107");
        let added = manager.data("POST", "/agents", json!({ "mailagent_name": "News" })).await;
        let news = format!("/agents/{}", added["mailagent_key"].as_str().unwrap());
        let key = manager.data("POST", &format!("{news}/apikeys"), json!({})).await;
        manager.data("PUT", &news, json!({ "status": "shutdown" })).await;
        let own = Manager::new(&house, key["password"].as_str().unwrap()).await;
        Manager::refused(&own.ask("DELETE", &news, json!({})).await, 409, "MA_107");
        assert_eq!(manager.ask("DELETE", &news, json!({})).await.status, 204);
        house.close().await;
    }

    async fn a_key_bound_to_networks_makes_keys_bound_to_them(engine: &Engine) {
        let house = House::beside(engine).await;
        let networks: Vec<Network> = vec!["127.0.0.1".parse().unwrap()];
        let bound = credential(&IdSource::seeded(9), &house.ours.1, CredentialKind::ApiKey, "pb_bound");
        house.store.add_credential(Credential { networks: networks.clone(), ..bound }).await.unwrap();
        let token = [("Authorization", "Bearer pb_bound")];
        let mut made = vec![house.ask("POST", "/api/v1/keys", &token, b"{}").await.json()];
        made.push(house.ask("POST", "/api/v1/keys", &token, br#"{"kind":"smtp_password"}"#).await.json());
        let manager = Manager::new(&house, "pb_bound").await;
        for kind in ["apikeys", "short-passwords"] {
            made.push(manager.data("POST", &format!("/agents/{}/{kind}", house.ours.1.key), json!({})).await);
        }
        let keys = house.store.credentials(house.ours.0.id).await.unwrap();
        for made in made {
            let key = keys.iter().find(|key| key.id.to_string() == made["id"]).unwrap();
            assert_eq!(key.networks, networks, "{made}");
        }
        let free = house.mailtura("POST", "/api/v1/keys", "{}").await.json();
        let keys = house.store.credentials(house.ours.0.id).await.unwrap();
        assert!(keys.iter().find(|key| key.id.to_string() == free["id"]).unwrap().networks.is_empty());
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_are_managed_and_previewed() {
    let house = House::new().await;
    let manager = Manager::new(&house, KEY).await;
    let path = format!("/mailagents/{}/templates", house.ours.1.key);
    let draft = json!({ "template_name": "Invite", "template_alias": "invite", "subject": "Hi {{name}}", "htmlbody": "<b>{{name}}</b> {{link}}" });
    let added = manager.data("POST", &path, draft.clone()).await;
    assert_eq!((&added["template_alias"], &added["version"]), (&json!("invite"), &json!(1)));
    let key = added["template_key"].as_str().unwrap();
    Manager::refused(&manager.ask("POST", &path, draft).await, 409, "MA_107");
    for (change, code) in [
        (json!({ "template_alias": "a b" }), "MA_101"),
        (json!({ "htmlbody": "{{#x}}" }), "MA_101"),
        (json!({ "htmlbody": "", "textbody": null }), "MA_101"),
        (json!({ "htmlbody": "a\u{0}b" }), "MA_101"),
        (json!({ "template_name": "a\nb" }), "MA_101"),
    ] {
        let refused = manager.ask("PUT", &format!("{path}/{key}"), change).await;
        assert!(matches!(refused.status, 400 | 422));
        Manager::refused(&refused, refused.status, code);
    }
    let unnamed = json!({ "template_name": "No alias", "subject": "s", "textbody": "t" });
    assert_eq!(manager.data("POST", &path, unnamed).await["template_alias"], json!(null));
    let changed = manager.data("PUT", &format!("{path}/invite"), json!({ "subject": "Hello {{name}}" })).await;
    assert_eq!((&changed["version"], &changed["htmlbody"]), (&json!(2), &json!("<b>{{name}}</b> {{link}}")));
    let shown = manager.data("GET", &format!("{path}/{key}"), json!({})).await;
    assert_eq!(shown["subject"], json!("Hello {{name}}"));
    let listed = manager.ask("GET", &format!("{path}?offset=0&limit=1"), json!({})).await.json();
    assert_eq!(
        (listed["data"].as_array().unwrap().len(), &listed["metadata"]),
        (1, &json!({ "offset": 0, "count": 1, "limit": 1 }))
    );
    let preview =
        manager.data("POST", &format!("{path}/{key}/preview"), json!({ "merge_info": { "name": "<Ann>" } })).await;
    assert_eq!(
        preview,
        json!({ "subject": "Hello <Ann>", "htmlbody": "<b>&lt;Ann&gt;</b> ", "textbody": null, "missing": ["link"] })
    );
    let stranger = Manager::new(&house, OTHER_KEY).await;
    for (method, path) in [
        ("GET", path.clone()),
        ("POST", path.clone()),
        ("GET", format!("{path}/{key}")),
        ("PUT", format!("{path}/{key}")),
        ("DELETE", format!("{path}/{key}")),
        ("POST", format!("{path}/{key}/preview")),
        ("GET", format!("/mailagents/default/templates/{key}")),
        ("DELETE", format!("/mailagents/default/templates/{key}")),
        ("GET", format!("/agents/{}", house.ours.1.key)),
        ("PUT", format!("/agents/{}", house.ours.1.key)),
        ("DELETE", format!("/agents/{}", house.ours.1.key)),
        ("GET", format!("/agents/{}/apikeys", house.ours.1.key)),
        ("POST", format!("/agents/{}/apikeys", house.ours.1.key)),
        ("DELETE", format!("/agents/default/apikeys/{}", house.key_id(KEY).await)),
    ] {
        assert_eq!(stranger.ask(method, &path, json!({})).await.status, 404, "{method} {path}");
    }
    assert_eq!(manager.ask("DELETE", &format!("{path}/{key}"), json!({})).await.status, 204);
    assert_eq!(manager.ask("GET", &format!("{path}/invite"), json!({})).await.status, 404);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_are_found_again() {
    let house = House::new().await;
    let send = async |subject: &str, to: &str, reference: &str| {
        let mail = json!({
            "from": { "address": "Billing@ours.example", "name": "Ours" }, "subject": subject, "textbody": "t",
            "to": [{ "email_address": { "address": to, "name": "R" } }], "bcc": ["hidden@example.com"],
            "client_reference": reference,
        });
        house.zeptomail(&mail.to_string()).await.json()["request_id"].as_str().unwrap().to_owned()
    };
    let first = send("Your receipt", "one@example.com", "order-1").await;
    house.clock.advance(std::time::Duration::from_secs(3600));
    let second = send("Welcome", "two@example.com", "order-2").await;
    let manager = Manager::new(&house, KEY).await;
    let find = async |query: &str| {
        let told = manager.ask("GET", &format!("/email{query}"), json!({})).await;
        assert_eq!(told.status, 200, "{query}: {}", told.text());
        let told = told.json();
        let logs = told["data"]["logs"].as_array().unwrap().clone();
        assert_eq!(told["metadata"]["count"], json!(logs.len()));
        logs.iter().map(|log| log["request_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let both = vec![second.clone(), first.clone()];
    assert_eq!(find("").await, both);
    assert_eq!(find("?limit=1").await, both[..1]);
    assert_eq!(find("?offset=1").await, both[1..]);
    for (query, expected) in [
        (format!("?request_id={first}"), &both[1..]),
        ("?subject=RECEIPT".into(), &both[1..]),
        ("?to=two%40example.com".into(), &both[..1]),
        ("?recipient=hidden@example.com".into(), &both[..]),
        ("?bcc=hidden@example.com&client_reference=order-1".into(), &both[1..]),
        ("?from=billing@OURS.example".into(), &both[..]),
        ("?date_from=02%2F03%2F2026%2C+09%3A00+AM".into(), &both[..1]),
        ("?date_to=02%2F03%2F2026%2C+08%3A15+AM".into(), &both[1..]),
        (format!("?mailagent_key={}", house.ours.1.key), &both[..]),
        ("?mailagent_key=other".into(), &[]),
        ("?is_delivered=true".into(), &[]),
        ("?is_delivered=false&is_hb=false".into(), &both[..]),
        ("?request_id=nothing".into(), &[]),
    ] {
        assert_eq!(find(&query).await, expected, "{query}");
    }
    for query in ["?limit=x", "?limit=501", "?offset=-1", "?date_from=yesterday", "?is_hb=maybe"] {
        Manager::refused(&manager.ask("GET", &format!("/email{query}"), json!({})).await, 400, "MA_101");
    }
    let message = house.store.messages(house.ours.0.id, None, 1).await.unwrap().remove(0);
    let reference = &message.facts.email_reference;
    assert_eq!(*reference, format!("{second}@ours.example"));
    let key = house.ours.1.key.as_str();
    assert!(second.starts_with(&format!("{key}.m1.")) && key.starts_with("2d6f.") && key.len() == 21, "{second}");
    for id in [&second, reference, &format!("%3C{reference}%3E"), &message.id.to_string()] {
        let detail = manager.data("GET", &format!("/email/email-reference/{id}"), json!({})).await;
        let info = &detail["email_info"];
        assert_eq!((&detail["request_id"], &info["email_reference"]), (&json!(second), &json!(reference)));
        assert_eq!(
            (&info["to"], &info["processed_time"]),
            (&json!([{ "address": "two@example.com", "name": "R" }]), &json!("2026-03-02T09:15:00Z"))
        );
        assert_eq!((&info["status"], &info["mail_type"]), (&json!("queued"), &json!("send-mail")));
        assert_eq!(info["message_id"], json!(format!("<{reference}>")));
    }
    let stranger = Manager::new(&house, OTHER_KEY).await;
    for id in [&second, reference, &message.id.to_string()] {
        assert_eq!(stranger.ask("GET", &format!("/email/email-reference/{id}"), json!({})).await.status, 404);
    }
    assert_eq!(stranger.data("GET", "/email", json!({})).await["logs"], json!([]));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_that_are_none() {
    let house = House::new().await;
    let manager = Manager::new(&house, KEY).await;
    for (method, path, status) in [
        ("PATCH", "/agents", 405),
        ("POST", "/agents/x", 405),
        ("GET", "/agents/x/tokens", 404),
        ("PUT", "/agents/x/apikeys", 405),
        ("GET", "/agents/x/apikeys/y", 405),
        ("GET", "/mailagents", 404),
        ("PATCH", "/mailagents/x/templates", 405),
        ("GET", "/mailagents/x/templates/y/preview", 405),
        ("DELETE", "/email/email-reference/x", 405),
        ("GET", "/email/email-reference", 405),
        ("GET", "/agents/%00", 404),
        ("GET", "/agents/%FF%2F..", 404),
    ] {
        let refused = manager.ask(method, path, json!({})).await;
        assert_eq!(refused.status, status, "{method} {path}");
        assert!(refused.json()["error"]["details"][0]["message"].is_string());
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_is_good_for_nothing_until_it_is_shown_to_be_the_tenants() {
    let house = House::with(postback::http::Settings::default(), |intake| intake.is_capture = false).await;
    let manager = Manager::new(&house, KEY).await;
    let stranger = Manager::new(&house, OTHER_KEY).await;
    let agent = house.ours.1.key.clone();
    let claim = |name: &str| json!({ "domain_name": name, "sub_domain_prefix": "bounce", "mailagent_keys": [agent] });
    let send = async |from: &str| {
        house.clock.advance(std::time::Duration::from_secs(6));
        let mail = json!({ "from": { "address": from }, "to": ["b@example.com"], "subject": "s", "textbody": "t" });
        house.zeptomail(&mail.to_string()).await.status
    };
    let added = manager.data("POST", "/domains", claim("Proved.example")).await;
    assert_eq!(
        (&added["domain_name"], &added["status"], &added["associated_mailagents"]),
        (&json!("proved.example"), &json!("unverified"), &json!([agent]))
    );
    assert_eq!(added["cname"]["host"], json!("bounce.proved.example"));
    assert_eq!(added["verification"]["host"], json!("_postback.proved.example"));
    let dkim = &added["dkim"];
    assert!(dkim["public_key"].as_str().unwrap().starts_with("v=DKIM1; k=rsa; p="), "{dkim}");
    assert_eq!(dkim["host"], json!(format!("{}._domainkey.proved.example", dkim["selector"].as_u64().unwrap())));
    assert_eq!(dkim["status"], json!("unverified"));
    assert_eq!(send("a@proved.example").await, 400);
    Manager::refused(&manager.ask("POST", "/domains", claim("proved.example")).await, 409, "MA_107");
    let path = format!("/domains/{}", added["domain_key"].as_str().unwrap());
    assert_eq!(manager.data("PUT", &format!("{path}/verify"), json!({})).await["status"], json!("verified"));
    assert_eq!(send("a@proved.example").await, 201);
    assert_eq!(
        manager.data("PUT", &path, json!({ "unassociate_mailagents": [agent] })).await["associated_mailagents"],
        json!([])
    );
    assert_eq!(send("a@proved.example").await, 400);
    assert_eq!(
        manager.data("PUT", &path, json!({ "associate_mailagents": [agent] })).await["status"],
        json!("verified")
    );
    assert_eq!(send("a@proved.example").await, 201);
    // Another's domain, or one that nobody proves, stays what it was said to be.
    let theirs = json!({ "domain_name": "proved.example", "sub_domain_prefix": "" });
    let theirs = stranger.data("POST", "/domains", theirs).await;
    assert_ne!(theirs["domain_key"], added["domain_key"]);
    let verify = format!("/domains/{}/verify", theirs["domain_key"].as_str().unwrap());
    assert_eq!(stranger.data("PUT", &verify, json!({})).await["status"], json!("unverified"));
    for (method, path) in
        [("GET", path.clone()), ("PUT", path.clone()), ("DELETE", path.clone()), ("PUT", format!("{path}/verify"))]
    {
        assert_eq!(
            stranger.ask(method, &path, json!({ "new_domain": "x.example" })).await.status,
            404,
            "{method} {path}"
        );
    }
    let renamed =
        manager.data("PUT", &path, json!({ "new_domain": "moved.example", "new_sub_domain_prefix": "b2" })).await;
    assert_eq!(
        (&renamed["domain_name"], &renamed["status"], &renamed["cname"]["host"]),
        (&json!("moved.example"), &json!("unverified"), &json!("b2.moved.example"))
    );
    assert_eq!(send("a@proved.example").await, 400);
    let listed = manager.data("GET", "/domains", json!({})).await;
    let names: Vec<_> =
        listed.as_array().unwrap().iter().map(|one| (one["domain_name"].clone(), one["status"].clone())).collect();
    assert_eq!(names, [(json!("moved.example"), json!("unverified")), (json!("ours.example"), json!("verified"))]);
    for flawed in [
        json!({}),
        json!({ "domain_name": "localhost" }),
        json!({ "domain_name": "a b.example" }),
        json!({ "domain_name": "x.example", "sub_domain_prefix": "a b" }),
        json!({ "domain_name": "x.example", "mailagent_keys": [7] }),
    ] {
        Manager::refused(&manager.ask("POST", "/domains", flawed).await, 400, "MA_101");
    }
    let unknown = json!({ "domain_name": "x.example", "mailagent_keys": ["nobody"] });
    assert_eq!(manager.ask("POST", "/domains", unknown).await.status, 404);
    let path = format!("/domains/{}", renamed["domain_key"].as_str().unwrap());
    Manager::refused(&manager.ask("PUT", &path, json!({})).await, 400, "MA_101");
    assert_eq!(manager.ask("DELETE", &path, json!({})).await.status, 204);
    assert_eq!(manager.ask("GET", &path, json!({})).await.status, 404);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suppressions_of_addresses_and_domains() {
    let house = House::new().await;
    let manager = Manager::new(&house, KEY).await;
    let stranger = Manager::new(&house, OTHER_KEY).await;
    let agent = house.ours.1.key.clone();
    let entry = |values: Value, action: &str| json!({ "values": values, "action": action, "description": "asked us" });
    let mut own = entry(json!(["Stop@example.com", "b@example.com"]), "reject");
    own["mailagent_keys"] = json!([agent]);
    let added = manager.data("POST", "/suppressions/email", own).await;
    assert_eq!(
        (&added["values"], &added["suppression_type"], &added["category"]),
        (&json!(["stop@example.com", "b@example.com"]), &json!("email"), &json!("manual"))
    );
    manager.data("POST", "/suppressions/domain", entry(json!(["spam.example"]), "suppress")).await;
    let send = async |to: Value| {
        // Of two mails of one moment nobody knows which is the newer.
        house.clock.advance(std::time::Duration::from_millis(1));
        let mail = json!({ "from": { "address": "a@ours.example" }, "to": to, "subject": "s", "textbody": "t" });
        assert_eq!(house.zeptomail(&mail.to_string()).await.status, 201);
        let message = house.store.messages(house.ours.0.id, None, 1).await.unwrap().remove(0);
        let views = house.store.deliveries(message.id).await.unwrap();
        views.iter().map(|view| view.delivery.state.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        send(json!(["stop@example.com", "fine@example.com"])).await,
        ["suppressed", "suppressed"],
        "reject bars all"
    );
    assert_eq!(send(json!(["a@deep.spam.example", "fine@example.com"])).await, ["suppressed", "queued"]);
    manager.data("PUT", "/suppressions/email", entry(json!(["stop@example.com"]), "suppress_tracking")).await;
    let list = async |manager: &Manager<'_>, query: &str| {
        let told = manager.data("GET", &format!("/suppressions/{query}"), json!({})).await;
        told.as_array()
            .unwrap()
            .iter()
            .map(|one| (one["value"].clone(), one["action"].clone(), one.get("mailagent_keys").is_some()))
            .collect::<Vec<_>>()
    };
    let all = list(&manager, "email?search_value=STOP").await;
    assert_eq!(all.len(), 2, "once for the agent, once for all: {all:?}");
    assert_eq!(
        list(&manager, &format!("email?mailagent_key={agent}&limit=1&offset=1")).await,
        [(json!("stop@example.com"), json!("reject"), true)]
    );
    assert_eq!(list(&manager, "domain").await, [(json!("spam.example"), json!("suppress"), false)]);
    assert_eq!(list(&manager, "email?date_from=03%2F03%2F2026%2C+09%3A00+AM").await, []);
    assert_eq!(list(&stranger, "email").await, []);
    let gone = json!({ "values": ["stop@example.com"] });
    assert_eq!(stranger.ask("DELETE", "/suppressions/email", gone.clone()).await.status, 204);
    assert_eq!(list(&manager, "email?search_value=stop").await.len(), 2);
    assert_eq!(manager.ask("DELETE", "/suppressions/email", gone).await.status, 204);
    assert_eq!(list(&manager, "email").await, [(json!("b@example.com"), json!("reject"), true)]);
    for (path, flawed) in [
        ("email", json!({})),
        ("email", entry(json!([]), "reject")),
        ("email", entry(json!(["spam.example"]), "reject")),
        ("domain", entry(json!(["a@spam.example"]), "reject")),
        ("domain", entry(json!(["spam.example"]), "suppress_tracking")),
        ("email", entry(json!(["a@example.com"]), "delete")),
        ("email", entry(json!(vec!["a@example.com"; 51]), "reject")),
        ("email", entry(json!(["a@example.com", 7]), "reject")),
    ] {
        let refused = manager.ask("POST", &format!("/suppressions/{path}"), flawed).await;
        assert!(matches!(refused.status, 400 | 422));
        Manager::refused(&refused, refused.status, "MA_101");
    }
    let mut foreign = entry(json!(["a@example.com"]), "reject");
    foreign["mailagent_keys"] = json!([agent]);
    assert_eq!(stranger.ask("POST", "/suppressions/email", foreign).await.status, 404);
    assert_eq!(manager.ask("GET", "/suppressions/other", json!({})).await.status, 404);
    house.shut().await;
}
