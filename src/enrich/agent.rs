//! What a user agent says: mail client, image proxy, prefetcher, browser or machine; system and device.
//!
//! Our own ordered tables come first, mail clients before machines, because every list of bots catches some mail
//! clients. Only what they leave open is put to woothee, whose data are older but know many old browsers and crawlers.
//! What nobody names stays empty, and what is merely unknown is not called a machine. Masks are not repeated: the
//! Firefox 11 on Windows XP of Gmail's proxy is no fact about a reader. Pure; the cost is some microseconds.

mod browsers;
mod hints;
mod machines;
mod mailers;
mod systems;
mod text;

pub use hints::refine;
pub(super) use text::cut;

use serde_json::{Value, json};
use woothee::parser::Parser;

use self::text::Text;
use crate::model::hit::{Client, Named};

/// What a user agent belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentKind {
    /// A mail program, on behalf of nobody else.
    EmailClient,
    /// A proxy that fetches pictures when the mail is shown.
    ImageProxy,
    /// A mail service that fetches in advance.
    Prefetch,
    /// A browser.
    Browser,
    /// A crawler, scanner, library or other program without a reader.
    Machine,
    /// None of our business, or a rare mail program.
    Unknown,
}

impl AgentKind {
    /// The word in the output of `inspect user-agent`.
    pub fn as_str(self) -> &'static str {
        match self {
            AgentKind::EmailClient => "email_client",
            AgentKind::ImageProxy => "image_proxy",
            AgentKind::Prefetch => "prefetch",
            AgentKind::Browser => "browser",
            AgentKind::Machine => "machine",
            AgentKind::Unknown => "unknown",
        }
    }
}

/// What kind of machine made a hit; the finer word of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MachineKind {
    /// Apple's Mail Privacy Protection, which loads every picture some time after delivery.
    AppleMpp,
    /// Gmail, loading before the mail is shown.
    GmailPrefetch,
    /// A proxy that loads when the mail is shown.
    ImageProxy,
    /// Whoever looks at mail and links for somebody's safety.
    SecurityScanner,
    /// Whoever asks whether a link works.
    LinkChecker,
    /// A browser that loads a page in advance.
    Prefetch,
    /// Any other.
    Bot,
}

impl MachineKind {
    /// The word in events.
    pub fn as_str(self) -> &'static str {
        match self {
            MachineKind::AppleMpp => "apple_mpp",
            MachineKind::GmailPrefetch => "gmail_prefetch",
            MachineKind::ImageProxy => "image_proxy",
            MachineKind::SecurityScanner => "security_scanner",
            MachineKind::LinkChecker => "link_checker",
            MachineKind::Prefetch => "prefetch",
            MachineKind::Bot => "bot",
        }
    }
}

/// What a user agent tells about whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFacts {
    /// Mail client, browser, system and device; empty where not said.
    pub client: Client,
    /// What it belongs to.
    pub kind: AgentKind,
    /// The request was made by a machine and not by the reader's own program: proxies and prefetchers included.
    pub is_machine: bool,
    /// Which machine, if it is one.
    pub machine: Option<MachineKind>,
    /// Whose proxy: `apple`, `gmail`, `yahoo`, `superhuman`.
    pub proxy: Option<&'static str>,
    /// The mail client was concluded from what is missing; on a click it means only "WebKit in some app".
    pub is_concluded: bool,
    /// The version of Chromium inside, its own browsers and others' alike.
    pub chromium: Option<u32>,
    /// A browser that tells how it asks (`Sec-Fetch-Mode`): Chromium from 80 on, Firefox from 90 on, not on iOS.
    pub tells_mode: bool,
    /// Why we think so, in words that a person can check.
    pub reason: String,
}

/// Reads a user agent.
///
/// Never fails, whatever the text; reads at most the first 1,024 bytes, in time linear in them.
pub fn client(user_agent: &str) -> ClientFacts {
    let text = Text::new(user_agent);
    if text.raw.is_empty() {
        return ClientFacts::new(AgentKind::Unknown, "no user agent");
    }
    if let Some(facts) = proxy(&text) {
        return facts;
    }
    if let Some(found) = mailers::mailer(&text) {
        return if is_image_proxy(&text) { proxy_of(found) } else { mail_client(&text, found) };
    }
    if let Some((kind, reason)) = machines::machine(&text) {
        return a_machine(kind, reason);
    }
    if let Some(found) = mailers::named_mail(&text) {
        return mail_client(&text, found);
    }
    let facts = browser(&text);
    match machines::trade(&text) {
        Some((kind, reason)) if facts.kind == AgentKind::Unknown => a_machine(kind, reason),
        _ => facts,
    }
}

