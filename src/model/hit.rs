//! A request for a pixel or a tracked link, and who is behind it.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::DeliveryId;
use super::time::Timestamp;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HitKind {
    /// The pixel.
    Open,
    /// A tracked link.
    Click,
}

/// What a tracking request brought with it, as far as judging it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitRequest {
    /// The method was GET. Everything else is a link checker.
    pub is_get: bool,
    /// The address of the reader or of whoever reads for them, unmapped.
    pub ip: Option<IpAddr>,
    /// `User-Agent`, empty when absent.
    pub user_agent: String,
    /// Header names in lower case with their values, in the order of the request, at most 64.
    pub headers: Vec<(String, String)>,
    /// The request came over TLS (or through a proxy that says so).
    pub is_https: bool,
}

/// Where an address is, as far as the database knows. All text; empty when unknown, never invented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// Postal code.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zipcode: String,
    /// ISO 3166-1 alpha-2.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub country_code: String,
    /// City.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub city: String,
    /// Degrees, two decimals.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub latitude: String,
    /// English name of the country.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub country_name: String,
    /// The address looked up.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip_address: String,
    /// IANA name: `Europe/Stockholm`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    /// First-level region.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Degrees, two decimals.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub longitude: String,
}

/// A name and a version; either may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
}

impl Named {
    fn is_empty(&self) -> bool {
        self.name.is_empty() && self.version.is_empty()
    }
}

/// What program and device a reader used. All text; empty when unknown, never invented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Client {
    /// The mail program.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub email_client: Named,
    /// The browser.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub browser: Named,
    /// The operating system.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub operating_system: Named,
    /// The device: `Desktop`, `Smartphone`, `Tablet`, a model, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub device: String,
}

/// Who made the hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// A person, directly.
    #[default]
    Person,
    /// An image proxy, on behalf of a person who looked at the mail.
    Proxy,
    /// A mail program that loads in advance; nobody need have looked.
    Prefetch,
    /// A security scanner, link checker or other machine.
    Scanner,
}

impl Who {
    /// `person`, `proxy`, `prefetch` or `scanner`.
    pub fn as_str(self) -> &'static str {
        match self {
            Who::Person => "person",
            Who::Proxy => "proxy",
            Who::Prefetch => "prefetch",
            Who::Scanner => "scanner",
        }
    }

    /// Whether a person looked: themselves or through a proxy.
    pub fn is_person(self) -> bool {
        matches!(self, Who::Person | Who::Proxy)
    }
}

/// The judgement on one hit, with its grounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// Who made the hit.
    pub verdict: Who,
    /// A finer word: `apple_mpp`, `gmail_prefetch`, `image_proxy`, `security_scanner`, `link_checker`, `prefetch`,
    /// `bot`, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// How sure we are, 0 to 100.
    pub confidence: u8,
    /// Why, in words that a person can check.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Who is behind a hit: place, client, and person or machine. As JSON, which is kept of each hit, it says what is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Visitor {
    /// Where.
    pub place: Place,
    /// With what.
    pub client: Client,
    /// `User-Agent` as sent, at most 1,024 bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// Person or machine.
    pub machine: Verdict,
}

/// A hit that came before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierHit {
    /// Pixel or link.
    pub kind: HitKind,
    /// Which link.
    pub link: u16,
    /// When.
    pub at: Timestamp,
    /// Who was behind it. Many hits are by the same few.
    pub visitor: Arc<Visitor>,
}

/// A hit, described and ready to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Whose copy of the mail.
    pub delivery: DeliveryId,
    /// Pixel or link.
    pub kind: HitKind,
    /// Which link of the mail; 0 for the pixel.
    pub link: u16,
    /// Where the link leads; empty for the pixel.
    pub target: String,
    /// When the request came.
    pub at: Timestamp,
    /// Who was behind it.
    pub visitor: Visitor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_takes_no_room_and_reads_back() {
        let check = |visitor: &Visitor, written: &str| {
            assert_eq!(serde_json::to_string(visitor).unwrap(), written);
            assert_eq!(serde_json::from_str::<Visitor>(written).unwrap(), *visitor);
        };
        let unknown = r#"{"place":{},"client":{},"machine":{"verdict":"person","confidence":0}}"#;
        check(&Visitor::default(), unknown);
        let mut known = Visitor { user_agent: "x".into(), ..Visitor::default() };
        known.place.country_code = "SE".into();
        known.client.browser.name = "Firefox".into();
        known.machine.reasons.push("y".into());
        check(
            &known,
            r#"{"place":{"country_code":"SE"},"client":{"browser":{"name":"Firefox"}},"user_agent":"x","machine":{"verdict":"person","confidence":0,"reasons":["y"]}}"#,
        );
        let spelled_out = r#"{"place":{"zipcode":"","country_code":"SE","city":""},"client":{"browser":{"name":"Firefox","version":""},"email_client":{"name":"","version":""},"device":""},"user_agent":"x","machine":{"verdict":"person","kind":"","confidence":0,"reasons":["y"]}}"#;
        assert_eq!(serde_json::from_str::<Visitor>(spelled_out).unwrap(), known);
    }
}
