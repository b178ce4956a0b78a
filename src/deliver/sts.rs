//! MTA-STS: policies by which a domain wants trusted TLS for its mail (RFC 8461). Pure: reading and matching.
//!
//! `policies` fetches them, keeps them, and knows when they end.

use std::time::Duration;

/// Longest policy that is read, in bytes (RFC 8461 §3.3 advises 64 KB).
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// Longest time for which a policy may be kept (RFC 8461 §3.2).
const AGE_MAX: Duration = Duration::from_secs(31_557_600);

/// What a domain wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Mail goes to its exchangers over trusted TLS, or not at all.
    Enforce,
    /// What would fail is to be reported, and mail goes all the same.
    Testing,
    /// Nothing any more.
    None,
}

/// A domain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What it wants.
    pub mode: Mode,
    /// Patterns of its exchangers: names, or `*.` and a name.
    pub exchangers: Vec<String>,
    /// How long it holds from when it was fetched.
    pub max_age: Duration,
}

impl Policy {
    /// Reads a policy; `None` when it is none. Keys that nobody knows are passed over; of one given twice the first
    /// counts, but for `mx`.
    pub fn read(text: &str) -> Option<Self> {
        let mut pairs = text.lines().filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            Some((key.trim(), value.trim()))
        });
        let first = |key: &str| pairs.clone().find(|(name, _)| *name == key).map(|(_, value)| value);
        if first("version") != Some("STSv1") {
            return None;
        }
        let mode = match first("mode")? {
            "enforce" => Mode::Enforce,
            "testing" => Mode::Testing,
            "none" => Mode::None,
            _ => return None,
        };
        let max_age = first("max_age").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        let max_age = Duration::from_secs(max_age.parse().unwrap_or(u64::MAX)).min(AGE_MAX);
        let exchangers: Vec<String> =
            pairs.by_ref().filter(|(key, _)| *key == "mx").map(|(_, name)| name.to_ascii_lowercase()).collect();
        if exchangers.is_empty() && mode != Mode::None {
            return None;
        }
        Some(Self { mode, exchangers, max_age })
    }

    /// Whether `host` is one of the domain's exchangers: `*` stands for one label (RFC 8461 §4.1).
    pub fn names(&self, host: &str) -> bool {
        self.exchangers.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(above) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == above),
            None => pattern == host,
        })
    }
}

/// The id in the record by which a domain says that it has a policy; `None` when there is no such record, or several.
pub fn policy_id(records: &[String]) -> Option<&str> {
    let mut ours =
        records.iter().filter(|record| record.split(';').next().is_some_and(|tag| tag.trim_end() == "v=STSv1"));
    let (Some(record), None) = (ours.next(), ours.next()) else { return None };
    let id = record.split(';').find_map(|tag| tag.trim().strip_prefix("id=")).map(str::trim)?;
    let is_id = (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_id.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        let check = |text: &str, expected: Option<(Mode, usize, u64)>| {
            let read =
                Policy::read(text).map(|policy| (policy.mode, policy.exchangers.len(), policy.max_age.as_secs()));
            assert_eq!(read, expected, "{text:?}");
        };
        let usual =
            "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n";
        check(usual, Some((Mode::Enforce, 2, 604_800)));
        check(&usual.replace("\r\n", "\n"), Some((Mode::Enforce, 2, 604_800)));
        check(&usual.replace("enforce", "testing").replace(": ", ":"), Some((Mode::Testing, 2, 604_800)));
        check("version: STSv1\nmode: none\nmax_age: 1", Some((Mode::None, 0, 1)));
        check(&format!("{usual}mode: none\nother: x\nnonsense"), Some((Mode::Enforce, 2, 604_800)));
        check(&usual.replace("604800", "99999999999999999999"), Some((Mode::Enforce, 2, 31_557_600)));
        for (bad, good) in
            [("STSv1", "STSv2"), ("enforce", "maybe"), ("604800", "-1"), ("max_age", "age"), ("mx", "xm")]
        {
            check(&usual.replace(bad, good), None);
        }
        check("", None);
    }

    #[test]
    fn names_of_exchangers() {
        let text = "version: STSv1\nmode: enforce\nmx: mail.Example.com\nmx: *.example.net\nmax_age: 1";
        let policy = Policy::read(text).unwrap();
        for (host, expected) in [
            ("mail.example.com", true),
            ("mx1.example.net", true),
            ("example.net", false),
            ("a.b.example.net", false),
            (".example.net", false),
            ("mail.example.org", false),
            ("x.mail.example.com", false),
        ] {
            assert_eq!(policy.names(host), expected, "{host}");
        }
    }

    #[test]
    fn records() {
        let check = |records: &[&str], expected| {
            let records: Vec<String> = records.iter().map(|record| (*record).to_owned()).collect();
            assert_eq!(policy_id(&records), expected, "{records:?}");
        };
        check(&["v=STSv1; id=20260101T000000;"], Some("20260101T000000"));
        check(&["v=spf1 -all", "v=STSv1;id=1"], Some("1"));
        check(&["v=STSv1; id=1", "v=STSv1; id=2"], None);
        check(&["v=STSv1;"], None);
        check(&["v=STSv1; id=a-b"], None);
        check(&["v=STSv10; id=1"], None);
        check(&[], None);
    }
}
