//! The table of URLs that an attacker would try, one row after the other, and what only DNS can show.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::dns::Table;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn check(rows: &[(u8, &[&str], &str)]) {
    for (row, urls, expected) in rows {
        for url in *urls {
            let line = inspect_line(url);
            let verdict = line["rule"].as_str().unwrap_or("ok");
            assert_eq!(verdict, *expected, "row {row}: {url:?}");
            assert_eq!(line["verdict"], if *expected == "ok" { "ok" } else { "refused" });
            assert_eq!(line["url"], *url);
        }
    }
}

#[test]
fn hosts_that_are_fine() {
    check(&[
        (1, &["https://example.com/hook"], "ok"),
        (2, &["https://example.com:8443/hook"], "ok"),
        (3, &["https://example.com:443/"], "ok"),
        (4, &["https://93.184.216.34/hook"], "ok"),
        (5, &["https://[2606:4700:4700::1111]/hook"], "ok"),
        (6, &["http://ⓔⓧⓐⓜⓟⓛⓔ.com/"], "ok"),
        (7, &["http://ß.example/"], "NAME"),
        (8, &["http://example.com./"], "ok"),
        (9, &["http://172.32.0.1/"], "ok"),
        (10, &["http://100.128.0.1/"], "ok"),
    ]);
}

#[test]
fn loopback_in_all_spellings() {
    check(&[
        (11, &["http://127.0.0.1/"], "IP"),
        (12, &["http://127.1/"], "IP"),
        (13, &["http://127.0.1/"], "IP"),
        (14, &["http://0/"], "IP"),
        (15, &["http://0.0.0.0:8080/"], "IP"),
        (16, &["http://2130706433/"], "IP"),
        (17, &["http://0x7f000001/"], "IP"),
        (18, &["http://0x7f.0x0.0x0.0x1/"], "IP"),
        (19, &["http://0177.0.0.1/"], "IP"),
        (20, &["http://017700000001/"], "IP"),
        (21, &["http://127.0.0.1./"], "IP"),
        (22, &["http://127.0.0.01/"], "IP"),
        (23, &["http://①②⑦.⓪.⓪.①/"], "IP"),
        (24, &["http://127。0。0。1/"], "IP"),
        (25, &["http://%31%32%37.0.0.1/"], "IP"),
        (26, &["http://127%2e0%2e0%2e1/"], "IP"),
        (27, &["http://[::1]/", "http://[0:0:0:0:0:0:0:1]/"], "IP"),
        (28, &["http://[::]/"], "IP"),
    ]);
}

#[test]
fn ipv6_that_means_something_else() {
    check(&[
        (29, &["http://[::ffff:127.0.0.1]/"], "IP"),
        (30, &["http://[::ffff:169.254.169.254]/"], "IP"),
        (31, &["http://[::ffff:8.8.8.8]/"], "IP"),
        (32, &["http://[::127.0.0.1]/"], "IP"),
        (33, &["http://[::ffff:0:7f00:1]/"], "IP"),
        (34, &["http://[::5efe:7f00:1]/"], "IP"),
        (35, &["http://[64:ff9b::7f00:1]/"], "IP"),
        (36, &["http://[64:ff9b::a9fe:a9fe]/"], "IP"),
        (37, &["http://[64:ff9b::808:808]/"], "IP"),
        (38, &["http://[64:ff9b:1::1]/"], "IP"),
        (39, &["http://[2002:7f00:1::1]/"], "IP"),
        (40, &["http://[2002:a9fe:a9fe::1]/"], "IP"),
        (41, &["http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/"], "IP"),
        (42, &["http://[fe80::1]/", "http://[febf::1]/"], "IP"),
        (43, &["http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/"], "PARSE"),
        (44, &["http://[fec0::1]/"], "IP"),
        (45, &["http://[fc00::1]/"], "IP"),
        (46, &["http://[fd00:ec2::254]/"], "IP"),
        (47, &["http://[fd20:ce::254]/"], "IP"),
        (48, &["http://[fd7a:115c:a1e0::1]/"], "IP"),
        (49, &["http://[ff02::1]/", "http://[ff0e::1]/"], "IP"),
        (50, &["http://[100::1]/", "http://[100:0:0:1::1]/"], "IP"),
        (51, &["http://[2001:db8::1]/", "http://[3fff::1]/"], "IP"),
        (52, &["http://[5f00::1]/"], "IP"),
        (53, &["http://[v1.fe80::a]/", "http://::1/", "http://[127.0.0.1]/"], "PARSE"),
    ]);
}

