//! Browsers, by the products in a user agent.
//!
//! Every browser also names those that it is built on, so the table is asked from the most special to the most general:
//! Edge before Chrome before Safari. Versions are the browser's own, not its engine's. Called by `agent` only.

use std::sync::LazyLock;

use super::text::{Lexicon, Text, major};

/// The browser that `text` names, with its version.
pub(super) fn browser<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    opera(text)
        .or_else(|| text.has(") brave chrome/").then_some(("Brave", text.version_after("brave chrome/"))))
        .or_else(|| text.has(" instagram ").then_some(("Instagram", text.version_after(" instagram "))))
        .or_else(|| NAMED.find(text, |token| text.slashed(token)).map(|(_, name, version)| (name, version)))
        .or_else(|| firefox(text))
        .or_else(|| explorer(text))
        .or_else(|| chrome(text))
        .or_else(|| safari(text))
}

static NAMED: LazyLock<Lexicon<&'static str>> = LazyLock::new(|| Lexicon::new(NAMES.iter().copied()));

/// `token` (lower case, as in the user agent) and the name we report.
#[rustfmt::skip]
const NAMES: &[(&str, &str)] = &[
    ("ucbrowser", "UC Browser"), ("ubrowser", "UC Browser"), ("ucweb", "UC Browser"),
    ("edgios", "Edge"), ("edga", "Edge"), ("edg", "Edge"), ("edge", "Edge"),
    ("samsungbrowser", "Samsung Internet"), ("yabrowser", "Yandex Browser"), ("yowser", "Yandex Browser"),
    ("yasearchbrowser", "Yandex Browser"), ("vivaldi", "Vivaldi"), ("brave", "Brave"),
    ("duckduckgo", "DuckDuckGo"), ("ddg", "DuckDuckGo"), ("ddg_android", "DuckDuckGo"), ("ddg_ios", "DuckDuckGo"),
    ("miuibrowser", "MIUI Browser"), ("mqqbrowser", "QQ Browser"), ("qqbrowser", "QQ Browser"),
    ("huaweibrowser", "Huawei Browser"), ("heytapbrowser", "HeyTap Browser"), ("vivobrowser", "Vivo Browser"),
    ("silk", "Silk"), ("whale", "Whale"), ("coc_coc_browser", "Coc Coc"), ("maxthon", "Maxthon"),
    ("puffin", "Puffin"), ("avast", "Avast Secure Browser"), ("avg", "AVG Secure Browser"), ("iron", "Iron"),
    ("baidubrowser", "Baidu Browser"), ("bidubrowser", "Baidu Browser"), ("baiduboxapp", "Baidu App"),
    ("metasr", "Sogou Explorer"), ("sogoumobilebrowser", "Sogou Explorer"), ("qihoobrowser", "360 Browser"),
    ("360se", "360 Browser"), ("lbbrowser", "Liebao"), ("quark", "Quark"), ("alohabrowser", "Aloha"),
    ("ecosia", "Ecosia"), ("qwantbrowser", "Qwant"), ("arc", "Arc"), ("sidekick", "Sidekick"),
    ("micromessenger", "WeChat"), ("instagram", "Instagram"), ("fban", "Facebook"), ("fbav", "Facebook"),
    ("gsa", "Google App"), ("line", "LINE"), ("snapchat", "Snapchat"), ("pinterest", "Pinterest"),
    ("linkedinapp", "LinkedIn"), ("twitter for iphone", "Twitter"), ("bytedancewebview", "TikTok"),
    ("palemoon", "Pale Moon"), ("seamonkey", "SeaMonkey"), ("waterfox", "Waterfox"), ("librewolf", "LibreWolf"),
    ("basilisk", "Basilisk"), ("k-meleon", "K-Meleon"), ("iceweasel", "Iceweasel"), ("icecat", "IceCat"),
    ("iceape", "Iceape"), ("camino", "Camino"), ("netscape", "Netscape"), ("navigator", "Netscape"),
    ("flock", "Flock"), ("epiphany", "Epiphany"), ("falkon", "Falkon"), ("qutebrowser", "qutebrowser"),
    ("midori", "Midori"), ("konqueror", "Konqueror"), ("qupzilla", "QupZilla"), ("rekonq", "Rekonq"),
    ("omniweb", "OmniWeb"), ("icab", "iCab"), ("dolfin", "Dolphin"), ("nokiabrowser", "Nokia Browser"),
    ("bb10", "BlackBerry Browser"), ("netfront", "NetFront"), ("lynx", "Lynx"), ("links", "Links"), ("w3m", "w3m"),
    ("elinks", "ELinks"), ("dillo", "Dillo"), ("ladybird", "Ladybird"),
];