/// What `postback inspect user-agent` prints for one user agent.
pub fn inspect_user_agent(user_agent: &str) -> Value {
    let facts = client(user_agent);
    let named = |named: &Named| json!({"name": named.name, "version": named.version});
    json!({
        "ua": user_agent,
        "email_client": named(&facts.client.email_client),
        "browser": named(&facts.client.browser),
        "operating_system": named(&facts.client.operating_system),
        "device": {"name": facts.client.device},
        "is_machine": facts.is_machine,
        "kind": facts.kind.as_str(),
        "reason": facts.reason,
    })
}

impl ClientFacts {
    fn new(kind: AgentKind, reason: &str) -> Self {
        Self {
            client: Client::default(),
            kind,
            is_machine: false,
            machine: None,
            proxy: None,
            is_concluded: false,
            chromium: None,
            tells_mode: false,
            reason: reason.to_owned(),
        }
    }

    fn of_proxy(kind: AgentKind, machine: MachineKind, proxy: &'static str, mail: &str, reason: &str) -> Self {
        let mut facts = Self::new(kind, reason);
        facts.is_machine = true;
        facts.machine = Some(machine);
        facts.proxy = Some(proxy);
        facts.client.email_client.name = mail.to_owned();
        facts
    }
}

/// Those who fetch for a reader: the mail service is known, the reader's own program is not.
fn proxy(text: &Text) -> Option<ClientFacts> {
    let image = |proxy, mail, reason| {
        Some(ClientFacts::of_proxy(AgentKind::ImageProxy, MachineKind::ImageProxy, proxy, mail, reason))
    };
    if text.lower == "mozilla/5.0" {
        let reason = "the bare “Mozilla/5.0” of Apple's Mail Privacy Protection";
        return Some(ClientFacts::of_proxy(AgentKind::Prefetch, MachineKind::AppleMpp, "apple", "Apple Mail", reason));
    }
    if text.has("chrome/42.0.2311.135") && text.lower.ends_with("edge/12.246 mozilla/5.0") {
        let reason = "the fixed text of Gmail's loading in advance";
        return Some(ClientFacts::of_proxy(AgentKind::Prefetch, MachineKind::GmailPrefetch, "gmail", "Gmail", reason));
    }
    if text.has("ggpht.com") || text.has("googleimageproxy") {
        return image("gmail", "Gmail", "Gmail's image proxy");
    }
    if text.has("yahoomailproxy") {
        return image("yahoo", "Yahoo Mail", "Yahoo's image proxy");
    }
    if text.has("superhumanproxy") {
        // This one passes on what the reader's program says, in front of its own words.
        let mut facts = image("superhuman", "Superhuman", "Superhuman's image proxy")?;
        facts.client.email_client.version = text.product("superhuman").unwrap_or("").to_owned();
        describe_system(text, &mut facts.client);
        return Some(facts);
    }
    None
}

/// Whether it says of itself that it fetches pictures for others.
fn is_image_proxy(text: &Text) -> bool {
    ["image proxy", "image-proxy", "imageproxy", "mail proxy", "mail-proxy"].iter().any(|words| text.has(words))
}

/// The proxy of a mail service that we know by its mail client alone.
fn proxy_of(mailer: mailers::Mailer) -> ClientFacts {
    let mut facts = ClientFacts::new(AgentKind::ImageProxy, &format!("names itself an image proxy of {}", mailer.name));
    (facts.is_machine, facts.machine) = (true, Some(MachineKind::ImageProxy));
    facts.client.email_client.name = mailer.name.to_owned();
    facts
}

fn mail_client(text: &Text, found: mailers::Mailer) -> ClientFacts {
    let reason = match found.concluded {
        true => "WebKit on an Apple system without a browser's name: Apple Mail".to_owned(),
        false => format!("names itself {}", found.name),
    };
    let mut facts = ClientFacts::new(AgentKind::EmailClient, &reason);
    facts.is_concluded = found.concluded;
    facts.client.email_client = Named { name: found.name.to_owned(), version: found.version.to_owned() };
    describe_system(text, &mut facts.client);
    facts
}

fn a_machine(kind: MachineKind, reason: String) -> ClientFacts {
    ClientFacts { is_machine: true, machine: Some(kind), reason, ..ClientFacts::new(AgentKind::Machine, "") }
}

fn browser(text: &Text) -> ClientFacts {
    let mut facts = ClientFacts::new(AgentKind::Unknown, "no name that we know");
    describe_system(text, &mut facts.client);
    if let Some((name, version)) = browsers::browser(text) {
        facts.kind = AgentKind::Browser;
        facts.reason = format!("names {name}");
        facts.client.browser = Named { name: name.to_owned(), version: version.to_owned() };
        facts.chromium = text.product("chrome").and_then(text::major);
        let firefox = text.product("firefox").and_then(text::major);
        facts.tells_mode = facts.chromium >= Some(80) || firefox >= Some(90);
        return facts;
    }
    ask_woothee(text, facts)
}

