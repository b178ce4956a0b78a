//! Mail clients by the names they give themselves.
//!
//! Two lists: [`FAMILIES`] for clients whose name or version hides in the text (Outlook, Yahoo, Apple Mail), and
//! [`NAMES`] for those that say `Name/1.2`. They are asked before any rule about machines, because a mail client does
//! not look like a browser and every list of bots catches some. A name we do not know but that contains "mail" is
//! taken as it stands, after the machines ([`named_mail`]). Pure data and text; called by `agent` only.

use std::sync::LazyLock;

use super::text::{Lexicon, Text, major, version_prefix};

/// A mail client and its version, which may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mailer<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// The name was not said but concluded from what is missing.
    pub concluded: bool,
}

/// The mail client that `text` names.
pub(super) fn mailer<'a>(text: &Text<'a>) -> Option<Mailer<'a>> {
    let family = FAMILIES.iter().find_map(|family| family(text));
    let named = || NAMED.find(text, |token| text.product(token)).map(|(_, name, version)| (name, version));
    if let Some((name, version)) = family.or_else(named) {
        return Some(Mailer { name, version, concluded: false });
    }
    is_bare_webkit(text).then_some(Mailer { name: "Apple Mail", version: "", concluded: true })
}

/// A product with "mail" in its name and a version, named as it names itself.
///
/// To be asked after the machines: `MailChecker/1.0` is none.
pub(super) fn named_mail<'a>(text: &Text<'a>) -> Option<Mailer<'a>> {
    let raw = text.raw;
    raw.match_indices('/').find_map(|(at, _)| {
        let name = last_word(&raw[..at]);
        let version = version_prefix(&raw[at + 1..]);
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '!'));
        let is_mail = is_name && !version.is_empty() && name.to_ascii_lowercase().contains("mail");
        // `Some Mail/1.2`: the name is both words.
        let is_half = name.eq_ignore_ascii_case("mail") || name.eq_ignore_ascii_case("email");
        let first = raw[..at - name.len()].strip_suffix(' ').filter(|_| is_half).map_or("", last_word);
        let is_whole = first.is_empty() || !first.chars().all(|c| c.is_ascii_alphanumeric());
        let length = if is_whole { name.len() } else { first.len() + 1 + name.len() };
        is_mail.then(|| Mailer { name: &raw[at - length..at], version, concluded: false })
    })
}

fn last_word(text: &str) -> &str {
    text.rsplit([' ', ';', '(', ')', ',']).next().unwrap_or("")
}

type Family = for<'a> fn(&Text<'a>) -> Option<(&'static str, &'a str)>;

/// Clients that need more than a look at one product, in order.
const FAMILIES: &[Family] = &[outlook, yahoo, apple, mail_ru, kde, gmail];

static NAMED: LazyLock<Lexicon<&'static str>> = LazyLock::new(|| Lexicon::new(NAMES.iter().copied()));

