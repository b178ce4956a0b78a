//! What a sending domain publishes, compared record by record with what it should.
//!
//! Asked by the command line, the console and the look for waiting keys. Reads the DNS and changes nothing.

use std::net::IpAddr;

use serde::Serialize;

use super::spf::{self, Spf};
use super::{DnsError, Resolver};
use crate::model::signing_key::{KeyState, SigningKey, in_strings, tags};

/// What a domain is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The domain in `From`.
    pub domain: &'a str,
    /// Its keys.
    pub keys: &'a [SigningKey],
    /// What this machine is called.
    pub hostname: &'a str,
    /// The domain of return paths.
    pub return_path_domain: &'a str,
    /// The host of tracked links; empty when there is none.
    pub tracking_host: &'a str,
    /// Mail leaves from this machine, not from a smarthost.
    pub is_direct: bool,
}

/// What was found of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Right,
    /// It works, and could be better.
    Unwise,
    /// It is not there.
    Missing,
    /// It is there, and says something else.
    Wrong,
    /// The DNS did not tell, or it cannot be told from here.
    Unknown,
}

impl Verdict {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Right => "right",
            Verdict::Unwise => "unwise",
            Verdict::Missing => "missing",
            Verdict::Wrong => "wrong",
            Verdict::Unknown => "unknown",
        }
    }
}

/// One record: what it is for, what was found, what to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `dkim`, `spf`, `dmarc`, `return_path`, `host`, `ptr`, `tracking` or `mx`.
    pub purpose: &'static str,
    /// Where it stands.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// What was found of it.
    pub verdict: Verdict,
    /// What is there.
    pub found: Vec<String>,
    /// What should be; empty when it is there, or only you can know.
    pub publish: String,
    /// In words.
    pub advice: String,
    /// The selector, of a DKIM record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// Looks at every record that mail from the domain needs.
pub async fn check(resolver: &dyn Resolver, expected: &Expected<'_>) -> Vec<Finding> {
    let own: Vec<IpAddr> = resolver.addresses(expected.hostname).await.unwrap_or_default();
    let mut findings = Vec::new();
    for key in expected.keys {
        findings.push(dkim(resolver, key).await);
    }
    if expected.keys.iter().all(|key| key.state == KeyState::Retired) {
        findings.push(no_key(expected.domain));
    }
    findings.push(spf_of(resolver, expected, &own).await);
    findings.push(dmarc(resolver, expected.domain).await);
    findings.push(return_path(resolver, expected, &own).await);
    findings.push(host(expected.hostname, &own));
    if expected.is_direct {
        for address in &own {
            findings.push(ptr(resolver, expected.hostname, *address).await);
        }
    }
    if !expected.tracking_host.is_empty() {
        findings.push(tracking(resolver, expected.tracking_host).await);
    }
    findings.push(mx(resolver, expected.domain).await);
    findings
}

/// What is published for one key.
pub async fn dkim(resolver: &dyn Resolver, key: &SigningKey) -> Finding {
    let answer = resolver.txt(&key.record_name()).await;
    let is_right = answer.as_ref().is_ok_and(|texts| matches!(texts.as_slice(), [text] if key.is_published_as(text)));
    let is_retired = key.state == KeyState::Retired;
    let (verdict, advice) = match &answer {
        _ if is_retired => (Verdict::Right, "signs no more; the record may go a week after the key was retired"),
        Ok(_) if is_right => (Verdict::Right, "the key is published"),
        Ok(texts) if texts.len() > 1 => (Verdict::Wrong, "there must be one TXT record of this name"),
        Ok(_) => (Verdict::Wrong, "the record is another key's, or was changed on its way into the DNS"),
        Err(DnsError::NoSuchName) => (Verdict::Missing, "publish the key; signing begins when it is seen"),
        Err(_) => (Verdict::Unknown, "the DNS does not answer"),
    };
    let publish = if verdict == Verdict::Right { String::new() } else { in_strings(&key.record()) };
    let found = answer.unwrap_or_default();
    let selector = Some(key.selector.clone());
    let advice = advice.to_owned();
    Finding { purpose: "dkim", name: key.record_name(), kind: "TXT", verdict, found, publish, advice, selector }
}

