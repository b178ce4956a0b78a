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
pub struct Place {
    /// Postal code.
    pub zipcode: String,
    /// ISO 3166-1 alpha-2.
    pub country_code: String,
    /// City.
    pub city: String,
    /// Degrees, two decimals.
    pub latitude: String,
    /// English name of the country.
    pub country_name: String,
    /// The address looked up.
    pub ip_address: String,
    /// IANA name: `Europe/Stockholm`.
    pub time_zone: String,
    /// First-level region.
    pub region: String,
    /// Degrees, two decimals.
    pub longitude: String,
}

/// A name and a version; either may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The version.
    #[serde(default)]
    pub version: String,
}

/// What program and device a reader used. All text; empty when unknown, never invented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The mail program.
    pub email_client: Named,
    /// The browser.
    pub browser: Named,
    /// The operating system.
    pub operating_system: Named,
    /// The device: `Desktop`, `Smartphone`, `Tablet`, a model, or empty.
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
pub struct Verdict {
    /// Who made the hit.
    pub verdict: Who,
    /// A finer word: `apple_mpp`, `gmail_prefetch`, `image_proxy`, `security_scanner`, `link_checker`, `prefetch`,
    /// `bot`, or empty.
    pub kind: String,
    /// How sure we are, 0 to 100.
    pub confidence: u8,
    /// Why, in words that a person can check.
    pub reasons: Vec<String>,
}

/// Who is behind a hit: place, client, and person or machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visitor {
    /// Where.
    pub place: Place,
    /// With what.
    pub client: Client,
    /// `User-Agent` as sent, at most 1,024 bytes.
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
