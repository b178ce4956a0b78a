//! Who asks for reports, what one says field by field, and the mail that brings it.

use std::str::FromStr;

use super::*;
use crate::model::id::{AgentId, TenantId};
use crate::model::tenant::AgentSettings;
use crate::model::tls_session::{PolicyType, ResultType};

const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);

#[test]
fn who_wants_reports() {
    let check = |records: &[&str], expected: &[&str]| {
        let records: Vec<String> = records.iter().map(|record| (*record).to_owned()).collect();
        assert_eq!(readers(&records), expected, "{records:?}");
    };
    let (mail, web) = ("mailto:tls@example.com", "https://example.com/v1/tlsrpt");
    check(&["v=TLSRPTv1; rua=mailto:tls@example.com"], &[mail]);
    check(&["v=TLSRPTv1;rua=mailto:tls@example.com;"], &[mail]);
    check(&["v=TLSRPTv1 ;\trua=mailto:tls@example.com , https://example.com/v1/tlsrpt ; "], &[mail, web]);
    check(&["v=TLSRPTv1; later=on; rua=https://example.com/v1/tlsrpt; x.y-z_1=2"], &[web]);
    check(&["v=spf1 -all", "v=TLSRPTv1; rua=mailto:tls@example.com", "v=TLSRPTv2; rua=mailto:b@example.com"], &[mail]);
    // Two of them are none, and so is one that is not made of names and values.
    check(&["v=TLSRPTv1; rua=mailto:a@example.com", "v=TLSRPTv1; rua=mailto:b@example.com"], &[]);
    for bad in [
        "",
        "v=TLSRPTv1",
        "v=TLSRPTv1;",
        "v=TLSRPTv10; rua=mailto:tls@example.com",
        "V=TLSRPTv1; rua=mailto:tls@example.com",
        " v=TLSRPTv1; rua=mailto:tls@example.com",
        "rua=mailto:tls@example.com; v=TLSRPTv1",
        "v=TLSRPTv1; RUA=mailto:tls@example.com",
        "v=TLSRPTv1; rua",
        "v=TLSRPTv1; rua=",
        "v=TLSRPTv1; rua=mailto:tls@example.com;; x=y",
        "v=TLSRPTv1; rua=mailto:tls@example.com; x=a b",
        "v=TLSRPTv1; rua=mailto:tls@example.com; =y",
        "v=TLSRPTv1; rua=mailto:tls@example.com; -x=y",
        "v=TLSRPTv1; rua=mailto:t\u{e9}ls@example.com",
    ] {
        check(&[bad], &[]);
    }
    // What is not understood is passed over, and what is said twice is one.
    check(
        &["v=TLSRPTv1; rua=http://example.com/,mailto:,mailto:nobody,ftp://a.example,mailto:tls@example.com"],
        &[mail],
    );
    check(&["v=TLSRPTv1; rua=mailto:a@example.com!10m,mailto:tls@example.com,mailto:tls@example.com"], &[mail]);
    let many: Vec<String> = (0..20).map(|place| format!("mailto:a{place}@example.com")).collect();
    assert_eq!(readers(&[format!("v=TLSRPTv1; rua={}", many.join(","))]), many[..READERS_MAX]);
}

#[test]
fn where_uris_lead() {
    let mail = |address: &str| Some(Reader::Mail(address.parse().unwrap()));
    for (uri, expected) in [
        ("mailto:tls@example.com", mail("tls@example.com")),
        ("MailTo:tls%2Breports@Example.COM?subject=a=b", mail("tls+reports@example.com")),
        ("mailto:a%2Cb%21@example.com", Address::from_str("a,b!@example.com").ok().map(Reader::Mail)),
        ("mailto:tls%0d%0aBcc:x@example.com", None),
        ("mailto:%ff@example.com", None),
        ("HTTPS://example.com/x?y=z%2C", Some(Reader::Web("https://example.com/x?y=z%2C".parse().unwrap()))),
        ("https:", None),
        ("http://example.com/", None),
        ("example.com", None),
    ] {
        assert_eq!(Reader::of(uri), expected, "{uri}");
    }
    assert_eq!(Reader::of(&format!("https://example.com/{}", "a".repeat(URI_BYTES_MAX))), None);
}

