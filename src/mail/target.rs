//! Where a link leads, and whether we may stand in between.
//!
//! A target is the string that the redirect will lead to: the attribute's value, entities decoded, as the reader's
//! browser would take it, and no more: no normaliser touches it, since that would change `[`, `|`, `'`, `%7E`, case
//! and default ports. [`location`] makes it ASCII for the header, and that is all that ever changes.
//!
//! Speaks of the URL Standard (WHATWG) what browsers do before they parse: ends stripped, tab and line ends dropped.

use url::Url;

use super::headers;
use super::rewrite::{LeftAlone, Wanted};
use crate::model::token::is_followable;

/// Longest target that is tracked, in bytes.
const TARGET_BYTES_MAX: usize = 16 << 10;

/// What template engines leave behind when they did not fill in a link.
const TEMPLATE_MARKS: [&str; 4] = ["{{", "*|", "<%", "%recipient"];

/// Words in the names of parameters that let their holder in.
const SECRETS: [&str; 8] = ["token", "code", "key", "otp", "signature", "reset", "verify", "magic"];

/// The rules of one message about which links are tracked.
pub(super) struct Rules {
    own: Option<Url>,
    skip_hosts: Vec<String>,
    unsubscribe: Vec<String>,
    keeps_secrets: bool,
}

impl Rules {
    pub(super) fn new(message: &[u8], wanted: &Wanted<'_>) -> Self {
        Self {
            own: Url::parse(wanted.own_base_url).ok(),
            skip_hosts: wanted.skip_hosts.iter().map(|host| ascii_host(host)).collect(),
            unsubscribe: unsubscribe_urls(message),
            keeps_secrets: wanted.clicks_auto,
        }
    }

    /// The target of a link whose value, entities decoded, is `value`, or why the link is to stay as it is.
    pub(super) fn target(&self, value: &str) -> Result<String, LeftAlone> {
        let target = stripped(value);
        if target.len() > TARGET_BYTES_MAX {
            return Err(LeftAlone::TooLong);
        }
        if !is_followable(&target) {
            return Err(why_not_followable(&target));
        }
        if TEMPLATE_MARKS.iter().any(|mark| target.contains(mark)) {
            return Err(LeftAlone::Placeholder);
        }
        let (start, end) = authority(&target);
        let url = Url::parse(&target[..end]).ok().filter(|_| start < end && !target.contains(['<', '>']));
        let url = url.ok_or(LeftAlone::Invalid)?;
        if self.own.as_ref().is_some_and(|own| own.host() == url.host() && own.port() == url.port()) {
            return Err(LeftAlone::OwnHost);
        }
        if self.skip_hosts.iter().any(|skip| matches_host(skip, url.host_str().unwrap_or_default())) {
            return Err(LeftAlone::SkippedHost);
        }
        if self.unsubscribe.contains(&target) {
            return Err(LeftAlone::Unsubscribe);
        }
        match self.keeps_secrets.then(|| secret(&target)).flatten() {
            Some(word) => Err(LeftAlone::Secret(word)),
            None => Ok(target),
        }
    }
}

/// What is wrong with a target that no redirect may lead to.
fn why_not_followable(target: &str) -> LeftAlone {
    let is_web = ["http://", "https://"]
        .iter()
        .any(|scheme| target.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)));
    let (start, end) = authority(target);
    match () {
        () if TEMPLATE_MARKS.iter().any(|mark| target.contains(mark)) => LeftAlone::Placeholder,
        () if !is_web => LeftAlone::NotWeb,
        () if target[start..end].contains('@') => LeftAlone::UserInfo,
        () => LeftAlone::Invalid,
    }
}

/// What a browser takes of an attribute's value: control characters and blanks stripped at the ends, tab and line
/// ends dropped anywhere. No other white space goes, so U+00A0 stays.
fn stripped(value: &str) -> String {
    value.trim_matches(|char| char <= ' ').split(['\t', '\r', '\n']).collect()
}

/// Where host and port begin and end; nothing behind them can make a URL invalid.
fn authority(target: &str) -> (usize, usize) {
    let start = target.find("://").map_or(0, |colon| colon + 3);
    let end = target[start..].find(['/', '?', '#', '\\']).map_or(target.len(), |length| start + length);
    (start, end)
}

