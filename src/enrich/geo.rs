//! The place of an address.
//!
//! Asked in this order: the databases that the settings name (one file, or one for each family of addresses), and where
//! none of them covers the family, the country table embedded in the program. What is not known stays empty; an address
//! that is nobody's place (private, shared, for documentation) has only itself. The files are read whole and exchanged
//! while running when they change; a file that does not open or holds no places leaves the old one in use. Attribution
//! and the age of the data are part of [`Geo::description`]. Knows files, not the clock; called by the `Enricher`.

mod address;
mod countries;
mod mmdb;
mod packed;

pub use packed::{Countries, Damaged};

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use thiserror::Error;

use self::mmdb::{Database, Stamp};
use crate::model::hit::Place;
use crate::model::time::Timestamp;

/// The country table of last resort, unpacked on first use.
static EMBEDDED: LazyLock<Countries> =
    LazyLock::new(|| Countries::unpack(include_bytes!("../../geoip/countries.bin")).unwrap_or_default());

/// Why a database was not taken into use.
#[derive(Debug, Error)]
pub enum GeoError {
    /// The file cannot be read.
    #[error("read place database {path}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged, or not a database of places.
    #[error("{path} is not a usable place database: {reason}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What [`Geo::reload_if_changed`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// No file had changed since it was looked at last.
    Unchanged,
    /// The files were read and are in use.
    Reloaded,
}

/// Tells the place of an address. Cheap to ask from many threads at once; nobody waits while files are exchanged.
pub struct Geo {
    paths: Vec<PathBuf>,
    databases: ArcSwap<Vec<Database>>,
    /// What the files looked like when they were looked at last, usable or not: a bad file is reported once.
    seen: Mutex<Vec<Option<Stamp>>>,
}

impl Geo {
    /// Countries only, from the table embedded in the program.
    pub fn embedded() -> Self {
        Self { paths: Vec::new(), databases: ArcSwap::default(), seen: Mutex::default() }
    }

    /// Places from `paths`, each a file in MaxMind's format; the first that knows an address answers.
    ///
    /// # Errors
    ///
    /// As [`GeoError`] says, for the first file that cannot be used.
    pub fn open(paths: &[PathBuf]) -> Result<Self, GeoError> {
        let seen = stamps(paths);
        let databases = read(paths)?;
        Ok(Self { paths: paths.to_vec(), databases: ArcSwap::from_pointee(databases), seen: Mutex::new(seen) })
    }