fn finding(purpose: &'static str, name: &str, kind: &'static str, verdict: Verdict, advice: &str) -> Finding {
    let (name, advice) = (name.to_owned(), advice.to_owned());
    Finding { purpose, name, kind, verdict, found: Vec::new(), publish: String::new(), advice, selector: None }
}

fn no_key(domain: &str) -> Finding {
    let advice = format!("mail goes out unsigned; make keys with `postback domain rotate {domain}`");
    finding("dkim", domain, "TXT", Verdict::Missing, &advice)
}

async fn spf_of(resolver: &dyn Resolver, expected: &Expected<'_>, own: &[IpAddr]) -> Finding {
    let name = expected.return_path_domain;
    let answer = resolver.txt(name).await;
    let found: Vec<String> =
        spf::records(answer.as_deref().unwrap_or_default()).into_iter().map(str::to_owned).collect();
    let judged =
        |verdict, advice: &str| Finding { found: found.clone(), ..finding("spf", name, "TXT", verdict, advice) };
    let to_publish = match expected.is_direct {
        true => own.iter().map(|ip| format!("{}:{ip} ", if ip.is_ipv4() { "ip4" } else { "ip6" })).collect(),
        false => "include:<what your smarthost says> ".to_owned(),
    };
    let publish = in_strings(&format!("v=spf1 {to_publish}-all"));
    match answer {
        Err(DnsError::NoSuchName) | Ok(_) if found.is_empty() => {
            let advice = "the return path's domain has no SPF record; receivers see mail from nowhere";
            return Finding { publish, ..judged(Verdict::Missing, advice) };
        }
        Err(_) => return judged(Verdict::Unknown, "the DNS does not answer"),
        Ok(_) if found.len() > 1 => return judged(Verdict::Wrong, "there must be one SPF record"),
        Ok(_) => {}
    }
    if !expected.is_direct {
        return judged(Verdict::Unknown, "mail leaves by a smarthost: only it can say which addresses must be in it");
    }
    if own.is_empty() {
        return judged(Verdict::Unknown, "the hostname has no address, so there is none to look for");
    }
    for address in own {
        let (verdict, advice) = match spf::evaluate(resolver, name, *address).await {
            Spf::Pass => continue,
            Spf::NoPass | Spf::None => (Verdict::Wrong, format!("{address}, this machine, may not send")),
            Spf::Broken => (Verdict::Wrong, "it, or a record that it includes, cannot be read".to_owned()),
            Spf::Unknown => (Verdict::Unknown, format!("whether {address} may send cannot be told from here")),
        };
        return Finding { publish, ..judged(verdict, &advice) };
    }
    judged(Verdict::Right, "this machine may send")
}

async fn dmarc(resolver: &dyn Resolver, domain: &str) -> Finding {
    let mut at = domain;
    while at.contains('.') {
        let name = format!("_dmarc.{at}");
        let answer = resolver.txt(&name).await;
        let is_dmarc = |text: &String| text.split(';').next().is_some_and(|tag| tag.trim() == "v=DMARC1");
        let found: Vec<String> =
            answer.as_deref().unwrap_or_default().iter().filter(|text| is_dmarc(text)).cloned().collect();
        let judged =
            |verdict, advice: &str| Finding { found: found.clone(), ..finding("dmarc", &name, "TXT", verdict, advice) };
        match (found.as_slice(), answer.as_ref()) {
            ([record], _) => {
                let policy = tags(record).into_iter().find(|(tag, _)| tag == "p").map(|(_, policy)| policy);
                return match policy.as_deref() {
                    Some("none") => {
                        judged(Verdict::Unwise, "p=none asks for nothing; go to quarantine when all is right")
                    }
                    Some("quarantine" | "reject") => judged(Verdict::Right, "the domain is protected"),
                    _ => judged(Verdict::Wrong, "the policy p= must be none, quarantine or reject"),
                };
            }
            ([_, _, ..], _) => return judged(Verdict::Wrong, "there must be one DMARC record"),
            ([], Err(DnsError::NoSuchName) | Ok(_)) => {}
            ([], Err(_)) => return judged(Verdict::Unknown, "the DNS does not answer"),
        }
        at = at.split_once('.').map_or("", |(_, above)| above);
    }
    let publish = in_strings(&format!("v=DMARC1; p=none; rua=mailto:postmaster@{domain}"));
    let missing = finding("dmarc", &format!("_dmarc.{domain}"), "TXT", Verdict::Missing, "large receivers ask for one");
    Finding { publish, ..missing }
}

