//! Operating systems and devices, as the user agent tells them.
//!
//! What a user agent says is not always so, and we report what it says: Windows 11 says `Windows NT 10.0`, macOS stays
//! at 10.15.7, iPadOS may say Macintosh, Chrome for Android says 10. Client hints correct it where a click brings them
//! (`hints`). Versions are given as people say them: `7` for `NT 6.1`, `10.15.7` for `10_15_7`. Called by `agent` only.

use super::text::{Text, major, version_prefix};

/// An operating system; the version may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct System {
    pub name: &'static str,
    pub version: String,
}

impl System {
    fn of(name: &'static str, version: &str) -> Option<Self> {
        Some(Self { name, version: version.to_owned() })
    }
}

/// The operating system that `text` names.
pub(super) fn system(text: &Text) -> Option<System> {
    // Each of the first may name a later one as well: Windows Phone says Android, ChromeOS says X11, iOS says Mac OS X.
    phone_windows(text)
        .or_else(|| apple_mobile(text))
        .or_else(|| android(text))
        .or_else(|| chrome_os(text))
        .or_else(|| other(text, BEFORE))
        .or_else(|| windows(text))
        .or_else(|| mac(text))
        .or_else(|| other(text, AFTER))
}

/// The device: `Desktop`, `Smartphone`, `Tablet`, `TV`, `E-reader`, `Console`, or empty.
pub(super) fn device(text: &Text, system: &str) -> &'static str {
    const TVS: &[&str] = &[
        "smart-tv",
        "smarttv",
        "googletv",
        "appletv",
        "apple tv",
        "hbbtv",
        "large screen",
        "bravia",
        "netcast",
        "web0s",
        "viera",
        "vidaa",
        "crkey",
        "roku",
        "aftb",
        "aftm",
        "aftn",
        "aftr",
        "afts",
        "aftt",
        "freebox",
        " tv build",
    ];
    let is = |needles: &[&str]| needles.iter().any(|needle| text.has(needle));
    if is(TVS) {
        return "TV";
    }
    if is(&["playstation", "nintendo", "xbox"]) {
        return "Console";
    }
    if is(&["kindle/", "kobo touch", "pocketbook"]) || text.word("ereader") || text.word("e-reader") {
        return "E-reader";
    }
    match system {
        "Windows Phone" | "Windows Mobile" | "KaiOS" | "Symbian" => "Smartphone",
        _ if text.has("iphone") || text.has("ipod") => "Smartphone",
        _ if text.has("ipad") => "Tablet",
        "iOS" => "",
        "Android" if text.has("; vr") || text.word("vr") => "",
        "Android" if text.has("tablet") => "Tablet",
        // A WebView's old form lacks the word on telephones too.
        "Android" if text.has("mobile") || text.has("version/4.0 chrome/30.0.0.0") => "Smartphone",
        "Android" if text.has("applewebkit") || text.has("gecko") => "Tablet",
        "Windows" | "macOS" | "Linux" | "ChromeOS" => "Desktop",
        "FreeBSD" | "OpenBSD" | "NetBSD" | "Solaris" | "Haiku" => "Desktop",
        _ if text.has("mobile") => "Smartphone",
        _ => "",
    }
}

/// What stands after the first `prefix` in the text without blanks.
fn after<'t>(text: &'t Text, prefix: &str) -> Option<&'t str> {
    text.dense.split_once(prefix).map(|(_, rest)| rest)
}

fn phone_windows(text: &Text) -> Option<System> {
    if let Some(rest) = after(text, "windowsphone") {
        return System::of("Windows Phone", version_prefix(rest.trim_start_matches("os")));
    }
    if text.dense.contains("wpdesktop") {
        return System::of("Windows Phone", "");
    }
    let is_mobile = ["windowsmobile", "windowsce", "microsoftwindows;ppc"].iter().any(|name| text.dense.contains(name));
    is_mobile.then(|| System { name: "Windows Mobile", version: String::new() })
}