#[test]
fn metadata_private_ranges_and_names() {
    check(&[
        (54, &["http://169.254.169.254/latest/meta-data/"], "IP"),
        (55, &["http://2852039166/", "http://0xA9FEA9FE/", "http://0251.0376.0251.0376/"], "IP"),
        (56, &["http://169.254.170.2/v2/credentials"], "IP"),
        (57, &["http://100.100.100.200/latest/meta-data/"], "IP"),
        (58, &["http://192.0.0.192/"], "IP"),
        (59, &["http://168.63.129.16/"], "IP"),
        (60, &["http://metadata.google.internal/"], "NAME"),
        (61, &["http://10.0.0.1/", "http://172.31.255.255/", "http://192.168.1.1/"], "IP"),
        (62, &["http://100.64.0.1/"], "IP"),
        (63, &["http://198.18.0.1/", "http://192.88.99.1/", "http://192.0.2.1/"], "IP"),
        (64, &["http://224.0.0.1/", "http://239.255.255.250:1900/"], "IP"),
        (65, &["http://240.0.0.1/", "http://255.255.255.255/"], "IP"),
        (66, &["http://localhost/", "http://LOCALHOST./", "http://foo.localhost/"], "NAME"),
        (67, &["http://printer.local/", "http://a.internal/", "http://router.home.arpa/", "http://xyz.onion/"], "NAME"),
        (68, &["http://example/", "http://host.docker.internal/"], "NAME"),
        (68, &["http://kubernetes.default.svc/"], "ok"),
        (69, &["http://localhost.localdomain/", "http://127.0.0.1.nip.io/"], "ok"),
    ]);
}

#[test]
fn text_that_parsers_read_differently() {
    check(&[
        (76, &["http://user:pass@example.com/"], "USER"),
        (77, &["http://example.com@127.0.0.1/"], "USER"),
        (78, &["http://127.0.0.1@example.com/", "http://@example.com/", "http:///@example.com/"], "USER"),
        (79, &["http://example.com:80@169.254.169.254/"], "USER"),
        (80, &["http://127.0.0.1#@example.com/"], "IP"),
        (81, &["http://example.com#@127.0.0.1/"], "ok"),
        (82, &["http://example.com\\@127.0.0.1/"], "CHAR"),
        (83, &["http:\\\\127.0.0.1\\"], "CHAR"),
        (83, &["http:127.0.0.1/", "http:///127.0.0.1/"], "IP"),
        (
            84,
            &["http://exa\tmple.com/", "http://exam\nple.com/", " http://example.com/", "http://example.com/ "],
            "CHAR",
        ),
        (85, &["http://example.com/\r\nX-Injected: 1"], "CHAR"),
        (86, &["http://exa mple.com/", "http://example.com%0d%0aHost:evil/"], "CHAR"),
        (87, &["http://127.0.0.1%00.example.com/"], "PARSE"),
        (88, &["http://256.256.256.256/", "http://1.2.3.4.5/", "http://0x100000000/", "http://4294967296/"], "PARSE"),
        (89, &["http://example.com:0/", "http://example.com:22/", "http://example.com:25/"], "PORT"),
        (89, &["http://example.com:465/", "http://example.com:6000/"], "PORT"),
        (90, &["http://example.com:65536/", "http://example.com:099999/"], "PARSE"),
        (
            91,
            &["ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_", "javascript:alert(1)"],
            "SCHEME",
        ),
        (91, &["data:text/plain,hi", "ws://example.com/", "unix:///var/run/docker.sock"], "SCHEME"),
        (91, &["http+unix://%2Fvar%2Frun%2Fdocker.sock/info"], "SCHEME"),
        (92, &["//example.com/hook", "/hook", "example.com/hook", "http://", "https://", ""], "PARSE"),
        (93, &["http://.example.com/", "http://example..com/", "http://example.com../"], "NAME"),
        (94, &["http://xn--/", "http://xn--a/"], "PARSE"),
        (95, &["http://ex_ample.com/", "http://-example.com/"], "ok"),
    ]);
}

#[test]
fn a_url_may_be_so_long_and_no_longer() {
    let of = |bytes: usize| format!("https://example.com/{}", "a".repeat(bytes - 20));
    check(&[(0, &[&of(URL_BYTES_MAX)], "ok"), (0, &[&of(URL_BYTES_MAX + 1)], "PARSE")]);
}