/// `token` (lower case, as in the user agent) and the name we report. Order matters where one text names two.
#[rustfmt::skip]
const NAMES: &[(&str, &str)] = &[
    // Built on Thunderbird, which they may name as well.
    ("betterbird", "Betterbird"), ("epyrus", "Epyrus"), ("interlink/", "Interlink"), ("fossamail", "FossaMail"),
    ("framabird", "Framabird"), ("postboxapp", "Postbox"), ("postbox", "Postbox"), ("icedove", "Icedove"),
    ("spicebird", "Spicebird"), ("correo/", "Correo"), ("eudora", "Eudora"), ("zdesktop", "Zimbra Desktop"),
    ("zimbra desktop", "Zimbra Desktop"), ("zimbra", "Zimbra Desktop"), ("thunderbird", "Thunderbird"),
    ("shredder", "Thunderbird"), ("earlybird", "Thunderbird"), ("lanikai", "Thunderbird"),
    // In a browser's shell (Electron, WebView2), so the shell's products stand beside the name.
    ("mailspring", "Mailspring"), ("nylas mail", "Nylas Mail"), ("nylasmail", "Nylas Mail"), ("nylas/", "Nylas Mail"),
    ("mailbird", "Mailbird"), ("spark desktop", "Spark"), ("spark/", "Spark"), ("sparkdesktop", "Spark"),
    ("sparkmail", "Spark"), ("readdlespark", "Spark"), ("superhuman", "Superhuman"), ("shortwave", "Shortwave"),
    ("tutanota-desktop", "Tuta"), ("tutanota", "Tuta"), ("tuta-mail", "Tuta"), ("zohomail-desktop", "Zoho Mail"),
    ("zohomail", "Zoho Mail"), ("zoho mail", "Zoho Mail"), ("zohotridentmac", "Zoho Trident"),
    ("zohotrident", "Zoho Trident"), ("zohotridentwin", "Zoho Trident"), ("fastmailua", "Fastmail"),
    ("fastmail", "Fastmail"), ("mailmasterpc", "Mail Master"), ("mailmastermac", "Mail Master"),
    ("mailmaster", "Mail Master"), ("protonmail", "Proton Mail"), ("proton-mail", "Proton Mail"),
    ("proton mail", "Proton Mail"), ("missive/", "Missive"), ("frontapp", "Front"), ("front/", "Front"),
    ("hiri/", "Hiri"), ("polymail", "Polymail"), ("notion mail", "Notion Mail"), ("notionmail", "Notion Mail"),
    ("rambox-mail", "Rambox"), ("mailplane", "Mailplane"), ("mimestream", "Mimestream"),
    ("canarymail", "Canary Mail"), ("canary mail", "Canary Mail"), ("spikenow", "Spike"), ("hey/", "HEY"), ("hey ios", "HEY"),
    ("hey android", "HEY"),
    ("twobird", "Twobird"), ("inboxbygmail", "Inbox by Gmail"),
    // Desktop.
    ("em client", "eM Client"), ("em_client", "eM Client"), ("emclient", "eM Client"), ("airmail", "Airmail"),
    ("sparrow/", "Sparrow"), ("unibox/", "Unibox"), ("mailmate", "MailMate"), ("mailbar", "MailBar"),
    ("gyazmail", "GyazMail"), ("the bat!", "The Bat!"), ("thebat!", "The Bat!"), ("thebat", "The Bat!"),
    ("becky!", "Becky!"), ("becky/", "Becky!"), ("foxmail", "Foxmail"), ("incredimail", "IncrediMail"),
    ("pegasus mail", "Pegasus Mail"), ("pegasus/", "Pegasus Mail"), ("pocomail", "PocoMail"), ("barcapro", "Barca"),
    ("barca/", "Barca"), ("lotus-notes", "Lotus Notes"), ("lotus notes", "Lotus Notes"), ("hcl notes", "HCL Notes"),
    ("novell groupwise", "GroupWise"), ("groupwise", "GroupWise"), ("evolution", "Evolution"),
    ("claws mail", "Claws Mail"), ("claws-mail", "Claws Mail"), ("clawsmail", "Claws Mail"), ("sylpheed", "Sylpheed"),
    ("geary/", "Geary"), ("trojita", "Trojitá"), ("trojitá", "Trojitá"), ("balsa/", "Balsa"), ("mutt/", "Mutt"),
    ("neomutt", "NeoMutt"), ("alpine/", "Alpine"), ("mail free", "Mail Free"), ("mailwasher", "MailWasher"),
    ("turnpike/", "Turnpike"), ("opera mail", "Opera Mail"), ("microsoft-macoutlook", "Microsoft Outlook"),
    ("entourage/", "Microsoft Entourage"),
    // Mobile.
    ("k-9 mail", "K-9 Mail"), ("k-9", "K-9 Mail"), ("k9mail", "K-9 Mail"), ("fairemail", "FairEmail"),
    ("aquamail", "Aqua Mail"), ("aqua mail", "Aqua Mail"), ("bluemail", "BlueMail"), ("blue mail", "BlueMail"),
    ("edisonmail", "Edison Mail"), ("edison mail", "Edison Mail"), ("ninemail", "Nine"), ("nine/", "Nine"),
    ("nine-mail", "Nine"), ("typemail", "TypeMail"), ("mymail", "myMail"), ("newton/", "Newton"),
    ("cloudmagic", "Newton"), ("boxer/", "Boxer"), ("altomail", "Alto"), ("aolmail", "AOL Mail"),
    ("aol mail", "AOL Mail"), ("samsung email", "Samsung Email"), ("samsungemail", "Samsung Email"),
    ("com.samsung.android.email.provider", "Samsung Email"), ("com.samsung.android.email", "Samsung Email"),
    ("qqmail", "QQ Mail"), ("gmx mail", "GMX Mail"), ("web.de mail", "WEB.DE Mail"), ("mailapp", "MailApp"),
    ("seznam email", "Seznam Email"), ("email.cz", "Seznam Email"), ("yandexmail", "Yandex Mail"),
    ("ru.yandex.mail", "Yandex Mail"), ("com.readdle.smartemail", "Spark"), ("com.easilydo.mail", "Edison Mail"),
];