fn apple_mobile(text: &Text) -> Option<System> {
    let is_device = ["iphone", "ipod", "(ipad", "(ios;", "; ios ", "/ipad"].iter().any(|name| text.has(name))
        || text.word("ipad")
        || text.begins("mobilesafari");
    // Browsers of the App Store that ask for the desktop's page.
    let is_store = ["crios", "fxios", "edgios", "opios"].iter().any(|name| text.product(name).is_some());
    if text.dense.contains("macintosh;") && is_store {
        return System::of("iOS", "");
    }
    if !is_device && !is_store {
        return None;
    }
    if text.dense.contains("cpulikemacosx") {
        return System::of("iOS", "1.0");
    }
    let told = ["iphoneos", "cpuos", "iphos", "iphone;ios", ";ios", "ios/"].iter().find_map(|prefix| {
        let version = underscored(after(text, prefix)?);
        (!version.is_empty()).then_some(version)
    });
    // A version that no iOS has is that of an app: `Outlook-iOS/711.2620504`.
    let told = told.filter(|told| major(told) < Some(IOS_MAJOR_MAX)).unwrap_or_default();
    // From iOS 26 on, Safari keeps saying 18 and tells the truth in `Version/`.
    match text.product("version") {
        Some(shown) if major(shown) >= Some(26) && major(&told) == Some(18) => System::of("iOS", shown),
        _ => System::of("iOS", &told),
    }
}

fn android(text: &Text) -> Option<System> {
    const SAID_OTHERWISE: &[&str] = &["silk", "miuibrowser"];
    if text.dense.contains("likeandroid") || text.dense.contains("windowsiot") {
        return None;
    }
    if !text.dense.contains("android") {
        let is_samsung = text.product("samsungbrowser").is_some() && text.dense.contains("x11;");
        let is_ucweb = text.dense.contains(";adr");
        let is_android = is_samsung || is_ucweb || SAID_OTHERWISE.iter().any(|name| text.product(name).is_some());
        return is_android.then(|| System {
            name: "Android",
            version: version_prefix(after(text, ";adr").unwrap_or("")).to_owned(),
        });
    }
    if let Some(level) = after(text, "androidapi").map(version_prefix).and_then(major) {
        return System::of("Android", android_of_api(level));
    }
    // The first `Android` may belong to a name (`com.x.android`); the version follows a later one.
    let told = text.dense.match_indices("android").find_map(|(at, name)| {
        let rest = text.dense.get(at + name.len()..)?;
        let version = version_prefix(rest.trim_start_matches(['/', '-', ';']));
        // `Outlook-Android/4.2244.0`, `Mail for Android/6.7`: the version is the app's.
        let before = text.dense.get(..at).unwrap_or("");
        let is_apps = rest.starts_with('/') && (before.ends_with('-') || before.ends_with("for"));
        (!version.is_empty() && !is_apps && major(version) < Some(ANDROID_MAJOR_MAX)).then_some(version)
    });
    System::of("Android", told.unwrap_or(""))
}

/// Numbers from here on are no version of the system for many years to come.
const IOS_MAJOR_MAX: u32 = 60;
const ANDROID_MAJOR_MAX: u32 = 40;

fn android_of_api(level: u32) -> &'static str {
    match level {
        36 => "16",
        35 => "15",
        34 => "14",
        33 => "13",
        31 | 32 => "12",
        30 => "11",
        29 => "10",
        28 => "9",
        27 => "8.1",
        26 => "8.0",
        25 => "7.1",
        24 => "7.0",
        23 => "6.0",
        _ => "",
    }
}

fn chrome_os(text: &Text) -> Option<System> {
    // Not the `cros` of "Microsoft".
    let is_cros =
        ["crosx86", "crosi686", "crosarm", "crosaarch64", "cros;"].iter().any(|name| text.dense.contains(name));
    is_cros.then(|| System { name: "ChromeOS", version: String::new() })
}