/// The host as browsers compare it: lower case, punycode; a `*.` in front stays.
fn ascii_host(host: &str) -> String {
    let (star, name) = host.strip_prefix("*.").map_or(("", host), |name| ("*.", name));
    let url = Url::parse(&format!("https://{name}/")).ok();
    format!("{star}{}", url.as_ref().and_then(Url::host_str).unwrap_or(name))
}

fn matches_host(skip: &str, host: &str) -> bool {
    match skip.strip_prefix('*') {
        Some(ending) => host.ends_with(ending),
        None => host == skip,
    }
}

/// The URLs of `List-Unsubscribe` (RFC 2369 §3.2): they must take a POST without a redirect, also when they stand in
/// the body.
fn unsubscribe_urls(message: &[u8]) -> Vec<String> {
    let fields = headers::fields(message).filter(|field| field.is("List-Unsubscribe"));
    let text: String = fields.flat_map(|field| field.text().chars().collect::<Vec<_>>()).collect();
    let text: String = text.split_whitespace().collect();
    text.split('<').filter_map(|part| Some(part.split_once('>')?.0.to_owned())).collect()
}

/// The word by which a parameter's name tells that its value lets its holder in.
fn secret(target: &str) -> Option<&'static str> {
    let names = target.split(['?', '#', '&', ';']).skip(1).filter_map(|parameter| parameter.split('=').next());
    names.flat_map(|name| name.split(|char: char| !char.is_ascii_alphanumeric())).find_map(secret_word)
}

/// `token`, `Token`, `resetToken`; not `monkey`.
fn secret_word(word: &str) -> Option<&'static str> {
    let ends = |secret: &&&str| {
        let Some((head, tail)) = word.len().checked_sub(secret.len()).and_then(|at| word.split_at_checked(at)) else {
            return false;
        };
        tail.eq_ignore_ascii_case(secret) && (head.is_empty() || tail.starts_with(|char: char| char.is_uppercase()))
    };
    SECRETS.iter().find(ends).copied()
}

/// The target as it stands in the `Location` of a redirect: only visible ASCII.
///
/// A host outside ASCII becomes punycode; blanks, control characters, bytes from 0x80 on and ``"<>\^`{|}`` are
/// percent-encoded; a `%` is never touched, so what was encoded stays so. A backslash before the query becomes a slash,
/// as in every browser: encoded it could turn a host into user info. The fragment stays in.
pub fn location(target: &str) -> String {
    let (start, end) = authority(target);
    let path_end = target[end..].find(['?', '#']).map_or(target.len(), |length| end + length);
    let authority = &target[start..end];
    let mut ascii = String::with_capacity(target.len() + 16);
    push_encoded(&mut ascii, &target[..start]);
    let foreign = if authority.is_ascii() { None } else { Url::parse(&target[..end]).ok() };
    match foreign {
        Some(url) => {
            ascii.push_str(url.host_str().unwrap_or_default());
            url.port().inspect(|port| ascii.push_str(&format!(":{port}")));
        }
        None => push_encoded(&mut ascii, authority),
    }
    push_encoded(&mut ascii, &target[end..path_end].replace('\\', "/"));
    push_encoded(&mut ascii, &target[path_end..]);
    ascii
}

