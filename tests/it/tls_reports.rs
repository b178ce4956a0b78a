//! Reports about TLS with other people's hosts (RFC 8460): what is counted on the way to true exchangers, kept on both
//! engines, and brought to a mailbox and a web server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postback::app::tls_reports::Sender;
use postback::clock::Clock;
use postback::egress::{Guard, Policy, Settings as Egress, Trust};
use postback::fetch::Fetcher;
use postback::ids::IdSource;
use postback::intake::provision;
use postback::mail::tls_report::Reporter;
use postback::model::delivery::State;
use postback::model::statistics::Day;
use postback::model::tls_session::{AppliedPolicy, FailedSession, PolicyType, ResultType, TlsSession};
use postback::store::retention::Keep;
use postback::store::tls_sessions::{CountedSessions, DUE_WITHIN, DueReport};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::exchanger::{Act, Script, say};
use crate::mx::{AWHILE, House};
use crate::support::engines::on_both_engines;
use crate::support::node::START;
use crate::support::tls::tls_of;

const DAY: Duration = Duration::from_secs(86_400);
/// Domains that ask for reports, and what more it takes to count sessions with some.
const RECORDS: &str = "try.example. MX 10 try.test.\ntry.test. A 127.0.0.1\n_mta-sts.try.example. TXT \"v=STSv1; id=1\"\n\
    mta-sts.try.example. A 127.0.0.1\n\
    lost.example. MX 10 lost.test.\nlost.test. A 127.0.0.1\n_mta-sts.lost.example. TXT \"v=STSv1; id=1\"\n\
    cut.example. MX 10 cut.test.\ncut.test. A 127.0.0.1\n\
    reports.example. A 127.0.0.1\n";

/// A web server that takes reports: the first with 503, the others with 201.
struct Taker {
    port: u16,
    certificate: String,
    taken: Mutex<mpsc::UnboundedReceiver<(String, Vec<u8>)>>,
    _listening: JoinSet<()>,
}

impl Taker {
    async fn start() -> Self {
        let (acceptor, certificate) = tls_of(&["reports.example"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, taken) = mpsc::unbounded_channel();
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut statuses = ["503 Service Unavailable"].into_iter();
            while let Ok((socket, _)) = listener.accept().await {
                let mut stream = acceptor.accept(socket).await.unwrap();
                let mut request = Vec::new();
                let (head, length) = loop {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
                    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                    let head = String::from_utf8(request[..end].to_vec()).unwrap().to_lowercase();
                    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
                    break (head.clone(), end + 4 + length.parse::<usize>().unwrap());
                };
                while request.len() < length {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
                }
                tell.send((head.clone(), request.split_off(length - body_of(&head)))).unwrap();
                let status = statuses.next().unwrap_or("201 Created");
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.flush().await;
            }
        });
        Self { port, certificate, taken: Mutex::new(taken), _listening: listening }
    }

    /// What was posted last, and nothing else was.
    fn taken(&self) -> (String, Vec<u8>) {
        let mut taken = self.taken.lock().unwrap();
        let one = taken.try_recv().unwrap();
        assert!(taken.try_recv().is_err());
        one
    }
}

/// The length of the body that a head announces.
fn body_of(head: &str) -> usize {
    head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap()
}

/// What a compressed report says. The stream stands between a head of ten bytes and a tail of eight (RFC 1952).
fn read(file: &[u8]) -> Value {
    let stream = &file[10..file.len() - 8];
    serde_json::from_slice(&miniz_oxide::inflate::decompress_to_vec(stream).unwrap()).unwrap()
}

fn sender(house: &House, taker: &Taker) -> Arc<Sender> {
    let allow = vec![format!("name:reports.example:{}", taker.port)];
    let policy = Policy::new(&Egress { allow, ..Egress::default() }).unwrap();
    let guard = Arc::new(Guard::new(policy, house.resolver()));
    let trust = Trust::open(Some(&house.file("taker.pem", &taker.certificate))).unwrap();
    let from = "tls@acme.example".parse().unwrap();
    Arc::new(Sender {
        reporter: Reporter { organization: "Acme".into(), contact: "postmaster@acme.example".into(), from },
        store: house.node.store.clone(),
        clock: house.node.clock.clone(),
        ids: house.node.ids.clone(),
        resolver: house.resolver(),
        fetcher: Fetcher::new(guard, trust.client()),
    })
}

