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
    /// Mail leaves from the addresses of `hostname`, not only from sources or by a smarthost.
    pub is_direct: bool,
    /// Further addresses that mail leaves from.
    pub sources: &'a [Outlet],
}

/// An address of ours that mail leaves from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlet {
    /// The address.
    pub address: IpAddr,
    /// What we call ourselves there.
    pub name: String,
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
    let named = |address: &IpAddr| Outlet { address: *address, name: expected.hostname.to_owned() };
    let outlets = own.iter().filter(|_| expected.is_direct).map(named).chain(expected.sources.iter().cloned());
    let outlets: Vec<Outlet> = outlets.collect();
    findings.push(spf_of(resolver, expected, &outlets).await);
    findings.push(dmarc(resolver, expected.domain).await);
    findings.push(return_path(resolver, expected, &own).await);
    findings.push(host(expected.hostname, &own));
    for outlet in &outlets {
        findings.push(ptr(resolver, outlet).await);
    }
    if !expected.tracking_host.is_empty() {
        findings.push(tracking(resolver, expected.tracking_host, &own).await);
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

async fn spf_of(resolver: &dyn Resolver, expected: &Expected<'_>, outlets: &[Outlet]) -> Finding {
    let name = expected.return_path_domain;
    let answer = resolver.txt(name).await;
    let found: Vec<String> =
        spf::records(answer.as_deref().unwrap_or_default()).into_iter().map(str::to_owned).collect();
    let judged =
        |verdict, advice: &str| Finding { found: found.clone(), ..finding("spf", name, "TXT", verdict, advice) };
    let is_by_smarthost = !expected.is_direct && expected.sources.is_empty();
    let term = |ip: &IpAddr| format!("{}:{ip} ", if ip.is_ipv4() { "ip4" } else { "ip6" });
    let to_publish: String = match is_by_smarthost {
        false => outlets.iter().map(|outlet| term(&outlet.address)).collect(),
        true => "include:<what your smarthost says> ".to_owned(),
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
    if is_by_smarthost {
        return judged(Verdict::Unknown, "mail leaves by a smarthost: only it can say which addresses must be in it");
    }
    if outlets.is_empty() {
        return judged(Verdict::Unknown, "the hostname has no address, so there is none to look for");
    }
    for Outlet { address, .. } in outlets {
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

/// The address has a name, and the name that address.
async fn ptr(resolver: &dyn Resolver, outlet: &Outlet) -> Finding {
    let Outlet { address, name } = outlet;
    let answer = resolver.ptr(*address).await;
    let publish = format!("{name}.");
    let found = answer.clone().unwrap_or_default();
    let judged = |verdict, advice: &str| {
        let publish = if verdict == Verdict::Right { String::new() } else { publish.clone() };
        Finding { found: found.clone(), publish, ..finding("ptr", &reverse(*address), "PTR", verdict, advice) }
    };
    match &answer {
        Ok(names) if names.iter().any(|found| found.eq_ignore_ascii_case(name)) => {}
        _ if is_inner(*address) => {
            return judged(Verdict::Unknown, "receivers see another address; that one must lead back to the name");
        }
        Ok(_) => {
            let advice = "the address leads to another name; ask whoever gave you the address to change it";
            return judged(Verdict::Wrong, advice);
        }
        Err(DnsError::NoSuchName) => {
            return judged(Verdict::Missing, "large receivers refuse mail from addresses without a name");
        }
        Err(_) => return judged(Verdict::Unknown, "the DNS does not answer"),
    }
    match resolver.addresses(name).await {
        Ok(addresses) if addresses.contains(address) => judged(Verdict::Right, "the address leads back to the name"),
        Ok(_) | Err(DnsError::NoSuchName) => {
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            let advice = "the address leads to the name, and the name not to the address: receivers doubt both";
            let publish = address.to_string();
            Finding { publish, ..finding("ptr", name, kind, Verdict::Wrong, advice) }
        }
        Err(_) => judged(Verdict::Unknown, "the DNS does not answer"),
    }
}

/// The name under which an address leads back to its own (RFC 1035 §3.5, RFC 3596 §2.5).
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

/// Whether only our own network sees the address.
fn is_inner(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local(),
    }
}

async fn tracking(resolver: &dyn Resolver, name: &str, own: &[IpAddr]) -> Finding {
    if name.parse::<IpAddr>().is_ok() {
        return finding("tracking", name, "A or CNAME", Verdict::Unwise, "an address: readers trust links with names");
    }
    let answer = resolver.addresses(name).await;
    let (verdict, advice) = match &answer {
        Ok(addresses) if addresses.iter().any(|address| own.contains(address)) => {
            (Verdict::Right, "readers find this machine")
        }
        Ok(_) => (Verdict::Unknown, "readers find another machine than the hostname's; it must pass on to this one"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Table;

    const OWN: &str = "198.51.100.7";
    const SECOND: &str = "198.51.100.8";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A domain of which everything is right but its keys, which it has none of.
    fn table() -> Table {
        Table::new()
            .with_addresses("mail.example.com", [ip(OWN)])
            .with_addresses("mta2.example.com", [ip(SECOND)])
            .with_addresses("track.example.com", [ip(OWN)])
            .with_ptr(ip(OWN), ["mail.example.com"])
            .with_ptr(ip(SECOND), ["mta2.example.com"])
            .with_txt("bounces.example.com", ["v=spf1 ip4:198.51.100.7 -all"])
            .with_txt("_dmarc.example.com", ["v=DMARC1; p=reject"])
            .with_mx("bounces.example.com", [(10, "mail.example.com")])
            .with_mx("shop.example.com", [(10, "mail.example.com")])
    }

    /// `purpose verdict name type [publish]` of each record that is not right.
    async fn flaws(resolver: &Table, is_direct: bool, sources: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Outlet> =
            sources.iter().map(|(address, name)| Outlet { address: ip(address), name: (*name).to_owned() }).collect();
        let expected = Expected {
            domain: "shop.example.com",
            keys: &[],
            hostname: "mail.example.com",
            return_path_domain: "bounces.example.com",
            tracking_host: "track.example.com",
            is_direct,
            sources: &sources,
        };
        let findings = check(resolver, &expected).await;
        let flawed = findings.iter().filter(|found| found.verdict != Verdict::Right && found.purpose != "dkim");
        let line = |found: &Finding| {
            let Finding { purpose, name, kind, publish, .. } = found;
            format!("{purpose} {} {name} {kind} {publish}", found.verdict.as_str()).trim_end().to_owned()
        };
        flawed.map(line).collect()
    }

    #[tokio::test]
    async fn each_record_is_compared() {
        let check = async |table: Table, expected: &[&str]| assert_eq!(flaws(&table, true, &[]).await, expected);
        check(table(), &[]).await;
        let spf = "v=spf1 ip4:198.51.100.7 -all";
        let wrong = format!("spf wrong bounces.example.com TXT \"{spf}\"");
        check(table().with_txt("bounces.example.com", ["v=spf1 ip4:192.0.2.1 -all"]), &[&wrong]).await;
        let missing = format!("spf missing bounces.example.com TXT \"{spf}\"");
        check(table().with_txt("bounces.example.com", ["hello"]), &[&missing]).await;
        check(table().with_txt("_dmarc.example.com", ["v=DMARC1; p=none"]), &["dmarc unwise _dmarc.example.com TXT"])
            .await;
        check(
            table().with_mx("bounces.example.com", [(10, "elsewhere.example")]),
            &["return_path wrong bounces.example.com MX 10 mail.example.com."],
        )
        .await;
        check(
            table().with_ptr(ip(OWN), ["host-7.isp.example"]),
            &["ptr wrong 7.100.51.198.in-addr.arpa PTR mail.example.com."],
        )
        .await;
        check(
            table().with_addresses("track.example.com", [ip(SECOND)]),
            &["tracking unknown track.example.com A or CNAME"],
        )
        .await;
        check(table().with_failure("_dmarc.shop.example.com"), &["dmarc unknown _dmarc.shop.example.com TXT"]).await;
    }

    #[test]
    fn addresses_lead_back_under_these_names() {
        assert_eq!(reverse(ip("192.0.2.1")), "1.2.0.192.in-addr.arpa");
        let zeros = "0.".repeat(23);
        assert_eq!(reverse(ip("2001:db8::1")), format!("1.{zeros}8.b.d.0.1.0.0.2.ip6.arpa"));
    }

    #[tokio::test]
    async fn each_source_may_send_and_leads_back_to_its_name() {
        let source = (SECOND, "mta2.example.com");
        let both = "v=spf1 ip4:198.51.100.7 ip4:198.51.100.8 -all";
        let check = async |table: Table, is_direct: bool, source: (&str, &str), expected: &[&str]| {
            assert_eq!(flaws(&table, is_direct, &[source]).await, expected);
        };
        let allowed = || table().with_txt("bounces.example.com", ["v=spf1 ip4:198.51.100.0/24 -all"]);
        check(allowed(), true, source, &[]).await;
        check(allowed(), false, source, &[]).await;
        check(table(), true, source, &[&format!("spf wrong bounces.example.com TXT \"{both}\"")]).await;
        check(
            allowed().with_ptr(ip(SECOND), ["host-8.isp.example"]),
            true,
            source,
            &["ptr wrong 8.100.51.198.in-addr.arpa PTR mta2.example.com."],
        )
        .await;
        check(
            allowed().with_addresses("mta2.example.com", [ip(OWN)]),
            true,
            source,
            &["ptr wrong mta2.example.com A 198.51.100.8"],
        )
        .await;
        let inner = ("10.0.0.8", "mta2.example.com");
        let may_send = table().with_txt("bounces.example.com", ["v=spf1 ip4:10.0.0.8 -all"]);
        check(may_send, false, inner, &["ptr unknown 8.0.0.10.in-addr.arpa PTR mta2.example.com."]).await;
    }
}
