//! A sending domain's own tracking host, from being added to the mail that uses it: the whole program checks it over TLS
//! on loopback, with a certificate that it makes itself and is told to believe.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postback::app::{App, World};
use postback::clock::Clock;
use postback::config::Settings;
use postback::dns::Table;
use postback::ids::IdSource;
use postback::model::id::MessageId;
use postback::model::tracking::TrackingHost;
use postback::tls;

use crate::support::agent::post;
use crate::support::node::START;

const NAME: &str = "links.shop.example";

/// A certificate for `name` that it signed itself, and its key.
fn pair(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_is_rewritten_for_a_host_once_it_has_passed_its_check() {
    let folder = tempfile::tempdir().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = Settings { data: folder.path().to_owned(), hostname: NAME.into(), ..Settings::default() };
    settings.database = format!("sqlite:{}", folder.path().join("postback.db").display()).into();
    (settings.smtp.listeners, settings.http.address, settings.admin.address) = (Vec::new(), any, any);
    settings.http.tls_address = Some(any);
    settings.reports.return_path_domain = "bounces.shop.example".into();
    let (own, other) = (pair(NAME), pair("l.shop.example"));
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        Some(folder.path().join(name))
    };
    settings.tls = tls::Settings { certificate: file("own.pem", &own.0), key: file("own.key", &own.1), acme: None };
    settings.egress.ca_file = file("believed.pem", &format!("{}{}", own.0, other.0));
    let clock = Clock::standing(START);
    let resolver = Table::new().with_addresses(NAME, [any.ip()]).with_addresses("l.shop.example", [any.ip()]);
    let world = World { clock: clock.clone(), ids: IdSource::seeded(3), resolver: Arc::new(resolver) };
    let app = App::start(&settings, world).await.unwrap();
    let (store, port) = (app.store().clone(), app.addresses.of("https").unwrap().port());
    let tenant = store.tenant("default").await.unwrap().unwrap();
    let agent = store.agent(tenant.id, "default").await.unwrap().unwrap();

    let standing = async |host: &str| {
        let hosts = store.tracking_hosts().await.unwrap();
        hosts.into_iter().find(|known| known.host == host).unwrap()
    };
    // The second has a name that the certificate does not have.
    for (host, domain) in
        [(format!("{NAME}:{port}"), "shop.example"), (format!("l.shop.example:{port}"), "example.org")]
    {
        let host = TrackingHost {
            host: host.clone(),
            tenant: tenant.id,
            agent: agent.id,
            domain: domain.into(),
            apple_links: String::new(),
            android_links: String::new(),
            checked_at: None,
            fault: String::new(),
            created_at: START,
            created_by: String::new(),
        };
        store.add_tracking_host(host).await.unwrap();
    }
    while store.tracking_hosts().await.unwrap().iter().any(|host| host.checked_at.is_none()) {
        clock.advance(Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
    let bad = standing(&format!("l.shop.example:{port}")).await;
    assert!(!bad.is_ready() && bad.fault.starts_with("TLS"), "{}", bad.fault);
    let good = standing(&format!("{NAME}:{port}")).await;
    assert!(good.is_ready(), "{}", good.fault);

    let (door, key) = (app.addresses.of("http").unwrap(), app.first_run.as_ref().unwrap().api_key.reveal().to_owned());
    let send = |from: &str| {
        let mail = format!(r#"{{"from":"{from}","to":"reader@example.com","subject":"s","html":"<p>Hi</p>"}}"#);
        let answer = post(door, "/api/v1/emails", &key, &mail).unwrap();
        let sent: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        sent["id"].as_str().unwrap().parse::<MessageId>().unwrap()
    };
    // Both are known to the doors within the round in which they were checked, or the next.
    let mut base_url = String::from("none");
    while base_url != good.base_url() {
        clock.advance(Duration::from_secs(5));
        base_url = store.message(send("a@shop.example")).await.unwrap().unwrap().facts.tracking.base_url;
    }
    assert_eq!(store.message(send("a@example.org")).await.unwrap().unwrap().facts.tracking.base_url, "");

    // With a certificate of its own it passes, and the first goes on with the door's.
    tls::hosts::put(folder.path(), &bad.host, &other.0, &other.1).unwrap();
    app.reload();
    while !standing(&bad.host).await.is_ready() || base_url != bad.base_url() {
        clock.advance(Duration::from_secs(60));
        base_url = store.message(send("a@example.org")).await.unwrap().unwrap().facts.tracking.base_url;
    }
    clock.advance(Duration::from_secs(900));
    while standing(&good.host).await.checked_at == good.checked_at {
        clock.advance(Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
    assert!(standing(&good.host).await.is_ready());
    app.stop().await;
}