fn windows(text: &Text) -> Option<System> {
    if let Some(rest) = after(text, "windowsnt").or_else(|| after(text, "windows-nt")).or_else(|| after(text, "winnt"))
    {
        return System::of("Windows", windows_of_nt(version_prefix(rest)));
    }
    const NAMED: &[(&str, &str)] = &[
        ("win9x4.90", "ME"),
        ("windowsme", "ME"),
        ("windows98", "98"),
        ("win98", "98"),
        ("windows95", "95"),
        ("win95", "95"),
        ("windows2000", "2000"),
        ("windowsxp", "XP"),
        ("windowsvista", "Vista"),
        ("windows3.1", "3.1"),
        ("windowsiot10", "10"),
    ];
    let named = NAMED.iter().find(|(name, _)| text.dense.contains(name));
    match named {
        Some((_, version)) => System::of("Windows", version),
        None => text.dense.contains("windows").then(|| System { name: "Windows", version: String::new() }),
    }
}

/// The name people use for a version of Windows NT.
fn windows_of_nt(version: &str) -> &str {
    match version {
        "10.0" | "6.4" | "10" | "10.0.0" => "10",
        "11.0" => "11",
        "6.3" => "8.1",
        "6.2" => "8",
        "6.1" => "7",
        "6.0" => "Vista",
        "5.1" | "5.2" => "XP",
        "5.0" => "2000",
        "4.0" => "NT 4.0",
        other => other,
    }
}

fn mac(text: &Text) -> Option<System> {
    let told = ["macosxversion", "macosx", "osversion:", "macos"].iter().find_map(|prefix| {
        let version = underscored(after(text, prefix)?);
        (!version.is_empty()).then_some(version)
    });
    if let Some(version) = told {
        return System::of("macOS", &version);
    }
    if ["macosx", "macintosh", "mac_powerpc", "macos", "(mac;"].iter().any(|name| text.dense.contains(name)) {
        return System::of("macOS", "");
    }
    // `Darwin/17.0.0 (x86_64)` is a Mac; without the processor it is a telephone, or a Mac since 2020.
    let darwin = text.product("darwin").and_then(major)?;
    if ["x86_64", "i386"].iter().any(|name| text.has(name)) {
        return Some(System { name: "macOS", version: mac_of_darwin(darwin) });
    }
    let network = text.product("cfnetwork").and_then(major)?;
    let is_telephone = darwin < 20 || text.begins("mobilemail");
    is_telephone.then(|| System { name: "iOS", version: ios_of_network(network).to_owned() })
}

/// The version of iOS for one of its network library.
fn ios_of_network(version: u32) -> &'static str {
    match version {
        485..548 => "4",
        548..600 => "5",
        600..640 => "6",
        640..700 => "7",
        700..750 => "8",
        750..800 => "9",
        800..880 => "10",
        880..970 => "11",
        970..1100 => "12",
        1100..1190 => "13",
        1190..1300 => "14",
        1300..1380 => "15",
        1380..1450 => "16",
        1450..1550 => "17",
        1550..1800 => "18",
        3800..3900 => "26",
        _ => "",
    }
}

/// The version of macOS for a kernel: 19 is 10.15, 20 is 11, 24 is 15, 25 is 26.
fn mac_of_darwin(darwin: u32) -> String {
    match darwin {
        5..=19 => format!("10.{}", darwin - 4),
        20..=24 => (darwin - 9).to_string(),
        25..=40 => (darwin + 1).to_string(),
        _ => String::new(),
    }
}

/// Systems that also say Linux, and so come first.
const BEFORE: &[(&str, &str)] = &[
    ("tizen", "Tizen"),
    ("web0s", "webOS"),
    ("hpwos", "webOS"),
    ("webos/", "webOS"),
    ("vidaa", "Vidaa"),
    ("kaios", "KaiOS"),
    ("kreatv", "KreaTV"),
    ("openharmony", "HarmonyOS"),
    ("harmonyos", "HarmonyOS"),
    ("sailfish", "Sailfish"),
    ("playstation", "PlayStation"),
    ("nintendo", "Nintendo"),
    ("blackberry", "BlackBerry"),
    ("bb10", "BlackBerry"),
    ("rimtablet", "BlackBerry"),
    ("symbian", "Symbian"),
    ("series60", "Symbian"),
];