/// Outlook has as many forms as platforms; its `MSIE 7.0 … Trident` is no Internet Explorer.
fn outlook<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    if text.has("outlook-express/") {
        // Windows Live Mail calls itself so; the 7.0 is not its version.
        return Some(("Windows Live Mail", ""));
    }
    const OTHERS: &[(&str, &str)] = &[
        ("windows live mail", "Windows Live Mail"),
        ("windowslivemail", "Windows Live Mail"),
        ("outlook express", "Outlook Express"),
        ("windowsmail", "Windows Mail"),
        ("windows mail", "Windows Mail"),
    ];
    if let Some(found) = OTHERS.iter().find_map(|(token, name)| Some((*name, text.product(token)?))) {
        return Some(found);
    }
    const NAME: &str = "Microsoft Outlook";
    if text.has("outlook-ios/") || text.has("outlook-android/") {
        // `Outlook-iOS/709.2189947.prod.iphone (3.24.0)`: the build first, the version in brackets.
        let told = [" (", "outlook-android/", "outlook-ios/"].iter().map(|prefix| text.version_after(prefix));
        let is_build = |version: &str| major(version) >= Some(100);
        let version = told.into_iter().find(|version| !version.is_empty() && !is_build(version));
        return Some((NAME, version.unwrap_or("")));
    }
    const FORMS: &[&str] = &[
        "oneoutlook",
        "macoutlook",
        "microsoft outlook mail",
        "microsoft office outlook",
        "microsoft outlook",
        "outlook-ios-android",
        "outlookmobile",
        "outlooklite",
        "outlook",
    ];
    if let Some(version) = FORMS.iter().find_map(|form| text.product(form)) {
        return Some((NAME, version));
    }
    // Other Office programs name themselves; what is left is Outlook.
    let is_office = text.has("ms-office") || text.has("msoffice ");
    let is_other =
        ["word", "excel", "powerpoint", "onenote", "visio", "lync", "skype"].iter().any(|name| text.word(name));
    (is_office && !is_other).then(|| (NAME, text.version_after("msoffice ")))
}

/// `YahooMobile/1.0 (mail; 1.3.8.9816)`, `YahooMobileMail/1.0 (Android Mail; 1.3.10)`, `… jp.co.yahoo.ymail/9.1.3`.
fn yahoo<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    for token in ["jp.co.yahoo.ymail", "jp.co.yahoo.android.ymail", "jp.co.yahoo.ipn.ymail"] {
        if let Some(version) = text.product(token) {
            return Some(("Yahoo! Mail (Japan)", version));
        }
    }
    const NAME: &str = "Yahoo Mail";
    if text.has("yahoomobile") && text.has("mail; ") {
        return Some((NAME, text.version_after("mail; ")));
    }
    let tokens =
        ["yahoomobilemail", "yahoomail", "yahoo mail", "com.yahoo.aerogram", "com.yahoo.mobile.client.android.mail"];
    tokens.iter().find_map(|token| Some((NAME, text.product(token)?)))
}

/// `Mail/3445.1.6 CFNetwork/887 Darwin/17.0.0`: the number is a build, and no version can be read from it.
fn apple<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    let is_mail = text.lower.starts_with("mail/") || text.lower.starts_with("mobilemail/") || text.has("applemail/");
    (is_mail && (text.has("cfnetwork") || text.has("applemail"))).then_some(("Apple Mail", ""))
}

/// `mobmail android 5.7.0.22182 ru.mail.mailapp`.
fn mail_ru<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    let version = ["mobmail android ", "mobmail ios ", "mobmail "].iter().map(|prefix| text.version_after(prefix));
    (text.has("ru.mail.") || text.word("mobmail"))
        .then(|| ("Mail.ru", version.into_iter().find(|found| !found.is_empty()).unwrap_or("")))
}

/// `kmail2/5.2.3`, `KMail/1.9`, `kontact/4.14.9`.
fn kde<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    let forms = [("kmail2", "KMail"), ("kmail", "KMail"), ("kontact", "Kontact")];
    forms.iter().find_map(|(token, name)| Some((*name, text.product(token)?)))
}

/// The apps; mail seen in Gmail comes through a proxy and never gets here.
fn gmail<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    let tokens = ["com.google.gmail", "com.google.android.gm", "gmail"];
    tokens.iter().find_map(|token| Some(("Gmail", text.slashed(token)?)))
}

/// Apple Mail shows itself by what is missing: WebKit on an Apple system, neither `Version/` nor `Safari/`, and at
/// most the build of the system behind it.
fn is_bare_webkit(text: &Text) -> bool {
    const APPLE: &[&str] =
        &["mozilla/5.0 (macintosh; ", "mozilla/5.0 (iphone; ", "mozilla/5.0 (ipad; ", "mozilla/5.0 (ipod"];
    let Some((before, after)) = text.lower.split_once(" (khtml, like gecko)") else { return false };
    let is_build =
        |rest: &str| rest.split_once("mobile/").is_some_and(|(gap, build)| gap.is_empty() && is_build(build));
    APPLE.iter().any(|start| before.starts_with(start))
        && before.contains(" applewebkit/")
        && (after.trim().is_empty() || is_build(after.trim()))
}