/// What was counted of a domain on the first day, as policy type, result, host and code.
async fn counted(house: &House, domain: &str) -> Vec<(PolicyType, Option<ResultType>, String, u64)> {
    let counted = house.node.store.tls_sessions(domain, Day::of(START)).await.unwrap();
    let told = |CountedSessions { session: TlsSession { policy, failure }, sessions, .. }: CountedSessions| {
        let result = failure.as_ref().map(|failure| failure.result_type);
        let code = failure.map(|failed| format!("{} {}", failed.receiving_mx_hostname, failed.failure_reason_code));
        (policy.policy_type, result, code.unwrap_or_default().trim_end().to_owned(), sessions)
    };
    counted.into_iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_session_is_counted_by_its_policy() {
    use PolicyType::{NoPolicyFound, Sts, Tlsa};
    let house = House::build_with(RECORDS).await;
    let worker = house.start(&house.settings()).await;
    let domains = ["good", "sts", "out", "try", "lost", "dane", "odd", "wrong"];
    for domain in domains {
        house.sent(&format!("a@{domain}.example")).await;
    }
    // Over the same connection: no further session.
    house.sent("b@good.example").await;
    house.exchanger.now_on(Script::polite());
    house.sent("a@d.plain").await;
    for (domain, act) in [("implicit", say("454 4.7.0 not now")), ("cut", Act::Cut(b"220 go ahead\r\n".to_vec()))] {
        house.exchanger.now_on(Script::offering(&["STARTTLS"]).on("STARTTLS", act));
        let (view, attempt) = house.sent(&format!("a@{domain}.example")).await;
        assert_eq!(view.delivery.state, State::Delivered, "{attempt:#?}");
    }
    worker.drain(AWHILE).await;
    let expected = BTreeMap::from([
        ("good.example", (NoPolicyFound, None, "")),
        ("sts.example", (Sts, None, "")),
        ("out.example", (Sts, Some(ResultType::ValidationFailure), "other.test mx-not-in-policy")),
        ("try.example", (Sts, Some(ResultType::CertificateHostMismatch), "try.test")),
        ("lost.example", (Sts, Some(ResultType::StsPolicyFetchError), "lost.test unreachable")),
        ("dane.example", (Tlsa, None, "")),
        ("odd.example", (Tlsa, Some(ResultType::TlsaInvalid), "odd.test")),
        ("wrong.example", (Tlsa, Some(ResultType::CertificateNotTrusted), "wrong.test no-tlsa-record-matches")),
        ("implicit.example", (NoPolicyFound, Some(ResultType::StarttlsNotSupported), "implicit.example starttls-454")),
        ("cut.example", (NoPolicyFound, Some(ResultType::ValidationFailure), "cut.test connection-broken")),
        ("d.plain", (NoPolicyFound, Some(ResultType::StarttlsNotSupported), "mx.plain")),
    ]);
    for (domain, (kind, result, code)) in expected {
        assert_eq!(counted(&house, domain).await, [(kind, result, code.to_owned(), 1)], "{domain}");
    }
    let [sts, dane] =
        ["sts.example", "dane.example"].map(|domain| house.node.store.tls_sessions(domain, Day::of(START)));
    let policy = sts.await.unwrap().remove(0).session.policy;
    assert_eq!(policy.policy_string, ["version: STSv1", "mode: enforce", "mx: mx.test", "max_age: 86400"]);
    assert_eq!((policy.policy_domain.as_str(), policy.mx_host), ("sts.example", vec!["mx.test".to_owned()]));
    let policy = dane.await.unwrap().remove(0).session.policy;
    assert!(policy.policy_domain == "dane.test" && policy.policy_string[0].starts_with("3 0 1 "), "{policy:?}");
    let failed = house.node.store.tls_sessions("try.example", Day::of(START)).await.unwrap().remove(0).session.failure;
    let failed = failed.unwrap();
    assert_eq!([failed.sending_mta_ip, failed.receiving_ip], ["127.0.0.1".parse().ok(); 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_mailed_and_posted_once() {
    let taker = Taker::start().await;
    let port = taker.port;
    // What is said of TLS there would keep any other mail from it.
    let wanted = format!("v=TLSRPTv1; rua=mailto:tls%2Breports@wrong.example,https://reports.example:{port}/v1?a=b");
    let records = format!("{RECORDS}_smtp._tls.good.example. TXT \"{wanted}\"\n");
    let house = House::build_with(&records).await;
    let store = &house.node.store;
    let worker = house.start(&house.settings()).await;
    for domain in ["good", "dane"] {
        house.sent(&format!("a@{domain}.example")).await;
        house.exchanger.next().await;
    }
    worker.drain(AWHILE).await;
    let sender = sender(&house, &taker);
    sender.round().await.unwrap();
    let due = Day::of(START).next().start() + DUE_WITHIN;
    house.node.clock.advance(due.since(START));
    // Nobody signs for the domain yet: only the web server is asked, and it is not ready.
    sender.round().await.unwrap();
    assert_eq!(store.due_tls_reports(10).await.unwrap(), []);
    let (head, posted) = taker.taken();
    assert!(head.starts_with("post /v1?a=b http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/tlsrpt+gzip"), "{head}");
    store.add_domain(house.node.agent, "acme.example").await.unwrap();
    for (key, pkcs8) in
        provision::signing_keys(house.node.tenant, "acme.example", &house.node.clock, &IdSource::seeded(9)).unwrap()
    {
        store.add_signing_key(&key, &pkcs8).await.unwrap();
        assert!(store.begin_signing(&key).await.unwrap());
    }
    house.node.clock.advance(Duration::from_secs(300));
    // Two nodes look at one time.
    let (one, two) = tokio::join!(sender.round(), sender.round());
    one.and(two).unwrap();
    assert_eq!(taker.taken().1, posted, "the same report, byte for byte");
    let report = read(&posted);
    let policy = json!({"policy-type": "no-policy-found", "policy-domain": "good.example"});
    let summary = json!({"total-successful-session-count": 1, "total-failure-session-count": 0});
    assert_eq!(report["policies"], json!([{"policy": policy, "summary": summary}]));
    assert_eq!(report["report-id"], "2027-01-15.good.example@acme.example");
    let worker = house.start(&house.settings()).await;
    let mail = house.exchanger.next().await;
    worker.drain(AWHILE).await;
    assert_eq!(house.exchanger.mails().len(), 3);
    assert!(mail.mail.starts_with("MAIL FROM:<>"), "{}", mail.mail);
    assert_eq!(mail.rcpt, "RCPT TO:<tls+reports@wrong.example>");
    let content = String::from_utf8(mail.content).unwrap();
    assert!(content.starts_with("DKIM-Signature: ") && content.contains("d=acme.example;"), "{content}");
    assert!(content.contains("\r\nTLS-Report-Domain: good.example\r\nTLS-Report-Submitter: acme.example\r\n"));
    let encoded = content.split("json.gz\"\r\n\r\n").nth(1).unwrap().split("\r\n--").next().unwrap();
    assert_eq!(STANDARD.decode(encoded.replace("\r\n", "")).unwrap(), posted);
    // It is not counted itself, and was tried whatever DANE says.
    let today = Day::of(house.node.clock.now());
    assert_eq!(store.tls_sessions("wrong.example", today).await.unwrap(), []);

    // Whoever has it gets no second one.
    house.node.clock.advance(DAY * 2);
    sender.round().await.unwrap();
    assert!(taker.taken.lock().unwrap().try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_nobody_takes_is_given_up_after_a_day() {
    let taker = Taker::start().await;
    let records = format!("{RECORDS}_smtp._tls.good.example. TXT \"v=TLSRPTv1; rua=https://reports.example/\"\n");
    let house = House::build_with(&records).await;
    let store = &house.node.store;
    let session = CountedSessions {
        day: Day::of(START),
        domain: "good.example".into(),
        session: TlsSession { policy: policy("good.example"), failure: None },
        sessions: 1,
    };
    store.add_tls_sessions(vec![session]).await.unwrap();
    let sender = sender(&house, &taker);
    house.node.clock.advance(DAY);
    let mut tries = 0;
    for _ in 0..50 {
        house.node.clock.advance(Duration::from_secs(3600));
        tries += store.due_tls_reports(10).await.unwrap().len();
        sender.round().await.unwrap();
    }
    assert!((8..20).contains(&tries), "{tries}");
    house.node.clock.advance(DAY * 5);
    assert_eq!(store.due_tls_reports(10).await.unwrap(), []);
}

fn policy(domain: &str) -> AppliedPolicy {
    let (policy_type, policy_domain) = (PolicyType::NoPolicyFound, domain.to_owned());
    AppliedPolicy { policy_type, policy_string: Vec::new(), policy_domain, mx_host: Vec::new() }
}

on_both_engines! {
    async fn counts_add_up_and_one_node_has_a_report_in_hand(engine: &Engine) {
        let clock = Clock::standing(START);
        let (store, other) = (engine.store("node-1", &clock).await, engine.store("node-2", &clock).await);
        let day = Day::of(START);
        let failure = FailedSession {
            result_type: ResultType::CertificateExpired,
            sending_mta_ip: Some("2001:db8::1".parse().unwrap()),
            receiving_mx_hostname: "mx.example.com".into(),
            receiving_ip: None,
            failure_reason_code: String::new(),
        };
        let count = |domain: &str, failure: Option<&FailedSession>, sessions| CountedSessions {
            day,
            domain: domain.to_owned(),
            session: TlsSession { policy: policy(domain), failure: failure.cloned() },
            sessions,
        };
        let (good, bad) = (count("example.com", None, 5), count("example.com", Some(&failure), 1));
        store.add_tls_sessions(vec![good.clone(), bad.clone(), count("example.net", None, 1)]).await.unwrap();
        other.add_tls_sessions(vec![bad.clone(), good.clone()]).await.unwrap();
        let both = [CountedSessions { sessions: 10, ..good }, CountedSessions { sessions: 2, ..bad }];
        assert_eq!(store.tls_sessions("example.com", day).await.unwrap(), both);
        assert_eq!(store.tls_sessions("example.com", day.next()).await.unwrap(), []);
        assert_eq!(store.due_tls_reports(10).await.unwrap(), []);

        clock.advance(DAY + DUE_WITHIN);
        let due = store.due_tls_reports(10).await.unwrap();
        assert_eq!(due.len(), 2);
        let report = due.into_iter().find(|report| report.domain == "example.com").unwrap();
        assert!((report.day, report.attempts) == (day, 0) && report.readers.is_none(), "{report:?}");
        let until = clock.now() + Duration::from_secs(60);
        let (one, two) = tokio::join!(store.claim_tls_report(&report, until), other.claim_tls_report(&report, until));
        assert_eq!([one.unwrap(), two.unwrap()].into_iter().filter(|has_it| *has_it).count(), 1);
        let left = DueReport { readers: Some(vec!["mailto:a@example.com".into()]), ..report };
        store.leave_tls_report(&left, Some(until)).await.unwrap();
        clock.advance(Duration::from_secs(60));
        let due = other.due_tls_reports(10).await.unwrap();
        let again = due.iter().find(|report| report.domain == "example.com").unwrap();
        assert_eq!(*again, DueReport { due_at: until, attempts: 1, ..left });
        store.leave_tls_report(again, None).await.unwrap();
        assert_eq!(store.due_tls_reports(10).await.unwrap().len(), 1);

        let days = |days| DAY * days;
        clock.advance(days(30));
        let keep = Keep { messages: days(90), events: days(90), reports: days(30), webhook_log: days(14) };
        store.forget_little(keep).await.unwrap();
        assert_eq!(store.tls_sessions("example.com", day).await.unwrap(), []);
        assert_eq!(store.due_tls_reports(10).await.unwrap(), []);
    }
}
