//! Pixel and redirect: exact headers, who counts, what a bad token gets.

use postback::http::Settings;
use postback::http::track::proof_text;
use postback::model::hit::HitKind;
use postback::model::id::DeliveryId;
use postback::model::reason::Reason;
use postback::model::suppression::Scope;
use postback::model::token::{Reference, Sealer};
use postback::model::tracking::{Block, TrackingHost};
use postback::store::suppressions::{Filter, Lists};
use serde_json::json;

use super::{House, Reply};

const MAIL: &str = r#"{"from":"a@ours.example","to":"reader@example.com","subject":"s","html":"<p>Hi</p>"}"#;

impl House {
    /// A mail on its way, and the path of a token for it.
    async fn sealed(&self, reference: Reference) -> (DeliveryId, String) {
        let sent = self.mailtura("POST", "/api/v1/emails", MAIL).await.json();
        let delivery = DeliveryId { message: sent["id"].as_str().unwrap().parse().unwrap(), recipient: 0 };
        let ring = self.store.key_ring([0; 32]).await.unwrap();
        let sealer = Sealer::new(&ring, ring.newest().unwrap(), &self.address.to_string()).unwrap();
        let door = match reference {
            Reference::Open => 'o',
            Reference::Click { .. } | Reference::TextClick { .. } => 'c',
            Reference::Unsubscribe => 'u',
        };
        (delivery, format!("/{door}/{}", sealer.seal(delivery, &reference)))
    }

    /// The hits of a delivery, newest first, once there are as many as expected.
    async fn hits(&self, delivery: DeliveryId, expected: usize) -> Vec<(HitKind, String)> {
        loop {
            let hits = self.store.hits(delivery).await.unwrap();
            if hits.len() >= expected {
                return hits.into_iter().rev().map(|hit| (hit.kind, hit.visitor.user_agent)).collect();
            }
            tokio::task::yield_now().await;
        }
    }
}

fn link(target: &str) -> Reference {
    Reference::Click { link: 1, target: target.into() }
}