fn push_encoded(ascii: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            ascii.push(char::from(byte));
        } else {
            ascii.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(keeps_secrets: bool) -> Rules {
        let skip_hosts = ["app.example".to_owned(), "*.bücher.example".to_owned()];
        let message = b"List-Unsubscribe: <mailto:u@a.example>,\r\n <https://a.example/u?\r\n x=1>\r\n\r\n";
        let wanted = Wanted {
            own_base_url: "https://t.example.com",
            skip_hosts: &skip_hosts,
            clicks_auto: keeps_secrets,
            ..Wanted::default()
        };
        Rules::new(message, &wanted)
    }

    fn check(value: &str, target: &str) {
        assert_eq!(rules(false).target(value).as_deref(), Ok(target), "{value:?}");
    }

    #[test]
    fn tracked_as_they_stand() {
        for value in [
            "https://a.example/x",
            "HTTPS://A.Example:443/X/../%7e?[0]=a|b&c='d'#/e?f=\u{a0}",
            "http://[2606:4700::1111]:8080/",
            "https://bücher.example/grüße",
            "https://a.example?{0}$x,y~z",
            "https://a.example/@52.5,13.4?mail=a@b.example",
            "https://a.example/a b",
            "https://t.example.com:8443/other-port",
            "https://bücher.example/skipped-only-below",
        ] {
            check(value, value);
        }
        check(" \n https://a.example/x\t\r\ny \u{1f}", "https://a.example/xy");
        check("https://a.example/\u{a0}", "https://a.example/\u{a0}");
    }

    #[test]
    fn left_alone() {
        for (value, why) in [
            ("", LeftAlone::NotWeb),
            ("#x", LeftAlone::NotWeb),
            ("//a.example", LeftAlone::NotWeb),
            ("/x", LeftAlone::NotWeb),
            ("mailto:a@b.example", LeftAlone::NotWeb),
            ("tel:+1", LeftAlone::NotWeb),
            ("javascript:open('https://a.example')", LeftAlone::NotWeb),
            ("https:a.example", LeftAlone::NotWeb),
            ("https://", LeftAlone::Invalid),
            ("https:///x", LeftAlone::Invalid),
            ("https://user@a.example/", LeftAlone::UserInfo),
            ("https://a.example:port/", LeftAlone::Invalid),
            ("https://a b.example/", LeftAlone::Invalid),
            ("https://a.example/\0x", LeftAlone::Invalid),
            ("https://a.example/\u{85}x", LeftAlone::Invalid),
            ("https://a.example/<b>", LeftAlone::Invalid),
            ("{{url}}", LeftAlone::Placeholder),
            ("https://a.example/{{url}}", LeftAlone::Placeholder),
            ("https://a.example/*|URL|*", LeftAlone::Placeholder),
            ("https://a.example/%recipient.id%", LeftAlone::Placeholder),
            ("https://t.example.com/c/AAAA", LeftAlone::OwnHost),
            ("http://T.example.com", LeftAlone::OwnHost),
            ("https://app.example/x", LeftAlone::SkippedHost),
            ("https://www.xn--bcher-kva.example/", LeftAlone::SkippedHost),
            ("https://a.example/u?x=1", LeftAlone::Unsubscribe),
        ] {
            assert_eq!(rules(false).target(value), Err(why), "{value:?}");
        }
        let long = format!("https://a.example/{}", "x".repeat(TARGET_BYTES_MAX));
        assert_eq!(rules(false).target(&long), Err(LeftAlone::TooLong));
    }

    #[test]
    fn secrets_stay_out_of_our_hands() {
        for (value, word) in [
            ("?token=1", "token"),
            ("?a=b&access_token=1", "token"),
            ("?resetToken=1", "token"),
            ("#otp=1", "otp"),
            ("?a;X-Amz-Signature=1", "signature"),
            ("?verify", "verify"),
        ] {
            let target = rules(true).target(&format!("https://a.example/{value}"));
            assert_eq!(target, Err(LeftAlone::Secret(word)), "{value}");
        }
        for value in ["?monkey=1", "?id=token", "token/key", "?keyword=1", "?passcodes=1"] {
            assert!(rules(true).target(&format!("https://a.example/{value}")).is_ok(), "{value}");
        }
    }

    #[test]
    fn locations() {
        for (target, ascii) in [
            ("https://a.example/x?y=%7e%20#z", "https://a.example/x?y=%7e%20#z"),
            ("HTTPS://A.Example/[0]?'", "HTTPS://A.Example/[0]?'"),
            ("https://bücher.example:8443/ü#ü", "https://xn--bcher-kva.example:8443/%C3%BC#%C3%BC"),
            ("https://a.example/a b\"<>^`{|}", "https://a.example/a%20b%22%3C%3E%5E%60%7B%7C%7D"),
            ("https://a.example/%0d%0aSet-Cookie:x=1", "https://a.example/%0d%0aSet-Cookie:x=1"),
            ("https://a.example\\@b.example\\x?\\", "https://a.example/@b.example/x?%5C"),
            ("https://a.example/\r\nx", "https://a.example/%0D%0Ax"),
            ("ü", "%C3%BC"),
        ] {
            assert_eq!(location(target), ascii);
        }
    }

    proptest! {
        #[test]
        fn a_location_is_one_visible_word(target in "(https?://)?\\PC{0,20}[/?#\\\\]?\\PC{0,20}") {
            prop_assert!(location(&target).bytes().all(|byte| byte.is_ascii_graphic()));
            let _ = rules(true).target(&target);
        }
    }
}