fn policy(policy_type: PolicyType, domain: &str, lines: &[&str], hosts: &[&str]) -> AppliedPolicy {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    AppliedPolicy { policy_type, policy_domain: domain.into(), policy_string: owned(lines), mx_host: owned(hosts) }
}

fn failed(result_type: ResultType, host: &str, code: &str) -> Option<FailedSession> {
    Some(FailedSession {
        result_type,
        sending_mta_ip: Some("192.0.2.1".parse().unwrap()),
        receiving_mx_hostname: host.into(),
        receiving_ip: Some("2001:db8::25".parse().unwrap()),
        failure_reason_code: code.into(),
    })
}

fn sessions() -> Vec<(TlsSession, u64)> {
    let lines = ["version: STSv1", "mode: testing", "mx: *.example.net", "max_age: 86400"];
    let sts = policy(PolicyType::Sts, "example.net", &lines, &["*.example.net"]);
    let tlsa = policy(PolicyType::Tlsa, "mx1.example.net", &["3 1 1 0123"], &[]);
    let none = policy(PolicyType::NoPolicyFound, "example.net", &[], &[]);
    let expired = failed(ResultType::CertificateExpired, "mx1.example.net", "");
    let untrusted = failed(ResultType::CertificateNotTrusted, "mx2.example.net", "unknown-issuer");
    let unmet = FailedSession {
        sending_mta_ip: None,
        receiving_ip: None,
        ..failed(ResultType::ValidationFailure, "mx.example.org", "mx-not-in-policy").unwrap()
    };
    vec![
        (TlsSession { policy: none, failure: None }, 7),
        (TlsSession { policy: sts.clone(), failure: None }, 5326),
        (TlsSession { policy: sts.clone(), failure: expired }, 100),
        (TlsSession { policy: sts.clone(), failure: untrusted }, 2),
        (TlsSession { policy: sts, failure: Some(unmet) }, 1),
        (TlsSession { policy: tlsa, failure: None }, 3),
    ]
}

fn reporter() -> Reporter {
    let (organization, contact) = ("Acme \"Mail\" Ltd.".to_owned(), "postmaster@acme.example".to_owned());
    Reporter { organization, contact, from: "tls@mail.acme.example".parse().unwrap() }
}

#[test]
fn what_a_report_says() {
    let (reporter, sessions) = (reporter(), sessions());
    let report = Report { reporter: &reporter, domain: "example.net", day: Day::of(AT), sessions: &sessions };
    let details = |host: &str, kind: &str, code: &str, count: u64| {
        let code = if code.is_empty() { String::new() } else { format!(r#""failure-reason-code":"{code}","#) };
        format!(
            r#"{{"result-type":"{kind}","sending-mta-ip":"192.0.2.1","receiving-mx-hostname":"{host}",
            "receiving-ip":"2001:db8::25",{code}"failed-session-count":{count}}}"#
        )
    };
    let summary = |good: u64, bad: u64| {
        format!(r#""summary":{{"total-successful-session-count":{good},"total-failure-session-count":{bad}}}"#)
    };
    let expected = format!(
        r#"{{"organization-name":"Acme \"Mail\" Ltd.",
        "date-range":{{"start-datetime":"2027-01-15T00:00:00Z","end-datetime":"2027-01-15T23:59:59Z"}},
        "contact-info":"postmaster@acme.example","report-id":"2027-01-15.example.net@mail.acme.example",
        "policies":[
        {{"policy":{{"policy-type":"sts",
        "policy-string":["version: STSv1","mode: testing","mx: *.example.net","max_age: 86400"],
        "policy-domain":"example.net","mx-host":["*.example.net"]}},{},"failure-details":[{},{},
        {{"result-type":"validation-failure","receiving-mx-hostname":"mx.example.org",
        "failure-reason-code":"mx-not-in-policy","failed-session-count":1}}]}},
        {{"policy":{{"policy-type":"tlsa","policy-string":["3 1 1 0123"],"policy-domain":"mx1.example.net"}},{}}},
        {{"policy":{{"policy-type":"no-policy-found","policy-domain":"example.net"}},{}}}]}}"#,
        summary(5326, 103),
        details("mx1.example.net", "certificate-expired", "", 100),
        details("mx2.example.net", "certificate-not-trusted", "unknown-issuer", 2),
        summary(3, 0),
        summary(7, 0),
    );
    let compact: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(compact.to_string(), expected.split('\n').map(str::trim_start).collect::<String>());
}