/// Opera under Presto and since; Opera Mini, on Android told by the 2254 in its version.
fn opera<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    if text.product("ucbrowser").is_some() {
        // A UC Browser of the time claims Opera Mini.
        return None;
    }
    if let Some(version) = text.product("opera mini").or_else(|| text.product("opios")) {
        return Some(("Opera Mini", version));
    }
    if let Some(version) = text.product("opr").or_else(|| text.product("opt")).or_else(|| text.product("opx")) {
        let is_mini = version.split('.').nth(2) == Some("2254");
        return Some((if is_mini { "Opera Mini" } else { "Opera" }, version));
    }
    let version = text.product("opera")?;
    // Since 10 it says 9.80 in front and the truth behind.
    let told = text.product("version").filter(|told| !told.is_empty() && text.lower.starts_with("opera/"));
    (!version.is_empty()).then(|| ("Opera", told.unwrap_or(version)))
}

/// Firefox, its names on iOS and of builds before a release.
fn firefox<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    if let Some(version) = text.product("focus").or_else(|| text.product("klar")) {
        return Some(("Firefox Focus", version));
    }
    if text.product("like firefox").is_some() {
        return None;
    }
    const NAMES: &[&str] = &[
        "fxios",
        "firefox",
        "minefield",
        "bonecho",
        "shiretoko",
        "namoroka",
        "granparadiso",
        "lorentz",
        "deerpark",
        "firebird",
        "phoenix",
    ];
    NAMES.iter().find_map(|name| Some(("Firefox", text.product(name)?)))
}

/// Internet Explorer: the engine tells the version, for a compatibility view claims to be older.
fn explorer<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    let engine = text.product("trident").and_then(major);
    if engine.is_none() && text.product("msie").is_none() {
        return None;
    }
    let version = match engine {
        Some(7 | 8) => "11.0",
        Some(6) => "10.0",
        Some(5) => "9.0",
        Some(4) => "8.0",
        _ => text.product("msie").unwrap_or(""),
    };
    Some(("Internet Explorer", version))
}

/// Chrome and Chromium, and what Android puts into other apps.
fn chrome<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    if let Some(version) = text.product("crios") {
        return Some(("Chrome", version));
    }
    if let Some(version) = text.product("chromium") {
        return Some(("Chromium", version));
    }
    let version = text.product("chrome")?;
    let shown = text.product("version");
    if text.has("android") && text.has("; samsung") && shown.is_some() && !text.has("; wv)") {
        let own = shown.filter(|shown| major(shown) < Some(4)).unwrap_or("");
        if !own.is_empty() {
            return Some(("Samsung Internet", own));
        }
    }
    if text.has("; wv)") || (text.has("android") && shown == Some("4.0")) {
        return Some(("Chrome WebView", version));
    }
    match shown {
        // A Safari that says Chrome for the sake of some page.
        Some(own) if !text.has("android") && major(version) < Some(5) => Some(("Safari", own)),
        _ => Some(("Chrome", version)),
    }
}