/// The build of an Apple system: `15e148`.
fn is_build(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(agent: &str, expected: Option<(&str, &str)>) {
        let text = Text::new(agent);
        assert_eq!(mailer(&text).map(|found| (found.name, found.version)), expected, "{agent}");
    }

    #[test]
    fn clients_are_known_by_name() {
        check(
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3.1",
            Some(("Thunderbird", "140.3.1")),
        );
        check(
            "Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Thunderbird/128.1 Betterbird/128.1.1",
            Some(("Betterbird", "128.1.1")),
        );
        check(
            "Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0.0.0 Electron/33.0 Mailspring/1.15.0 Safari/537.36",
            Some(("Mailspring", "1.15.0")),
        );
        check("The Bat! 11.2.1", Some(("The Bat!", "11.2.1")));
        check("eM Client/10.1.4588.0", Some(("eM Client", "10.1.4588.0")));
        check("Evolution 3.52.3", Some(("Evolution", "3.52.3")));
        check(
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) kmail2 Safari/538.1",
            Some(("KMail", "")),
        );
        check("mobmail ios 14.2.0.38 ru.mail.mail", Some(("Mail.ru", "14.2.0.38")));
        check(
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Spark Desktop/3.10.4 Chrome/116.0 Electron/26.6 Safari/537.36",
            Some(("Spark", "3.10.4")),
        );
        check("Mozilla/5.0 (Macintosh; rv:68.0) Gecko/20100101 PostboxApp/7.0.60", Some(("Postbox", "7.0.60")));
        check("eM_Client/7.2.35595.0", Some(("eM Client", "7.2.35595.0")));
        check("K-9 Mail for Android/6.712", Some(("K-9 Mail", "6.712")));
        check("HEY iOS/1.2.20 (build 333; iPhone; iOS 18.5)", Some(("HEY", "1.2.20")));
        check("The Bat! (v4.2.44) UNREG", Some(("The Bat!", "4.2.44")));
    }

    #[test]
    fn outlook_has_many_forms() {
        let check = |agent: &str, version: &str| check(agent, Some(("Microsoft Outlook", version)));
        check("Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17928; Pro)", "16.0.17928");
        check(
            "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Trident/7.0; Microsoft Outlook 16.0.5071; ms-office; MSOffice 16)",
            "16.0.5071",
        );
        check("Mozilla/4.0 (compatible; ms-office; MSOffice rmj)", "");
        check("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; Trident/4.0; MSOffice 12)", "12");
        check("MacOutlook/16.89.24091630 (Intelx64 Mac OS X Version 14.6)", "16.89.24091630");
        check("Outlook/16.78 CFNetwork/1410 Darwin/22.6.0", "16.78");
        check("Outlook-iOS/733.3500184.prod.iphone (4.2440.0)", "4.2440.0");
        check("Outlook-iOS/733.3500184.prod.iphone", "");
        check("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Mobile/15E148 Outlook-iOS/5.2610.0", "5.2610.0");
        check("Mozilla/5.0 (Linux; Android 13; K) Chrome/140.0.0.0 Mobile Safari/537.36 OutlookLite/3.55.0", "3.55.0");
        check(
            "Mozilla/5.0 (Windows NT 10.0) Chrome/130.0 Safari/537.36 Edg/130.0 OneOutlook/1.2024.900.1",
            "1.2024.900.1",
        );
    }

    #[test]
    fn apple_mail_is_what_is_missing() {
        let apple = Some(("Apple Mail", ""));
        check("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)", apple);
        check(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
            apple,
        );
        check(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 Chat/9",
            None,
        );
        check(
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
            None,
        );
        check("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko)", None);
        check("Mail/3774.600.62 CFNetwork/1568.200.51 Darwin/24.1.0", apple);
    }

    #[test]
    fn other_programs_are_no_mail_clients() {
        check("Microsoft Office/16.0 (Windows NT 10.0; Microsoft Word 16.0.17928; Pro)", None);
        check("Mozilla/4.0 (compatible; ms-office; MSOffice 16; Microsoft Excel 16.0)", None);
        check("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0", None);
        check("", None);
    }

    #[test]
    fn an_unknown_mail_client_is_named_as_it_names_itself() {
        let check = |agent: &str, expected: Option<(&str, &str)>| {
            let text = Text::new(agent);
            assert_eq!(named_mail(&text).map(|found| (found.name, found.version)), expected, "{agent}");
        };
        check("Mozilla/5.0 (X11) HarbourMail/2.1 Safari/537", Some(("HarbourMail", "2.1")));
        check("Harbour Mail/6.2.0 (Windows NT 10.0)", Some(("Harbour Mail", "6.2.0")));
        check("Mozilla/5.0 (X11; Mail/6.2.0) Email/1.0", Some(("Mail", "6.2.0")));
        check("Mozilla/5.0 (X11; mailto:x@example.com)", None);
        check("Mail", None);
    }
}