fn is_pixel(reply: &Reply) {
    assert_eq!((reply.status, reply.field("content-type"), reply.field("content-length")), (200, "image/gif", "43"));
    for (name, value) in [
        ("cache-control", "no-store, no-cache, max-age=0, private"),
        ("pragma", "no-cache"),
        ("expires", "0"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("referrer-policy", "no-referrer"),
        ("etag", ""),
        ("set-cookie", ""),
    ] {
        assert_eq!(reply.field(name), value, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pixel() {
    let house = House::new().await;
    let (delivery, path) = house.sealed(Reference::Open).await;
    let head = house.ask("HEAD", &path, &[], b"").await;
    is_pixel(&head);
    assert!(head.body.is_empty());
    let seen = house.ask("GET", &path, &[("User-Agent", "Reader/1")], b"").await;
    is_pixel(&seen);
    assert_eq!((seen.body.len(), &seen.body[..6]), (43, b"GIF89a".as_slice()));
    assert_eq!(house.hits(delivery, 1).await, [(HitKind::Open, "Reader/1".to_owned())]);
    for bad in ["/o/", "/o/x", "/o/%00", &format!("{path}x"), &path.replace("/o/", "/o/a"), &format!("{path}/")] {
        is_pixel(&house.ask("GET", bad, &[], b"").await);
    }
    let refused = house.ask("POST", &path, &[], b"").await;
    assert_eq!((refused.status, refused.field("allow")), (405, "GET, HEAD"));
    assert_eq!(house.hits(delivery, 1).await.len(), 1);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link() {
    let house = House::new().await;
    let (delivery, path) = house.sealed(link("https://shop.example.com/r?a=1&b='%20x#füll")).await;
    for method in ["HEAD", "GET"] {
        let reply = house.ask(method, &path, &[("User-Agent", method)], b"").await;
        assert_eq!((reply.status, reply.field("location")), (302, "https://shop.example.com/r?a=1&b='%20x#f%C3%BCll"));
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-robots-tag", "noindex"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(reply.field(name), value, "{name}");
        }
        let body = "<a href=\"https://shop.example.com/r?a=1&amp;b=&#39;%20x#f%C3%BCll\">Continue</a>\n";
        assert_eq!(reply.text(), if method == "GET" { body } else { "" });
    }
    assert_eq!(house.hits(delivery, 1).await, [(HitKind::Click, "GET".to_owned())]);
    assert_eq!(house.ask("POST", &path, &[], b"").await.status, 405);
    let (_, long) = house.sealed(link(&format!("https://example.com/{}", "x".repeat(900)))).await;
    let reply = house.ask("GET", &long, &[], b"").await;
    assert_eq!((reply.status, reply.text().as_str()), (302, "Continue\n"));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_says_who_asks() {
    for (trusted, expected) in [("127.0.0.0/8", "9.9.9.9"), ("10.0.0.0/8", "127.0.0.1")] {
        let settings = Settings { trusted_proxies: vec![trusted.parse().unwrap()], ..Settings::default() };
        let house = House::with(settings, |_| {}).await;
        let (delivery, path) = house.sealed(link("https://shop.example.com/")).await;
        house.ask("GET", &path, &[("X-Forwarded-For", "6.6.6.6, 9.9.9.9")], b"").await;
        house.hits(delivery, 1).await;
        assert_eq!(house.store.hits(delivery).await.unwrap()[0].visitor.place.ip_address, expected);
        house.shut().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_links_lead_nowhere() {
    let house = House::new().await;
    let (_, path) = house.sealed(link("https://shop.example.com/")).await;
    let (_, pixel) = house.sealed(Reference::Open).await;
    let (_, unsubscribe) = house.sealed(Reference::Unsubscribe).await;
    let unsubscribe = unsubscribe.replace("/u/", "/c/");
    let other_host = format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    let mut replies = vec![Reply::read(&house.raw(other_host.as_bytes()).await)];
    for bad in
        ["/c/", "/c/x", "/c/https://evil.example/", &path[..path.len() - 1], &pixel.replace("/o/", "/c/"), &unsubscribe]
    {
        replies.push(house.ask("GET", bad, &[], b"").await);
    }
    for reply in replies {
        assert_eq!((reply.status, reply.field("location")), (404, ""));
        assert_eq!(reply.field("content-security-policy"), "default-src 'none'");
        let page = reply.text();
        assert!(page.contains("not known") && !page.contains("href") && !page.contains("evil"), "{page}");
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_work_while_the_database_is_gone() {
    let house = House::new().await;
    let (_, path) = house.sealed(link("https://shop.example.com/")).await;
    let (_, pixel) = house.sealed(Reference::Open).await;
    house.store.close().await;
    assert_eq!(house.ask("GET", &path, &[], b"").await.status, 302);
    is_pixel(&house.ask("GET", &pixel, &[], b"").await);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn robots_are_told_to_stay_away() {
    let house = House::new().await;
    let reply = house.ask("GET", "/robots.txt", &[], b"").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "User-agent: *\nDisallow: /\n"));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_links_lead_nowhere_and_say_so() {
    let house = House::new().await;
    let (delivery, path) = house.sealed(link("https://www.evil.example/x")).await;
    let (_, other) = house.sealed(link("https://shop.example.com/")).await;
    let check = async |path: &str, status| {
        house.intake.refresh().await.unwrap();
        let reply = house.ask("GET", path, &[], b"").await;
        assert_eq!(reply.status, status, "{}", reply.text());
        reply
    };
    for block in [Block::Target("evil.example".into()), Block::Message(delivery.message), Block::Agent(house.ours.1.id)]
    {
        house.store.block_links(&block).await.unwrap();
        let page = check(&path, 410).await;
        assert!(
            page.field("location").is_empty() && page.text().contains("withdrawn") && !page.text().contains("href")
        );
        check(&other, if matches!(block, Block::Agent(_)) { 410 } else { 302 }).await;
        house.store.unblock_links(&block).await.unwrap();
        check(&path, 302).await;
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tracking_host_serves_its_files_and_proves_itself() {
    let house = House::new().await;
    let host = TrackingHost {
        host: house.address.to_string(),
        tenant: house.ours.0.id,
        agent: house.ours.1.id,
        domain: "ours.example".into(),
        apple_links: r#"{"applinks":{}}"#.into(),
        android_links: String::new(),
        checked_at: None,
        fault: String::new(),
        created_at: house.clock.now(),
        created_by: String::new(),
    };
    let apple = "/.well-known/apple-app-site-association";
    assert_eq!(house.ask("GET", apple, &[], b"").await.status, 404);
    house.store.add_tracking_host(host).await.unwrap();
    house.intake.refresh().await.unwrap();
    let reply = house.ask("GET", apple, &[], b"").await;
    assert_eq!(
        (reply.status, reply.field("content-type"), reply.text().as_str()),
        (200, "application/json", r#"{"applinks":{}}"#)
    );
    assert_eq!(house.ask("GET", "/.well-known/assetlinks.json", &[], b"").await.status, 404);
    assert_eq!(house.ask("POST", apple, &[], b"").await.status, 405);

    let ring = house.store.key_ring([0; 32]).await.unwrap();
    let proof = ring.proofs(&house.address.to_string(), "0af3").remove(0);
    let reply = house.ask("GET", "/.well-known/postback/0af3", &[], b"").await;
    assert_eq!((reply.status, reply.text()), (200, proof_text(&proof)));
    for bad in
        ["/.well-known/postback/", "/.well-known/postback/x", &format!("/.well-known/postback/{}", "a".repeat(65))]
    {
        let reply = house.ask("GET", bad, &[], b"").await;
        assert!(bad.ends_with('/') || reply.status == 404, "{bad}");
    }
    // Mail goes untracked until the host has passed its check.
    let mail = r#"{"from":"a@ours.example","to":"reader@example.com","subject":"s","html":"<p>Hi</p>"}"#;
    for (fault, base_url) in [("no certificate", String::new()), ("", format!("https://{}", house.address))] {
        house.store.tracking_host_checked(&house.address.to_string(), fault).await.unwrap();
        house.intake.refresh().await.unwrap();
        let sent = house.mailtura("POST", "/api/v1/emails", mail).await.json();
        let message = house.store.message(sent["id"].as_str().unwrap().parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(message.facts.tracking.base_url, base_url);
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tracking_hosts_are_managed_over_the_api() {
    let house = House::new().await;
    const PATH: &str = "/api/v1/tracking-hosts";
    let new = r#"{"host":"Links.ours.example:8443","domain":"ours.example","assetLinks":"[ ]"}"#;
    let made = house.mailtura("POST", PATH, new).await;
    assert_eq!((made.status, made.field("location")), (201, "/api/v1/tracking-hosts/links%2Eours%2Eexample%3A8443"));
    let own = made.field("location").to_owned();
    let body = made.json();
    assert_eq!((&body["host"], &body["mailAgent"]), (&json!("links.ours.example:8443"), &json!("default")));
    assert_eq!(
        (&body["status"], &body["checkedAt"], &body["assetLinks"]),
        (&json!("unchecked"), &json!(null), &json!("[ ]"))
    );
    assert_eq!(house.mailtura("POST", PATH, new).await.status, 409);
    for (wrong, place) in [
        (r#"{"host":"links.other.example","domain":"ours.example"}"#, "/host"),
        (r#"{"host":"ours.example","domain":"ours.example"}"#, "/host"),
        (r#"{"host":"links.other.example","domain":"other.example"}"#, "/domain"),
        (r#"{"host":"t.ours.example","domain":"ours.example","assetLinks":"[ "}"#, "/assetLinks"),
    ] {
        let refused = house.mailtura("POST", PATH, wrong).await;
        assert_eq!((refused.status, &refused.json()["validation"][0]["instancePath"]), (422, &json!(place)), "{wrong}");
    }

    let name = "links.ours.example:8443";
    house.store.tracking_host_checked(name, "no certificate").await.unwrap();
    let failed = house.mailtura("GET", &own, "").await.json();
    assert_eq!((&failed["status"], &failed["fault"]), (&json!("failed"), &json!("no certificate")));
    house.store.tracking_host_checked(name, "").await.unwrap();
    let due = house.mailtura("POST", &format!("{own}/check"), "").await;
    assert_eq!((due.status, &due.json()["status"]), (202, &json!("ready")), "it stands as it stood until then");
    let known = house.store.tracking_hosts().await.unwrap();
    assert_eq!((known[0].checked_at, known[0].is_ready()), (Some(TrackingHost::DUE), true));
    assert_eq!(house.mailtura("GET", &own, "").await.json()["checkedAt"], json!(null));

    let change = r#"{"appleAppSiteAssociation":"{\"applinks\":{}}","assetLinks":null}"#;
    let changed = house.mailtura("PATCH", &own, change).await.json();
    assert_eq!(
        (&changed["appleAppSiteAssociation"], &changed["assetLinks"]),
        (&json!("{\"applinks\":{}}"), &json!(null))
    );
    assert_eq!(house.mailtura("GET", PATH, "").await.json()[0], changed);
    assert_eq!(house.mailtura("DELETE", &own, "").await.status, 204);
    assert_eq!(house.mailtura("DELETE", &own, "").await.status, 404);
    assert_eq!(house.mailtura("GET", PATH, "").await.json(), json!([]));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_is_not_worth_a_page() {
    let house = House::new().await;
    let (_, path) = house.sealed(link("https://shop.example.com/")).await;
    for _ in 0..20 {
        assert!(house.ask("GET", "/c/x", &[], b"").await.text().contains("not known"));
    }
    let reply = house.ask("GET", "/o/x", &[], b"").await;
    assert_eq!((reply.status, reply.text().as_str()), (404, ""));
    assert_eq!(house.ask("GET", &path, &[], b"").await.status, 302, "good tokens work for everybody");
    house.clock.advance(std::time::Duration::from_secs(60));
    is_pixel(&house.ask("GET", "/o/x", &[], b"").await);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsubscribe_link() {
    let house = House::new().await;
    let (delivery, path) = house.sealed(Reference::Unsubscribe).await;
    let recipient = house.store.delivery(delivery).await.unwrap().unwrap();
    let list = Lists::Of(Scope::Agent(recipient.tenant, recipient.agent));
    let suppressed = async || house.store.suppressions(list, &Filter::default(), 10).await.unwrap();
    for method in ["GET", "HEAD"] {
        let page = house.ask(method, &path, &[], b"").await;
        assert_eq!((page.status, page.field("cache-control")), (200, "no-store"), "{method}");
    }
    assert_eq!(suppressed().await, [], "who only looks changes nothing");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    for _ in 0..2 {
        assert_eq!(house.ask("POST", &path, &form, b"List-Unsubscribe=One-Click").await.status, 200);
    }
    let left_alone = suppressed().await;
    assert_eq!((left_alone.len(), left_alone[0].reason), (1, Reason::Unsubscribed));
    assert_eq!(left_alone[0].target.as_str(), recipient.address.folded());
    assert_eq!(house.ask("PUT", &path, &[], b"").await.status, 405);
    for bad in ["/u/", "/u/x", &path.replace("/u/", "/c/"), &format!("{path}x")] {
        assert_eq!(house.ask("GET", bad, &[], b"").await.status, 404, "{bad}");
    }
    house.shut().await;
}