#[test]
fn what_is_sent_is_the_normal_form() {
    let policy = Policy { allow_http: true, ..Policy::default() };
    let sent = |text: &str| policy.judge_url(text).unwrap().url().to_string();
    assert_eq!(sent("HTTP://ⓔⓧⓐⓜⓟⓛⓔ.com.:80/a/../b?x#y"), "http://example.com/b?x");
    assert_eq!(sent("https://EXAMPLE.com:443"), "https://example.com/");
}

/// Row 100, and what the operator may and may not open.
#[test]
fn exceptions() {
    let settings = Settings {
        allow: [
            "10.20.0.0/16:443,8080",
            "169.254.0.0/16",
            "0.0.0.0/0:7",
            "name:billing.corp.internal",
            "name:box:8080",
        ]
        .map(str::to_owned)
        .to_vec(),
        deny: vec!["10.20.9.0/24".to_owned(), "8.8.8.0/24".to_owned()],
        i_understand_open_egress: true,
        ..Settings::default()
    };
    let untold = Policy::new(&Settings { i_understand_open_egress: false, ..settings.clone() }).unwrap_err();
    assert!(untold.to_string().starts_with("egress: \"0.0.0.0/0:7\" lets webhooks reach"), "{untold}");
    let policy = Policy::new(&settings).unwrap().with_own(["93.184.216.34:9080".parse().unwrap()]);
    let check = |url: &str, expected: Result<(), Rule>| {
        assert_eq!(policy.judge_url(url).map(drop).map_err(|refused| refused.rule), expected, "{url}");
    };
    check("https://10.20.1.1/", Ok(()));
    check("http://10.20.1.1:8080/", Ok(()));
    check("https://10.20.1.1:8443/", Err(Rule::Ip));
    check("https://10.20.9.1/", Err(Rule::Ip));
    check("https://8.8.8.8/", Err(Rule::Ip));
    check("https://[::ffff:8.8.8.8]/", Err(Rule::Ip));
    check("https://169.254.1.1/", Ok(()));
    check("https://169.254.169.254/", Err(Rule::Metadata));
    check("http://93.184.216.34/", Err(Rule::Scheme));
    check("https://93.184.216.34:9080/", Err(Rule::Own));
    check("https://93.184.216.34:9081/", Ok(()));
    check("https://billing.corp.internal:8443/", Ok(()));
    check("http://billing.corp.internal/", Ok(()));
    check("http://box:8080/", Ok(()));
    check("http://box:8081/", Err(Rule::Name));
    check("https://other.corp.internal/", Err(Rule::Name));

    for allow in [["0.0.0.0/1", "128.0.0.0/1"], ["name:x.corp", "::ffff:0:0/96"]] {
        let halves = Settings { allow: allow.map(str::to_owned).to_vec(), ..Settings::default() };
        assert!(Policy::new(&halves).unwrap_err().to_string().contains("i_understand_open_egress"), "{allow:?}");
    }
    let allow = ["0.0.0.0/0", "::/0"].map(str::to_owned).to_vec();
    let everything = Settings { allow, i_understand_open_egress: true, ..Settings::default() };
    let everything = Policy::new(&everything).unwrap();
    for metadata in [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "[fd00:ec2::254]",
        "[fd00:ec2::23]",
        "[fd20:ce::254]",
    ] {
        let refused = everything.judge_url(&format!("https://{metadata}/")).unwrap_err();
        assert_eq!(refused.rule, Rule::Metadata, "{metadata}");
    }

    let strict = Policy::new(&Settings::default()).unwrap();
    assert_eq!(strict.judge_url("http://example.com/"), Err(Refused { rule: Rule::Scheme }));
    let open = Settings { allow_metadata: true, allow: vec!["169.254.169.254".to_owned()], ..Settings::default() };
    assert!(Policy::new(&open).unwrap().judge_url("http://169.254.169.254/").is_ok());
    let bad = Settings { allow: vec!["name:".to_owned()], ..Settings::default() };
    assert_eq!(Policy::new(&bad).unwrap_err().to_string(), "egress: \"name:\" does not name a host");
}

