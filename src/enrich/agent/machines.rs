//! Machines by what their user agents say.
//!
//! The signs, from the surest: a word that only machines use (`…bot`, `crawl`, names of programs and libraries), a
//! web or mail address inside, the form `(compatible; Name)` that browsers gave up, a remark behind the browser's name,
//! a system without an engine. Asked after the mail clients. What is merely unknown is not called a machine:
//! rare mail clients look just so. Called by `agent` only.

mod names;

use std::sync::LazyLock;

use self::names::{CHECKERS, ENDINGS, PROGRAMS, SCANNERS, TRADES, WORDS};
use super::MachineKind;
use super::text::{Lexicon, Text};

/// The words that are looked for anywhere.
static ANYWHERE: LazyLock<Lexicon<MachineKind>> = LazyLock::new(|| {
    let lists =
        [(MachineKind::SecurityScanner, SCANNERS), (MachineKind::LinkChecker, CHECKERS), (MachineKind::Bot, WORDS)];
    Lexicon::new(lists.into_iter().flat_map(|(kind, words)| words.iter().map(move |word| (*word, kind))))
});

/// The programs, which are looked for in front and before `/`.
static FETCHERS: LazyLock<Lexicon<()>> = LazyLock::new(|| Lexicon::new(PROGRAMS.iter().map(|name| (*name, ()))));

/// What kind of machine `text` names, and by what sign.
pub(super) fn machine(text: &Text) -> Option<(MachineKind, String)> {
    let said = |word: &str| format!("says “{word}”");
    if let Some((word, kind, ())) = ANYWHERE.find(text, |_| Some(())) {
        return Some((kind, said(word)));
    }
    let bot = |reason: String| Some((MachineKind::Bot, reason));
    if let Some(word) = ENDINGS.iter().find(|word| ends_word(text, word)) {
        return bot(said(word));
    }
    let is_program = |name| (text.begins(name) || text.slashed(name).is_some()).then_some(());
    if let Some((name, ..)) = FETCHERS.find(text, is_program) {
        return bot(said(name));
    }
    if has_address(text) {
        return bot("gives an address to write or turn to, as machines do".to_owned());
    }
    if let Some(name) = compatible_name(text) {
        return bot(format!("“compatible; {name}” is no browser"));
    }
    if has_remark(text) {
        return bot("a remark in brackets behind the browser's name".to_owned());
    }
    is_bare(text).then(|| (MachineKind::Bot, "says Mozilla and a system, but no engine".to_owned()))
}

/// Signs that count only where neither a mail client nor a browser is named: the trades of machines.
pub(super) fn trade(text: &Text) -> Option<(MachineKind, String)> {
    // The network of Apple's apps is no trade.
    if is_browser_form(text) || text.has("cfnetwork") {
        return None;
    }
    let word = TRADES.iter().find(|word| text.has(word))?;
    Some((MachineKind::Bot, format!("says “{word}”")))
}

/// `… Chrome/131.0.0.0 Safari/537.36 (Sample)`: Chrome ends with Safari's name; only tools write on.
fn has_remark(text: &Text) -> bool {
    let Some((before, remark)) = text.lower.split_once(" safari/537.36 (") else { return false };
    before.contains(" chrome/") && remark.ends_with(')') && remark.chars().any(|c| c.is_ascii_alphabetic())
}

/// `Mozilla/5.0 (some system)` and nothing more; every browser names its engine.
fn is_bare(text: &Text) -> bool {
    let Some((_, rest)) = text.lower.split_once("mozilla/5.0") else { return false };
    let rest = rest.trim();
    rest.starts_with('(') && rest.find(')') == Some(rest.len() - 1) && !rest.contains("gecko") && !rest.contains("msie")
}

/// Whether the text has the form that browsers have: a `Mozilla/` or `Opera/` in front, or an engine inside.
fn is_browser_form(text: &Text) -> bool {
    ["mozilla/", "opera/", "dalvik/", "ucweb/"].iter().any(|start| text.lower.starts_with(start))
        || ["applewebkit", "gecko/", "presto/", "trident/"].iter().any(|engine| text.has(engine))
}

/// Whether `word` stands at the end of a word, and not as the end of a device's name that ends so.
fn ends_word(text: &Text, word: &str) -> bool {
    let bytes = text.lower.as_bytes();
    let is_free = !is_browser_form(text);
    memchr::memmem::find_iter(bytes, word.as_bytes()).any(|at| {
        let ends =
            bytes.get(at + word.len()).is_none_or(|b| !b.is_ascii_alphabetic() && (is_free || !b.is_ascii_digit()));
        let is_device = text.lower.get(..at).is_some_and(|before| before.ends_with(" cu") || before.ends_with(";cu"));
        ends && !is_device
    })
}