#[test]
fn the_mail_that_brings_it() {
    let (reporter, sessions) = (reporter(), sessions());
    let report = Report { reporter: &reporter, domain: "example.net", day: Day::of(AT), sessions: &sessions };
    let agent = MailAgent {
        id: AgentId::from_bytes([2; 16]),
        tenant: TenantId::from_bytes([1; 16]),
        key: "key".into(),
        name: "default".into(),
        settings: AgentSettings::default(),
        created_at: AT,
        updated_at: None,
        authors: Default::default(),
    };
    let to: Address = "tls+reports@example.net".parse().unwrap();
    let plan = report.mail(&to, &agent, MessageId::from_bytes([3; 16]), AT);
    let facts = &plan.message.facts;
    assert!(facts.is_report && facts.tls == TlsWish::Waived && plan.events.is_empty());
    assert_eq!((&plan.deliveries[0].address, plan.deliveries[0].expires_at), (&to, AT + LIFETIME));
    let text = String::from_utf8(plan.content.to_vec()).unwrap();
    let (head, rest) = text.split_once("base64\r\n").unwrap();
    let expected = "From: <tls@mail.acme.example>\r\n\
        To: <tls+reports@example.net>\r\n\
        Subject: Report Domain: example.net Submitter: mail.acme.example Report-ID:\r\n \
        <2027-01-15.example.net@mail.acme.example>\r\n\
        Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n\
        Message-ID: <03030303030303030303030303030303@mail.acme.example>\r\n\
        Auto-Submitted: auto-generated\r\n\
        TLS-Report-Domain: example.net\r\n\
        TLS-Report-Submitter: mail.acme.example\r\n\
        TLS-Required: No\r\n\
        MIME-Version: 1.0\r\n\
        Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n \
        boundary=\"=_03030303030303030303030303030303\"\r\n\
        \r\n\
        --=_03030303030303030303030303030303\r\n\
        Content-Type: text/plain; charset=us-ascii\r\n\
        \r\n\
        This is a report about TLS from mail.acme.example to the mail hosts of\r\n\
        example.net, on 2027-01-15 (UTC).\r\n\
        \r\n\
        Sessions as they should be: 5336\r\n\
        Sessions that failed:       103\r\n\
        \r\n\
        --=_03030303030303030303030303030303\r\n\
        Content-Type: application/tlsrpt+gzip\r\n\
        Content-Transfer-Encoding: ";
    assert_eq!(head, expected);
    let (disposition, encoded) = rest.split_once("\r\n\r\n").unwrap();
    let name = "mail.acme.example!example.net!1799971200!1800057599.json.gz";
    assert_eq!(disposition, format!("Content-Disposition: attachment;\r\n filename=\"{name}\""));
    let (encoded, end) = encoded.split_once("\r\n--=_").unwrap();
    assert!(end.ends_with("--\r\n") && encoded.lines().all(|line| line.len() <= BASE64_LINE_BYTES));
    assert_eq!(STANDARD.decode(encoded.replace("\r\n", "")).unwrap(), report.compressed());
}