/// What our tables leave open: browsers and systems of long ago, and crawlers by name.
fn ask_woothee(text: &Text, mut facts: ClientFacts) -> ClientFacts {
    let Some(found) = Parser::new().parse(text.raw) else { return facts };
    let known = |value: &str| if value == "UNKNOWN" { String::new() } else { value.to_owned() };
    if found.category == "crawler" {
        return a_machine(MachineKind::Bot, format!("a crawler's name: {}", found.name));
    }
    if matches!(found.category, "pc" | "smartphone" | "mobilephone" | "appliance") {
        let name = known(found.name);
        if !name.is_empty() {
            facts.kind = AgentKind::Browser;
            facts.reason = format!("names {name}");
            facts.client.browser = Named { name, version: known(found.version) };
        }
        // An app of Apple's runs on a telephone or on a Mac; woothee would take it for a telephone's.
        if facts.client.operating_system.name.is_empty() && !text.has("cfnetwork") {
            facts.client.operating_system = Named { name: known(found.os), version: known(&found.os_version) };
        }
    }
    facts
}

fn describe_system(text: &Text, client: &mut Client) {
    let system = systems::system(text).unwrap_or_default();
    client.device = systems::device(text, system.name).to_owned();
    client.operating_system = Named { name: system.name.to_owned(), version: system.version };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(agent: &str, kind: AgentKind, mail: &str, browser: &str, system: &str, device: &str) {
        let facts = client(agent);
        let Client { email_client, browser: named, operating_system, device: shape } = &facts.client;
        let found = (
            facts.kind,
            email_client.name.as_str(),
            named.name.as_str(),
            operating_system.name.as_str(),
            shape.as_str(),
        );
        assert_eq!(found, (kind, mail, browser, system, device), "{agent}");
        assert!(!facts.reason.is_empty());
    }

    #[test]
    fn each_kind_is_described_as_far_as_it_is_known() {
        use AgentKind::{Browser, EmailClient, ImageProxy, Machine, Prefetch, Unknown};
        check("", Unknown, "", "", "", "");
        check("Mozilla/5.0", Prefetch, "Apple Mail", "", "", "");
        check(
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            ImageProxy,
            "Gmail",
            "",
            "",
            "",
        );
        check(
            "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
            ImageProxy,
            "Yahoo Mail",
            "",
            "",
            "",
        );
        check("Fastmail Image Proxy", ImageProxy, "Fastmail", "", "", "");
        check("Outlook-Image-Proxy", ImageProxy, "Microsoft Outlook", "", "", "");
        check("Harbour/3.9 CFNetwork/1568.200.51 Darwin/24.1.0", Unknown, "", "", "", "");
        check("Harbour Mail/6.2.0 (Windows NT 10.0)", EmailClient, "Harbour Mail", "", "Windows", "Desktop");
        check(
            "Superhuman/30.1 (com.x; build:1; iOS 18.1) (via SuperhumanProxy; hello@superhuman.com)",
            ImageProxy,
            "Superhuman",
            "",
            "iOS",
            "",
        );
        check(
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3",
            EmailClient,
            "Thunderbird",
            "",
            "Linux",
            "Desktop",
        );
        check(
            "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Trident/7.0; ms-office; MSOffice 16)",
            EmailClient,
            "Microsoft Outlook",
            "",
            "Windows",
            "Desktop",
        );
        check(
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            Browser,
            "",
            "Firefox",
            "Linux",
            "Desktop",
        );
        check("Mozilla/5.0 (compatible; Examplebot/1.0; Windows NT 6.1) Firefox/140.0", Machine, "", "", "", "");
        check("SomeRareReader/4.2", Unknown, "", "", "", "");
        check("DoCoMo/2.0 N901iS(c100;TB;W24H12)", Browser, "", "docomo", "docomo", "");
    }

    #[test]
    fn what_is_printed_keeps_its_order() {
        let printed = inspect_user_agent("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3")
            .to_string();
        let expected = concat!(
            r#"{"ua":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3","#,
            r#""email_client":{"name":"Thunderbird","version":"140.3"},"browser":{"name":"","version":""},"#,
            r#""operating_system":{"name":"Linux","version":""},"device":{"name":"Desktop"},"#,
            r#""is_machine":false,"kind":"email_client","reason":"names itself Thunderbird"}"#
        );
        assert_eq!(printed, expected);
    }

    #[test]
    fn no_text_breaks_it() {
        for text in [
            "(((((",
            ")",
            "/",
            "//////",
            "(compatible;",
            "Mozilla/5.0 (",
            "\u{0}\u{ffff}/1",
            "ÄÖ/ß (ü",
            "; compatible;",
        ] {
            client(text);
            client(&text.repeat(700));
        }
    }
}