/// A web address anywhere, or a mail address inside brackets; browsers have neither.
fn has_address(text: &Text) -> bool {
    const BROWSERS_OWN: &[&str] = &["bsalsa.com", "avantbrowser.com", "maxthon.com", "palemoon.org"];
    if BROWSERS_OWN.iter().any(|site| text.has(site)) {
        return false;
    }
    let is_site =
        |text: &Text| ["http://", "https://", "http(s)://", "www.", "+mailto:"].iter().any(|sign| text.has(sign));
    let is_mail = |part: &str| part.contains('@') || part.contains(" at ") && part.contains(" dot ");
    is_site(text)
        || text.comments().any(|comment| is_mail(comment) || is_domain(comment))
        || (!is_browser_form(text) && is_mail(&text.lower))
}

/// Whether a comment is, or ends with, a bare `+example.com` or `example.com`.
fn is_domain(comment: &str) -> bool {
    const ENDS: &[&str] = &[".com", ".net", ".org", ".io", ".ai", ".co", ".de", ".info", ".ru", ".social"];
    comment.split([';', ',', ' ']).map(str::trim).any(|part| {
        let name = part.trim_start_matches('+').trim_end_matches('/');
        ENDS.iter().any(|end| name.len() > end.len() && name.ends_with(end))
            && !name.starts_with("com.")
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
    })
}

/// The name behind `compatible;`, or behind `KHTML, like Gecko;`, when it is not a browser's.
fn compatible_name(text: &Text) -> Option<String> {
    let first_word = |part: &str| part.trim().split([';', ' ', ',', ')']).next().unwrap_or("").to_owned();
    for comment in text.comments() {
        if let Some(rest) =
            comment.strip_prefix("khtml, like gecko").or_else(|| comment.strip_prefix("khtml,like gecko"))
        {
            let name = first_word(rest.trim_start_matches([',', ';', ' ']));
            let name =
                if name == "compatible" { first_word(rest.rsplit("compatible;").next().unwrap_or("")) } else { name };
            if !name.is_empty() && !name.starts_with("safari") {
                return Some(name);
            }
        }
        if is_known_system(comment) || text.has("konqueror") {
            continue;
        }
        if let Some(rest) = comment.split_once("compatible").map(|(_, rest)| rest) {
            return Some(first_word(rest.trim_start_matches([';', ' ', '+', ',', ')'])));
        }
    }
    // `… Safari/537.36; compatible; Name/1.0`, outside of brackets.
    let (_, rest) = text.lower.split_once("; compatible;").or_else(|| text.lower.split_once(" compatible; "))?;
    (!is_known_system(rest)).then(|| first_word(rest))
}

/// Whether the comment behind `compatible;` belongs to a browser of old.
fn is_known_system(comment: &str) -> bool {
    const SYSTEMS: &[&str] = &[
        "msie",
        "ie 11",
        "windows",
        "mac os x",
        "mac_powerpc",
        "x11",
        "linux",
        "ms-office",
        "msoffice",
        "lotus-notes",
        "webtv",
        "netpositive",
        "omniweb",
        "icab",
        "opera",
        "netscape",
        "escape",
        "ibrowse",
        "amiga",
        "beos",
        "konqueror",
        "googletoolbar",
    ];
    SYSTEMS.iter().any(|system| comment.contains(system)) && !comment.contains("firefox mutant")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_show_themselves() {
        let check = |agent: &str, kind: MachineKind| {
            assert_eq!(machine(&Text::new(agent)).map(|found| found.0), Some(kind), "{agent}");
        };
        check("Mozilla/5.0 (compatible; Examplebot/2.0)", MachineKind::Bot);
        check("ExampleCrawler/1", MachineKind::Bot);
        check("curl/8.10.1", MachineKind::Bot);
        check("Go-http-client/2.0", MachineKind::Bot);
        check("python-requests/2.32.3", MachineKind::Bot);
        check(
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/131.0 Safari/537.36",
            MachineKind::Bot,
        );
        check(
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko; compatible; Sample/1.0) Chrome/131.0 Safari/537.36",
            MachineKind::Bot,
        );
        check(
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko, Sample) Chrome/131.0 Safari/537.36",
            MachineKind::Bot,
        );
        check("Mozilla/5.0 (compatible; Sample/1.0; +https://sample.example)", MachineKind::Bot);
        check("Mozilla/5.0 (compatible; Sample)", MachineKind::Bot);
        check("Sample/1.0 (ops@sample.example)", MachineKind::Bot);
        check("Barracuda Sentinel (EE)", MachineKind::SecurityScanner);
        check("Sample-Secure-Email-Gateway/15.5", MachineKind::SecurityScanner);
        check("Sample Link Checker 2", MachineKind::LinkChecker);
        check("Microsoft Office Existence Discovery", MachineKind::LinkChecker);
    }

    #[test]
    fn people_are_left_alone() {
        let check = |agent: &str| assert_eq!(machine(&Text::new(agent)), None, "{agent}");
        check(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        );
        check(
            "Mozilla/5.0 (Linux; Android 8.0; CUBOT) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/101.0 Mobile Safari/537.36",
        );
        check(
            "Mozilla/5.0 (Linux; Android 6.0; IDbot553 Build/M) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/71.0 Mobile",
        );
        check("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0)");
        check("Mozilla/5.0 (compatible; Konqueror/4.5; FreeBSD) KHTML/4.5.4 (like Gecko)");
        check("Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0");
        check("SomeRareReader/4.2");
        check("");
    }
}
