//! One file in MaxMind's format, in any of the layouts that providers put into it.
//!
//! Two families are read: nested as MaxMind's own (`city.names.en`, `subdivisions`, `location.latitude`; also DB-IP) and
//! flat (`country_code`, `city`, `state1`, `latitude`; also IPinfo). The file is read whole: a mapped file that is
//! replaced in place would end the process. Nothing here panics on a damaged file; a look-up that fails is a miss.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use maxminddb::{Reader, WithinOptions};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::GeoError;
use crate::model::hit::Place;

/// How many records a file is judged by before it is used.
const PROBES: usize = 500;

/// Beyond this radius a city is a guess, in kilometres.
const RADIUS_KM_MAX: f64 = 200.0;

/// What tells one version of a file from the next.
pub(super) type Stamp = (Option<SystemTime>, u64);

/// An opened file.
pub(super) struct Database {
    pub path: PathBuf,
    reader: Reader<Vec<u8>>,
    /// A file for IPv6 need not hold the IPv4 addresses too.
    has_v4: bool,
}

/// When the file at `path` was changed last, and how long it is.
pub(super) fn stamp(path: &Path) -> Result<Stamp, GeoError> {
    let about = fs::metadata(path).map_err(|source| GeoError::Unreadable { path: path.to_owned(), source })?;
    Ok((about.modified().ok(), about.len()))
}

impl fmt::Debug for Database {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        // Not the bytes of the file.
        out.debug_struct("Database").field("path", &self.path).field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl Database {
    /// Reads and tries the file: its description, and the first records in it.
    pub fn open(path: &Path) -> Result<Self, GeoError> {
        let bytes = fs::read(path).map_err(|source| GeoError::Unreadable { path: path.to_owned(), source })?;
        Self::from_bytes(path, bytes)
    }

    /// As [`Database::open`], with what the file holds.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, GeoError> {
        let invalid = |reason: String| GeoError::Invalid { path: path.to_owned(), reason };
        let reader = Reader::from_source(bytes).map_err(|error| invalid(error.to_string()))?;
        let mut database = Self { path: path.to_owned(), reader, has_v4: true };
        database.has_v4 = database.finds_v4().map_err(|error| invalid(error.to_string()))?;
        match database.try_records() {
            Ok(true) => Ok(database),
            Ok(false) => Err(invalid("no record names a country or city".to_owned())),
            Err(error) => Err(invalid(error.to_string())),
        }
    }

    /// Whether any of the first records names a place.
    fn try_records(&self) -> Result<bool, maxminddb::MaxMindDbError> {
        let mut has_place = false;
        for found in self.reader.networks(WithinOptions::default())?.take(PROBES) {
            let record = found?.decode::<Record>()?.unwrap_or_default();
            has_place |= record.country_code().is_some() || !record.city.text.is_empty();
        }
        Ok(has_place)
    }

    /// Whether there are IPv4 addresses in the file.
    fn finds_v4(&self) -> Result<bool, maxminddb::MaxMindDbError> {
        if self.reader.metadata().ip_version != 6 {
            return Ok(true);
        }
        let Ok(network) = "::/96".parse() else { return Ok(false) };
        Ok(self.reader.within(network, WithinOptions::default())?.next().transpose()?.is_some())
    }

    /// Whether addresses of this family can be in the file at all.
    pub fn covers(&self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { self.has_v4 } else { self.reader.metadata().ip_version == 6 }
    }

    /// What the file knows of an address; the address itself is left for the caller to fill in.
    pub fn place(&self, ip: IpAddr) -> Option<Place> {
        if !self.covers(ip) {
            return None;
        }
        let record = self.reader.lookup(ip).ok()?.decode::<Record>().ok()??;
        Some(record.place())
    }

    /// `GeoLite2-City`, as the file calls itself.
    pub fn kind(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// When the file was made, in seconds since 1970.
    pub fn built_secs(&self) -> u64 {
        self.reader.metadata().build_epoch
    }
}

/// What a record says, whatever its layout.
#[derive(Debug, Default)]
struct Record<'a> {
    country: Spot<'a>,
    registered: Spot<'a>,
    code: Spot<'a>,
    country_name: Spot<'a>,
    region: Spot<'a>,
    city: Spot<'a>,
    postal: Spot<'a>,
    time_zone: Spot<'a>,
    latitude: Spot<'a>,
    longitude: Spot<'a>,
    radius: Spot<'a>,
}

/// A value of a record: a text, a number, or the parts of a map that matter.
#[derive(Clone, Debug, Default)]
struct Spot<'a> {
    text: &'a str,
    code: &'a str,
    number: Option<f64>,
    location: Option<Box<Location<'a>>>,
}

/// The map `location` of MaxMind's layout.
#[derive(Clone, Debug, Default)]
struct Location<'a> {
    latitude: Spot<'a>,
    longitude: Spot<'a>,
    time_zone: Spot<'a>,
    radius: Spot<'a>,
}

impl Spot<'_> {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.code.is_empty() && self.number.is_none()
    }
}