#[test]
fn capture_mode_reaches_this_machine_but_not_our_own_doors() {
    let policy = Policy::default().capturing().with_own(["0.0.0.0:9080".parse().unwrap()]);
    let check = |url: &str, expected: Result<(), Rule>| {
        assert_eq!(policy.judge_url(url).map(drop).map_err(|refused| refused.rule), expected, "{url}");
    };
    check("http://127.0.0.1:3000/hook", Ok(()));
    check("http://[::1]:3000/hook", Ok(()));
    check("http://localhost:3000/hook", Ok(()));
    check("http://shop.test/hook", Ok(()));
    check("https://93.184.216.34/", Ok(()));
    check("http://93.184.216.34/", Err(Rule::Scheme));
    check("http://10.0.0.1/", Err(Rule::Ip));
    check("http://[::ffff:127.0.0.1]:3000/", Err(Rule::Ip));
    check("http://127.0.0.1:9080/", Err(Rule::Own));
    check("http://127.0.0.1:22/", Err(Rule::Port));
}

#[test]
fn the_answer_of_a_dns64_is_judged_as_what_it_stands_for() {
    let policy = Policy::default();
    assert_eq!(policy.judge_address(ip("64:ff9b::808:808"), 443), Ok(Access::Public));
    for bad in ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b:1::808:808", "::ffff:8.8.8.8"] {
        assert!(policy.judge_address(ip(bad), 443).is_err(), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn nat64_inherits_the_verdict_of_what_is_behind_it(bits: u32) {
        let policy = Policy::default();
        let behind = policy.judge_address(std::net::Ipv4Addr::from_bits(bits).into(), 443);
        let front = ip(&format!("64:ff9b::{:x}:{:x}", bits >> 16, bits & 0xffff));
        proptest::prop_assert_eq!(policy.judge_address(front, 443), behind);
    }

    #[test]
    fn no_text_makes_the_judge_stumble(text in "\\PC{0,40}", host in "[0-9a-fx.:%\\[\\]@/\\\\ ]{0,20}") {
        for url in [text.clone(), format!("http://{text}"), format!("http://{host}/")] {
            if let Ok(vetted) = Policy::default().capturing().judge_url(&url) {
                proptest::prop_assert!(!vetted.host().is_empty() && vetted.url().username().is_empty());
            }
        }
    }
}

async fn pinned(resolver: Table, url: &str) -> Result<Vec<String>, Failure> {
    let policy = Policy { allow_http: true, ..Policy::default() };
    let limits = Limits { dns: Duration::from_millis(20), ..Limits::default() };
    let guard = Guard::new(policy, Arc::new(resolver)).with_limits(limits);
    let vetted = guard.vet(url)?;
    let pinned = guard.pin(&vetted).await?;
    Ok(pinned.addresses().iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn what_only_dns_shows() {
    const BLOCKED: Failure = Failure::Refused(Refused { rule: Rule::Ip });
    let many = (1..=200).map(|last| IpAddr::from([8, 8, 8, last]));
    let table = || {
        Table::new()
            .with_addresses("good.com", [ip("8.8.8.8"), ip("2606:4700::1")])
            .with_addresses("row69.com", [ip("127.0.0.1")])
            .with_addresses("row70.com", [ip("8.8.8.8"), ip("127.0.0.1")])
            .with_addresses("row71.com", [ip("8.8.8.8"), ip("fe80::1")])
            .with_addresses("row73.com", [ip("10.0.0.5")])
            .with_addresses("row74.com", many.clone())
            .with_silence("row75.com")
    };
    let good = Ok(vec!["8.8.8.8:443".to_owned(), "[2606:4700::1]:443".to_owned()]);
    assert_eq!(pinned(table(), "https://good.com./").await, good);
    for row in [69, 70, 71, 73, 74] {
        assert_eq!(pinned(table(), &format!("https://row{row}.com/")).await, Err(BLOCKED), "row {row}");
    }
    assert_eq!(pinned(table(), "https://row75.com/").await, Err(Failure::DnsTimeout));
    assert_eq!(pinned(table(), "https://nobody.com/").await, Err(Failure::NoSuchName));
}

/// Row 72: the address that was judged is the one connected to, and the next attempt judges anew.
#[tokio::test]
async fn a_name_cannot_change_its_mind_between_judgement_and_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let turns = [vec![ip("127.0.0.1")], vec![ip("10.0.0.1")]];
    let resolver = Arc::new(Table::new().with_addresses_in_turn("rebinding.test", turns));
    let guard = Guard::new(Policy::default().capturing(), resolver.clone());
    let vetted = guard.vet(&format!("http://rebinding.test:{port}/")).unwrap();
    let first = guard.pin(&vetted).await.unwrap();
    let stream = guard.connect(&first).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    assert_eq!(resolver.asked().len(), 1);
    assert!(matches!(guard.pin(&vetted).await, Err(Failure::Refused(_))));
}

/// What is told when a webhook is registered, in capture mode too.
#[tokio::test]
async fn admission_asks_dns_as_well() {
    let resolver = Table::new()
        .with_addresses("public.com", [ip("8.8.8.8")])
        .with_addresses("private.com", [ip("10.0.0.5")])
        .with_addresses("metadata.com", [ip("169.254.169.254")])
        .with_silence("silent.com");
    let policy = Policy::default().capturing().with_own(["0.0.0.0:9080".parse().unwrap()]);
    let limits = Limits { dns: Duration::from_millis(20), ..Limits::default() };
    let guard = Guard::new(policy, Arc::new(resolver)).with_limits(limits);
    for (url, expected) in [
        ("https://public.com/", Ok(())),
        ("http://public.com/", Err(Rule::Scheme)),
        ("https://private.com/", Err(Rule::Ip)),
        ("https://metadata.com/", Err(Rule::Metadata)),
        ("https://silent.com/", Ok(())),
        ("http://silent.com/", Err(Rule::Scheme)),
        ("https://nobody.com/", Ok(())),
        ("http://nobody.com/", Err(Rule::Scheme)),
        ("http://localhost:3000/", Ok(())),
        ("http://localhost:9080/metrics", Err(Rule::Own)),
        ("http://127.0.0.1:9080/metrics", Err(Rule::Own)),
    ] {
        assert_eq!(guard.admit(url).await.map(drop).map_err(|refused| refused.rule), expected, "{url}");
    }
    assert_eq!(Rule::Own.as_str(), "IP");
    assert_eq!(Refused { rule: Rule::Own }.to_string(), "the URL leads to a door of Postback itself");
}

#[tokio::test]
async fn http_by_exception_needs_an_address_that_is_one() {
    let resolver = Table::new().with_addresses("public.test", [ip("8.8.8.8")]);
    let guard = Guard::new(Policy::default().capturing(), Arc::new(resolver));
    let vetted = guard.vet("http://public.test/").unwrap();
    assert_eq!(guard.pin(&vetted).await.unwrap_err(), Refused { rule: Rule::Scheme }.into());
    let vetted = guard.vet("http://localhost:3000/").unwrap();
    assert_eq!(guard.pin(&vetted).await.unwrap().access(), Access::Loopback);
}

#[tokio::test]
async fn a_named_exception_lifts_the_private_ranges_and_no_more() {
    let settings = Settings { allow: vec!["name:billing.corp.internal".to_owned()], ..Settings::default() };
    for (address, expected) in [
        ("10.0.0.5", Ok(Access::Exception)),
        ("169.254.169.254", Err(Refused { rule: Rule::Metadata }.into())),
        ("::ffff:169.254.169.254", Err(Refused { rule: Rule::Metadata }.into())),
    ] {
        let resolver = Table::new().with_addresses("billing.corp.internal", [ip(address)]);
        let guard = Guard::new(Policy::new(&settings).unwrap(), Arc::new(resolver));
        let vetted = guard.vet("http://billing.corp.internal/").unwrap();
        assert_eq!(guard.pin(&vetted).await.map(|pinned| pinned.access()), expected, "{address}");
    }
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let resolver = Table::new().with_addresses("two.test", [ip("127.0.0.9"), ip("127.0.0.1")]);
    let guard = Guard::new(Policy::default().capturing(), Arc::new(resolver));
    let vetted = guard.vet(&format!("http://two.test:{port}/")).unwrap();
    let both = guard.pin(&vetted).await.unwrap();
    // Bound, so that nobody else has the port, and not listening yet.
    assert_eq!(guard.connect(&both).await.unwrap_err(), Failure::ConnectRefused);
    let _listener = socket.listen(1).unwrap();
    assert!(guard.connect(&both).await.is_ok());
}

#[test]
fn a_new_policy_is_another_generation() {
    let guard = Guard::new(Policy::default(), Arc::new(Table::new()));
    assert_eq!(guard.vet("https://example.com/").unwrap().generation(), 0);
    guard.replace(Policy::default());
    assert_eq!(guard.vet("https://example.com/").unwrap().generation(), 1);
}
