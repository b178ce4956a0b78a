//! From the text of a URL to the one reading of it that everybody downstream uses.
//!
//! The URL standard repairs silently (`exam\nple.com`, `http:\\host\`), and parsers differ in what they repair. What
//! would need repair is refused first; then one parser decides, and requests are made from its output only.

use url::Url;

use super::{Refused, Rule};

/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2048;

/// Ports above 1023 at which other protocols listen that can be talked into things by HTTP (Fetch standard, "bad
/// ports"). Below 1024, only 80 and 443 pass.
const BAD_PORTS: [u16; 19] =
    [1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080];

/// Characters that the URL standard repairs, as they look percent-encoded in a host.
const ENCODED: [&str; 5] = ["%09", "%0a", "%0d", "%20", "%5c"];

/// `text` read as an http(s) URL: normalised host without a final dot, no user, no fragment, a port that may be used.
pub(super) fn read(text: &str) -> Result<Url, Refused> {
    let refused = |rule| Err(Refused { rule });
    let authority = authority(text);
    if text.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, b' ' | b'\\')) || hides_a_repair(authority) {
        return refused(Rule::Char);
    }
    if text.len() > URL_BYTES_MAX {
        return refused(Rule::Parse);
    }
    if scheme(text).is_some_and(|scheme| !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https"))
    {
        return refused(Rule::Scheme);
    }
    let Ok(mut url) = Url::parse(text) else { return refused(Rule::Parse) };
    if authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
        return refused(Rule::User);
    }
    if !url.port_or_known_default().is_some_and(is_usable) {
        return refused(Rule::Port);
    }
    url.set_fragment(None);
    if let Some(name) = url.domain().and_then(|domain| domain.strip_suffix('.')).map(str::to_owned)
        && url.set_host(Some(&name)).is_err()
    {
        return refused(Rule::Name);
    }
    Ok(url)
}

/// What stands before the first colon, when it can be a scheme.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    is_scheme.then_some(scheme)
}

/// User, host and port, as the URL standard finds them: after any number of slashes.
fn authority(text: &str) -> &str {
    let rest = text.split_once(':').map_or("", |(_, rest)| rest).trim_start_matches('/');
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn hides_a_repair(authority: &str) -> bool {
    authority.match_indices('%').any(|(at, _)| {
        authority.get(at..at + 3).is_some_and(|three| ENCODED.iter().any(|code| code.eq_ignore_ascii_case(three)))
    })
}

fn is_usable(port: u16) -> bool {
    matches!(port, 80 | 443) || (port >= 1024 && !BAD_PORTS.contains(&port))
}