impl<'a> Record<'a> {
    fn country_code(&self) -> Option<&'a str> {
        // `country` is a map with a code in one layout, the code itself or the name in others.
        let candidates = [self.country.code, self.code.text, self.country.text, self.registered.code];
        candidates.into_iter().find(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_alphabetic()))
    }

    fn country_name(&self) -> &'a str {
        if self.country.code.is_empty() && self.country.text.is_empty() && self.country_name.text.is_empty() {
            return self.registered.text;
        }
        let name = if self.country_name.text.is_empty() { self.country.text } else { self.country_name.text };
        if name.len() > 2 { name } else { "" }
    }

    fn place(&self) -> Place {
        let is_near = self.radius.number.is_none_or(|radius| radius <= RADIUS_KM_MAX);
        let near = |text: &str| if is_near { text.to_owned() } else { String::new() };
        let postal = if self.postal.text.is_empty() { self.postal.code } else { self.postal.text };
        let (latitude, longitude) = match (degrees(&self.latitude, 90.0), degrees(&self.longitude, 180.0)) {
            (Some(latitude), Some(longitude)) => (latitude, longitude),
            _ => Default::default(),
        };
        Place {
            zipcode: near(postal),
            country_code: self.country_code().unwrap_or("").to_ascii_uppercase(),
            city: near(self.city.text),
            latitude,
            country_name: self.country_name().to_owned(),
            ip_address: String::new(),
            time_zone: self.time_zone.text.to_owned(),
            region: self.region.text.to_owned(),
            longitude,
        }
    }
}

/// Degrees with two decimals; a finer place would name a household.
fn degrees(spot: &Spot, limit: f64) -> Option<String> {
    let degrees = spot.number.or_else(|| spot.text.parse().ok())?;
    let rounded = (degrees * 100.0).round() / 100.0;
    // Not -0.00.
    (rounded.abs() <= limit).then(|| format!("{:.2}", rounded + 0.0))
}

/// Reads the keys of a map by hand: two names of one thing may stand in one record, which a derived reader refuses.
struct RecordVisitor;

impl<'de: 'a, 'a> Deserialize<'de> for Record<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecordVisitor)
    }
}

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record<'de>;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("a record about a place")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut record = Record::default();
        while let Some(key) = map.next_key::<&str>()? {
            let slot = match key {
                "country" => &mut record.country,
                "registered_country" => &mut record.registered,
                "country_code" | "country_iso_code" => &mut record.code,
                "country_name" => &mut record.country_name,
                "subdivisions" | "state1" | "state" | "region" | "region_name" | "stateprov" => &mut record.region,
                "city" | "city_name" => &mut record.city,
                "postal" | "postcode" | "postal_code" | "zip" | "zip_code" | "zipcode" => &mut record.postal,
                "timezone" | "time_zone" => &mut record.time_zone,
                "latitude" | "lat" => &mut record.latitude,
                "longitude" | "lng" | "lon" => &mut record.longitude,
                "accuracy_radius" => &mut record.radius,
                "location" => {
                    if let Some(location) = map.next_value::<Spot>()?.location {
                        record.latitude = location.latitude;
                        record.longitude = location.longitude;
                        record.time_zone = location.time_zone;
                        record.radius = location.radius;
                    }
                    continue;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            // Of two names for one thing, the first that says something.
            let value: Spot = map.next_value()?;
            if slot.is_empty() {
                *slot = value;
            }
        }
        Ok(record)
    }
}

struct SpotVisitor;

impl<'de: 'a, 'a> Deserialize<'de> for Spot<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpotVisitor)
    }
}

impl<'de> Visitor<'de> for SpotVisitor {
    type Value = Spot<'de>;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("a value of a record")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Spot { text, ..Spot::default() })
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Spot { number: Some(number), ..Spot::default() })
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Self::Value, E> {
        Ok(Spot::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Spot::default())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(Spot::default())
    }

    /// `subdivisions`: the first is the highest level.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let first = seq.next_element()?.unwrap_or_default();
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut spot = Spot::default();
        let mut location = Location::default();
        let mut is_location = false;
        while let Some(key) = map.next_key::<&str>()? {
            let slot = match key {
                "names" => {
                    spot.text = map.next_value::<English>()?.0;
                    continue;
                }
                "name" => {
                    spot.text = map.next_value::<Spot>()?.text;
                    continue;
                }
                "iso_code" | "code" => {
                    spot.code = map.next_value::<Spot>()?.text;
                    continue;
                }
                "latitude" => &mut location.latitude,
                "longitude" => &mut location.longitude,
                "time_zone" => &mut location.time_zone,
                "accuracy_radius" => &mut location.radius,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            is_location = true;
            *slot = map.next_value()?;
        }
        spot.location = is_location.then(|| Box::new(location));
        Ok(spot)
    }
}

/// The English one of a map of names.
struct English<'a>(&'a str);

impl<'de: 'a, 'a> Deserialize<'de> for English<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnglishVisitor;
        impl<'de> Visitor<'de> for EnglishVisitor {
            type Value = English<'de>;

            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("names by language")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut english = "";
                while let Some(language) = map.next_key::<&str>()? {
                    if language == "en" {
                        english = map.next_value::<Spot>()?.text;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(English(english))
            }
        }
        deserializer.deserialize_map(EnglishVisitor)
    }
}