/// Safari, and the browser of old Android.
fn safari<'a>(text: &Text<'a>) -> Option<(&'static str, &'a str)> {
    let is_app = text.has("cfnetwork") && (text.begins("safari") || text.begins("mobilesafari"));
    let is_safari = text.has("safari/") || text.product("version").is_some() || text.has("hbbtv");
    if !(is_app || text.has("applewebkit") && is_safari) {
        return None;
    }
    let version = text.product("version").unwrap_or("");
    Some((if text.has("android") { "Android Browser" } else { "Safari" }, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_special_name_wins() {
        let check = |agent: &str, name: &str, version: &str| {
            let text = Text::new(agent);
            assert_eq!(browser(&text).unwrap_or_default(), (name, version), "{agent}");
        };
        const WEBKIT: &str = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko)";
        check(&format!("{WEBKIT} Chrome/131.0.0.0 Safari/537.36"), "Chrome", "131.0.0.0");
        check(&format!("{WEBKIT} Chrome/131.0.0.0 Safari/537.36 Edg/131.0.2903.51"), "Edge", "131.0.2903.51");
        check(&format!("{WEBKIT} Chrome/130.0.0.0 Safari/537.36 OPR/115.0.0.0"), "Opera", "115.0.0.0");
        check(&format!("{WEBKIT} Chrome/130.0.0.0 Safari/537.36 Vivaldi/7.0.1"), "Vivaldi", "7.0.1");
        check(&format!("{WEBKIT} Brave Chrome/80.0.3987.1 Safari/537.36"), "Brave", "80.0.3987.1");
        check("Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox", "133.0");
        check("Mozilla/5.0(X11;Linuxx86_64;rv:146.0)Gecko/20100101Firefox/146.0", "Firefox", "146.0");
        check("Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko", "Internet Explorer", "11.0");
        check("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; Trident/4.0)", "Internet Explorer", "8.0");
        check("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", "Internet Explorer", "6.0");
        check("Opera/9.80 (X11; Linux) Presto/2.12 Version/12.16", "Opera", "12.16");
        check("Opera/9.80 (Android; Opera Mini/36.2/1; U; en) Presto/2 Version/12.16", "Opera Mini", "36.2");
        const ANDROID: &str = "Mozilla/5.0 (Linux; Android 14; X";
        check(&format!("{ANDROID}) AppleWebKit/537.36 Chrome/130.0.0.0 Mobile Safari/537.36"), "Chrome", "130.0.0.0");
        check(
            &format!("{ANDROID}; wv) AppleWebKit/537.36 Version/4.0 Chrome/130.0 Mobile Safari/5"),
            "Chrome WebView",
            "130.0",
        );
        check(
            &format!("{ANDROID}; wv) AppleWebKit Version/4.0 Chrome/121.0 Safari/5 OPR/78.0.2254.7"),
            "Opera Mini",
            "78.0.2254.7",
        );
        check(
            &format!("{ANDROID}) AppleWebKit SamsungBrowser/27.0 Chrome/125.0 Mobile Safari/5"),
            "Samsung Internet",
            "27.0",
        );
        check(
            "Mozilla/5.0 (Linux; U; Android 2.3.4; X) AppleWebKit/533.1 Version/4.0 Mobile Safari/533.1",
            "Android Browser",
            "4.0",
        );
        const IPHONE: &str =
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)";
        check(&format!("{IPHONE} Version/18.1 Mobile/15E148 Safari/604.1"), "Safari", "18.1");
        check(&format!("{IPHONE} CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1"), "Chrome", "131.0.6778.73");
        check(&format!("{IPHONE} FxiOS/133.0 Mobile/15E148 Safari/605.1.15"), "Firefox", "133.0");
        check(&format!("{IPHONE} Mobile/15E148"), "", "");
        check("Mozilla/5.0 (Linux; Android 12; motorola edge 30) AppleWebKit Chrome/130.0 Mobile", "Chrome", "130.0");
        check("", "", "");
    }
}
