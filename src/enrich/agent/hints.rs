//! Client hints: what a browser says in headers of its own because its user agent no longer does.
//!
//! Chrome and its kin freeze the user agent (Windows 10, macOS 10.15.7, Android 10) and send `Sec-CH-UA*` on
//! navigation over https: brands always, versions of the system only where asked for. Applied to clicks; a request
//! without such headers changes nothing. Follows the draft "User-Agent Client Hints" (WICG) and RFC 8941 strings.

use super::text::{cut, major};
use crate::model::hit::{Client, Named};

/// Corrects `client` by the client hints among `headers` (names in lower case).
pub fn refine(client: &mut Client, headers: &[(String, String)]) {
    let header = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if let Some((name, version)) = header("sec-ch-ua").and_then(brand) {
        let is_same = client.browser.name == name && major(&client.browser.version).is_some();
        if !is_same && !client.browser.name.is_empty() {
            client.browser = Named { name: name.to_owned(), version: version.to_owned() };
        }
    }
    let Some(platform) = header("sec-ch-ua-platform").map(unquoted).and_then(system) else { return };
    let told = header("sec-ch-ua-platform-version").map(unquoted).unwrap_or("");
    let version = match (platform, major(told)) {
        (_, None) if client.operating_system.name == platform => return,
        (_, None) => String::new(),
        ("Windows", Some(13..)) => "11".to_owned(),
        ("Windows", Some(1..)) => "10".to_owned(),
        // 0.1, 0.2, 0.3: Windows 7, 8, 8.1, which the user agent tells as well.
        ("Windows", Some(0)) => client.operating_system.version.clone(),
        _ => cut(told, 16).trim_end_matches(".0").to_owned(),
    };
    client.operating_system = Named { name: platform.to_owned(), version };
}

/// The brand of a browser that its user agent may hide: `"Brave";v="131", "Chromium";v="131", "Not_A Brand";v="24"`.
fn brand(header: &str) -> Option<(&'static str, &str)> {
    const BRANDS: &[(&str, &str)] = &[
        ("Brave", "Brave"),
        ("Microsoft Edge", "Edge"),
        ("Opera", "Opera"),
        ("YaBrowser", "Yandex Browser"),
        ("Vivaldi", "Vivaldi"),
        ("Samsung Internet", "Samsung Internet"),
        ("DuckDuckGo", "DuckDuckGo"),
        ("Whale", "Whale"),
        ("Android WebView", "Chrome WebView"),
        ("HuaweiBrowser", "Huawei Browser"),
        ("Google Chrome", "Chrome"),
    ];
    let listed = |brand: &str| {
        header.split(',').take(16).find_map(|item| {
            let (name, rest) = item.trim().strip_prefix('"')?.split_once('"')?;
            let version = rest.split_once("v=\"").and_then(|(_, version)| version.split('"').next()).unwrap_or("");
            (name == brand).then_some(version)
        })
    };
    let is_number = |version: &&str| version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    BRANDS.iter().find_map(|(brand, name)| Some((*name, listed(brand).filter(is_number)?)))
}

fn system(platform: &str) -> Option<&'static str> {
    match platform {
        "Windows" => Some("Windows"),
        "macOS" => Some("macOS"),
        "Android" => Some("Android"),
        "iOS" => Some("iOS"),
        "Linux" => Some("Linux"),
        "Chrome OS" | "Chromium OS" => Some("ChromeOS"),
        _ => None,
    }
}

fn unquoted(value: &str) -> &str {
    value.trim().trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::agent::client;

    #[test]
    fn hints_tell_what_the_user_agent_hides() {
        const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
        let check = |headers: &[(&str, &str)], browser: (&str, &str), system: (&str, &str)| {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            let mut found = client(CHROME).client;
            refine(&mut found, &headers);
            assert_eq!((found.browser.name.as_str(), found.browser.version.as_str()), browser, "{headers:?}");
            assert_eq!(
                (found.operating_system.name.as_str(), found.operating_system.version.as_str()),
                system,
                "{headers:?}"
            );
        };
        let chrome = ("Chrome", "131.0.0.0");
        check(&[], chrome, ("Windows", "10"));
        check(&[("sec-ch-ua-platform", "\"Windows\"")], chrome, ("Windows", "10"));
        let version = |version| [("sec-ch-ua-platform", "\"Windows\""), ("sec-ch-ua-platform-version", version)];
        check(&version("\"15.0.0\""), chrome, ("Windows", "11"));
        check(&version("\"10.0.0\""), chrome, ("Windows", "10"));
        check(&version("rubbish"), chrome, ("Windows", "10"));
        let brands = "\"Brave\";v=\"131\", \"Chromium\";v=\"131\", \"Not_A Brand\";v=\"24\"";
        check(&[("sec-ch-ua", brands)], ("Brave", "131"), ("Windows", "10"));
        check(&[("sec-ch-ua", "\"Google Chrome\";v=\"131\"")], chrome, ("Windows", "10"));
        check(&[("sec-ch-ua", "\"Brave\";v=\"<b>\", , \"")], chrome, ("Windows", "10"));
        check(&[("sec-ch-ua-platform", "\"Linux\"")], chrome, ("Linux", ""));
    }
}