async fn return_path(resolver: &dyn Resolver, expected: &Expected<'_>, own: &[IpAddr]) -> Finding {
    let name = expected.return_path_domain;
    let publish = format!("10 {}.", expected.hostname);
    let answer = resolver.mx(name).await;
    let hosts: Vec<String> = answer.clone().unwrap_or_default().into_iter().map(|exchange| exchange.host).collect();
    let found = answer.clone().unwrap_or_default();
    let found = found.iter().map(|exchange| format!("{} {}.", exchange.preference, exchange.host)).collect();
    let (verdict, advice) = match answer {
        Ok(_) if hosts.iter().any(|host| host == expected.hostname) => (Verdict::Right, "reports come home"),
        Ok(_) => {
            let mut is_own = false;
            for host in &hosts {
                let addresses = resolver.addresses(host).await.unwrap_or_default();
                is_own |= addresses.iter().any(|address| own.contains(address));
            }
            match is_own {
                true => (Verdict::Right, "reports come home"),
                false => (Verdict::Wrong, "reports about your mail go to another host, and nobody here reads them"),
            }
        }
        Err(DnsError::NoSuchName) => {
            let addresses = resolver.addresses(name).await.unwrap_or_default();
            match addresses.iter().any(|address| own.contains(address)) {
                true => (Verdict::Unwise, "reports come home by the address; an MX says that it is meant"),
                false => (Verdict::Missing, "reports about your mail cannot come home"),
            }
        }
        Err(_) => (Verdict::Unknown, "the DNS does not answer"),
    };
    let publish = if verdict == Verdict::Right { String::new() } else { publish };
    Finding { found, publish, ..finding("return_path", name, "MX", verdict, advice) }
}

fn host(hostname: &str, own: &[IpAddr]) -> Finding {
    let found = own.iter().map(ToString::to_string).collect();
    let (verdict, advice) = match own {
        [] => (Verdict::Missing, "the hostname has no address; publish that of this machine"),
        _ => (Verdict::Right, "the hostname has an address"),
    };
    Finding { found, ..finding("host", hostname, "A", verdict, advice) }
}

async fn ptr(resolver: &dyn Resolver, hostname: &str, address: IpAddr) -> Finding {
    let answer = resolver.ptr(address).await;
    let (verdict, advice) = match &answer {
        Ok(names) if names.iter().any(|name| name == hostname) => {
            (Verdict::Right, "the address leads back to the name")
        }
        Ok(_) => (Verdict::Wrong, "the address leads to another name; ask whoever gave you the address to change it"),
        Err(DnsError::NoSuchName) => (Verdict::Missing, "large receivers refuse mail from addresses without a name"),
        Err(_) => (Verdict::Unknown, "the DNS does not answer"),
    };
    let publish = if verdict == Verdict::Right { String::new() } else { format!("{hostname}.") };
    let found = answer.unwrap_or_default();
    Finding { found, publish, ..finding("ptr", &address.to_string(), "PTR", verdict, advice) }
}

async fn tracking(resolver: &dyn Resolver, name: &str) -> Finding {
    let answer = resolver.addresses(name).await;
    let (verdict, advice) = match &answer {
        Ok(_) => (Verdict::Right, "readers find it"),
        Err(DnsError::NoSuchName) => (Verdict::Missing, "readers cannot follow tracked links"),
        Err(_) => (Verdict::Unknown, "the DNS does not answer"),
    };
    let found = answer.unwrap_or_default().iter().map(ToString::to_string).collect();
    Finding { found, ..finding("tracking", name, "A or CNAME", verdict, advice) }
}

async fn mx(resolver: &dyn Resolver, domain: &str) -> Finding {
    let answer = resolver.mx(domain).await;
    let (verdict, advice) = match &answer {
        Ok(_) => (Verdict::Right, "answers find their way"),
        Err(DnsError::NoSuchName) => (Verdict::Unwise, "some receivers refuse mail from a domain that takes none"),
        Err(_) => (Verdict::Unknown, "the DNS does not answer"),
    };
    let found = answer.unwrap_or_default();
    let found = found.iter().map(|exchange| format!("{} {}.", exchange.preference, exchange.host)).collect();
    Finding { found, ..finding("mx", domain, "MX", verdict, advice) }
}