/// Systems that say nothing else.
const AFTER: &[(&str, &str)] = &[
    ("freebsd", "FreeBSD"),
    ("openbsd", "OpenBSD"),
    ("netbsd", "NetBSD"),
    ("dragonfly", "DragonFly BSD"),
    ("sunos", "Solaris"),
    ("haiku", "Haiku"),
    ("beos", "BeOS"),
    ("os/2", "OS/2"),
    ("fuchsia", "Fuchsia"),
    ("linux", "Linux"),
    ("ubuntu", "Linux"),
    ("fedora", "Linux"),
    ("debian", "Linux"),
    ("camelhttpstream", "Linux"),
];

fn other(text: &Text, names: &'static [(&str, &str)]) -> Option<System> {
    let (_, name) = names.iter().find(|(token, _)| text.dense.contains(token))?;
    Some(System { name, version: String::new() })
}

/// `10_15_7…` as `10.15.7`.
fn underscored(text: &str) -> String {
    let end = text.bytes().take(16).take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_')).count();
    text.get(..end).unwrap_or("").replace('_', ".").trim_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_and_devices_are_told_apart() {
        let check = |agent: &str, name: &str, version: &str, shape: &str| {
            let text = Text::new(agent);
            let found = system(&text).unwrap_or_default();
            assert_eq!(
                (found.name, found.version.as_str(), device(&text, found.name)),
                (name, version, shape),
                "{agent}"
            );
        };
        check("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "Windows", "10", "Desktop");
        check("Mozilla/5.0(WindowsNT6.1;WOW64)", "Windows", "7", "Desktop");
        check("Mozilla/5.0 (Windows; U; Win98; de)", "Windows", "98", "Desktop");
        check(
            "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; X) Mobile Edge/15",
            "Windows Phone",
            "10.0",
            "Smartphone",
        );
        check("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605", "macOS", "10.15.7", "Desktop");
        check("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.9; rv:60.0)", "macOS", "10.9", "Desktop");
        check("Mozilla/5.0 (Macintosh; X) CriOS/140 Version/11.1 Safari/605", "iOS", "", "");
        check("Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X)", "iOS", "17.5", "Tablet");
        check("Mozilla/5.0(iPhone;CPUiPhoneOS18_6likeMacOSX)", "iOS", "18.6", "Smartphone");
        check(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) Version/26.1 Mobile/15E148",
            "iOS",
            "26.1",
            "Smartphone",
        );
        check(
            "Mozilla/5.0 (Linux; Android 15; X) AppleWebKit/537 Chrome/130 Mobile Safari",
            "Android",
            "15",
            "Smartphone",
        );
        check("Mozilla/5.0 (Linux; Android 13; X) AppleWebKit/537 Chrome/130 Safari", "Android", "13", "Tablet");
        check("App/5 (com.example.android; Android API 33)", "Android", "13", "");
        check("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0)", "ChromeOS", "", "Desktop");
        check("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:133.0)", "Linux", "", "Desktop");
        check("Mail/3445.1 CFNetwork/887 Darwin/17.0.0 (x86_64)", "macOS", "10.13", "Desktop");
        check("Mail/3774 CFNetwork/1568 Darwin/24.1.0", "", "", "");
        check("Sample/2 CFNetwork/758.5.3 Darwin/15.6.0", "iOS", "9", "");
        check("MobileMail/3776 CFNetwork/1490.0.4 Darwin/23.2.0", "iOS", "17", "");
        check("Sample-iOS/711.2620504.prod.iphone (2.54.0)", "iOS", "", "Smartphone");
        check("Sample-Android/4.2244.0", "Android", "", "");
        check("Sample for Android/6.712", "Android", "", "");
        check("Microsoft Office/16.0 (x)", "", "", "");
        check("Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0)", "Tizen", "", "TV");
        check("", "", "", "");
    }
}