    /// Takes changed files into use; to be called now and then. Reads files, so not from an async task directly.
    ///
    /// # Errors
    ///
    /// As [`GeoError`] says, once for each change; what was in use stays in use.
    pub fn reload_if_changed(&self) -> Result<Reload, GeoError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before reading: a file that changes meanwhile is read again next time.
        let now = stamps(&self.paths);
        if *seen == now {
            return Ok(Reload::Unchanged);
        }
        *seen = now;
        self.databases.store(Arc::new(read(&self.paths)?));
        Ok(Reload::Reloaded)
    }

    /// The place of `ip`; fields that are not known are empty.
    pub fn place(&self, ip: IpAddr) -> Place {
        let mut place = address::locatable(ip).map(|ip| self.find(ip)).unwrap_or_default();
        if let Some(country) = countries::country(&place.country_code) {
            if place.country_name.is_empty() {
                country.name.clone_into(&mut place.country_name);
            }
            if place.time_zone.is_empty() {
                country.time_zone.clone_into(&mut place.time_zone);
            }
        }
        place.ip_address = ip.to_canonical().to_string();
        place
    }

    fn find(&self, ip: IpAddr) -> Place {
        let databases = self.databases.load();
        if let Some(place) = databases.iter().find_map(|database| database.place(ip)) {
            return place;
        }
        if databases.iter().any(|database| database.covers(ip)) {
            return Place::default();
        }
        Place { country_code: EMBEDDED.country(ip).unwrap_or("").to_owned(), ..Place::default() }
    }

    /// When the oldest of the data in use was made.
    pub fn built_at(&self) -> Timestamp {
        let databases = self.databases.load();
        let secs = databases.iter().map(Database::built_secs).min().unwrap_or_else(|| EMBEDDED.built_secs());
        Timestamp::from_millis(i64::try_from(secs.saturating_mul(1000)).unwrap_or(i64::MAX))
    }

    /// Name, date and attribution of the data in use, one line for each; to be shown wherever places are shown.
    pub fn description(&self) -> String {
        let databases = self.databases.load();
        let mut text = String::new();
        for database in databases.iter() {
            let kind = database.kind();
            let _ = writeln!(
                text,
                "{kind} of {} ({}){}",
                day(database.built_secs()),
                database.path.display(),
                attribution(kind)
            );
        }
        if databases.is_empty() {
            let _ = writeln!(text, "IPtoASN country table of {}, public domain (PDDL 1.0)", day(EMBEDDED.built_secs()));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// Whether `code` is the code of a country or territory, in upper case.
pub fn is_country(code: &str) -> bool {
    countries::country(code).is_some()
}

/// What `postback inspect ip` prints: the `ip_location_info` of an event.
pub fn inspect_ip(geo: &Geo, ip: IpAddr) -> Value {
    let place = geo.place(ip);
    json!({
        "zipcode": place.zipcode,
        "country_code": place.country_code,
        "city": place.city,
        "latitude": place.latitude,
        "country_name": place.country_name,
        "ip_address": place.ip_address,
        "time_zone": place.time_zone,
        "region": place.region,
        "longitude": place.longitude,
    })
}

fn read(paths: &[PathBuf]) -> Result<Vec<Database>, GeoError> {
    paths.iter().map(|path| Database::open(path)).collect()
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    paths.iter().map(|path| mmdb::stamp(path).ok()).collect()
}

fn day(secs: u64) -> String {
    let at = Timestamp::from_millis(i64::try_from(secs.saturating_mul(1000)).unwrap_or(0));
    at.rfc3339_seconds().chars().take(10).collect()
}

/// The line that a provider's licence asks for.
fn attribution(kind: &str) -> &'static str {
    let kind = kind.to_ascii_lowercase();
    if kind.starts_with("geolite2") {
        "; this product includes GeoLite2 Data created by MaxMind, available from https://www.maxmind.com"
    } else if kind.starts_with("geoip2") {
        "; data by MaxMind, https://www.maxmind.com"
    } else if kind.contains("dbip") || kind.contains("db-ip") {
        "; IP Geolocation by DB-IP, https://db-ip.com"
    } else if kind.contains("ipinfo") {
        "; IP address data powered by IPinfo, https://ipinfo.io"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_table_knows_countries() {
        let geo = Geo::embedded();
        let check = |ip: &str, code: &str, name: &str, zone: &str| {
            let found = geo.place(ip.parse().unwrap());
            assert_eq!((&*found.country_code, &*found.country_name, &*found.time_zone), (code, name, zone), "{ip}");
            assert!(found.city.is_empty() && found.zipcode.is_empty() && found.latitude.is_empty());
        };
        check("193.0.6.139", "NL", "Netherlands", "Europe/Amsterdam");
        check("::ffff:193.0.6.139", "NL", "Netherlands", "Europe/Amsterdam");
        check("2001:67c:2e8:22::c100:68b", "NL", "Netherlands", "Europe/Amsterdam");
        check("17.0.0.1", "US", "United States", "");
        check("192.168.0.1", "", "", "");
        check("2001:db8::1", "", "", "");
        assert!(geo.description().starts_with("IPtoASN country table of 2026-06-17"), "{}", geo.description());
        assert_eq!(geo.reload_if_changed().unwrap(), Reload::Unchanged);
    }

    #[test]
    fn the_address_itself_is_always_told() {
        let check = |ip: &str, told: &str| assert_eq!(Geo::embedded().place(ip.parse().unwrap()).ip_address, told);
        check("10.0.0.1", "10.0.0.1");
        check("::ffff:10.0.0.1", "10.0.0.1");
        check("2001:db8::1", "2001:db8::1");
    }
}
