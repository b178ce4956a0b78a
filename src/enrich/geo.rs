//! The place of an address.
//!
//! Asked in this order: the databases that the settings name (one file, or one for each family of addresses), and where
//! none of them covers the family, the country table embedded in the program. What is not known stays empty; an address
//! that is nobody's place (private, shared, for documentation) has only itself. The files are read whole and exchanged
//! while running when they change; a file that does not open or holds no places leaves the old one in use. Attribution
//! and the age of the data are part of [`Geo::description`]. Knows files, not the clock; called by the `Enricher`.

mod address;
pub mod archive;
mod countries;
mod mmdb;
mod network;
mod packed;
#[cfg(test)]
mod sample;
mod zones;

pub use packed::{Coded, Damaged};

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use thiserror::Error;

use self::mmdb::{Database, Stamp};
use self::network::Relays;
use super::machine::Network;
use crate::model::hit::Place;
use crate::model::time::Timestamp;

/// The country table of last resort, unpacked on first use.
static EMBEDDED: LazyLock<Coded> =
    LazyLock::new(|| Coded::unpack(include_bytes!("../../geoip/countries.bin")).unwrap_or_default());

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

/// Which files to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Databases in MaxMind's format; the first that knows an address answers.
    pub databases: Vec<PathBuf>,
    /// The database that `postback geoip update` brings; read when it is there and no other is named.
    pub fetched: Option<PathBuf>,
    /// Apple's list of the addresses that its relays leave from.
    pub relays: Option<PathBuf>,
}

impl Files {
    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.databases.iter().chain(&self.fetched).chain(&self.relays)
    }
}

/// What the files hold.
#[derive(Debug, Default)]
struct Held {
    databases: Vec<Database>,
    relays: Relays,
}

/// Tells the place of an address. Cheap to ask from many threads at once; nobody waits while files are exchanged.
#[derive(Debug, Default)]
pub struct Geo {
    files: Files,
    held: ArcSwap<Held>,
    /// What the files looked like when they were looked at last, usable or not: a bad file is reported once.
    seen: Mutex<Vec<Option<Stamp>>>,
}

impl Geo {
    /// Countries only, from the table embedded in the program.
    pub fn embedded() -> Self {
        Self::default()
    }

    /// Places from files.
    ///
    /// # Errors
    ///
    /// As [`GeoError`] says, for the first file that cannot be used.
    pub fn open(files: Files) -> Result<Self, GeoError> {
        let seen = stamps(&files);
        let held = read(&files)?;
        Ok(Self { files, held: ArcSwap::from_pointee(held), seen: Mutex::new(seen) })
    }

    /// Takes changed files into use; to be called now and then. Reads files, so not from an async task directly.
    ///
    /// # Errors
    ///
    /// As [`GeoError`] says, once for each change; what was in use stays in use.
    pub fn reload_if_changed(&self) -> Result<Reload, GeoError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before reading: a file that changes meanwhile is read again next time.
        let now = stamps(&self.files);
        if *seen == now {
            return Ok(Reload::Unchanged);
        }
        *seen = now;
        self.held.store(Arc::new(read(&self.files)?));
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
                let zone = match country.time_zone {
                    "" => zones::zone(country.code, &place.region),
                    only => only,
                };
                zone.clone_into(&mut place.time_zone);
            }
        }
        place.ip_address = ip.to_canonical().to_string();
        place
    }

    /// What kind of network `ip` belongs to, as far as that is known.
    pub fn network(&self, ip: IpAddr) -> Option<Network> {
        if self.held.load().relays.has(ip) { Some(Network::AppleRelay) } else { network::embedded(ip) }
    }

    fn find(&self, ip: IpAddr) -> Place {
        let databases = &self.held.load().databases;
        if let Some(place) = databases.iter().find_map(|database| database.place(ip)) {
            return place;
        }
        if databases.iter().any(|database| database.covers(ip)) {
            return Place::default();
        }
        Place { country_code: EMBEDDED.code(ip).unwrap_or("").to_owned(), ..Place::default() }
    }

    /// When the oldest of the data in use was made.
    pub fn built_at(&self) -> Timestamp {
        let databases = &self.held.load().databases;
        let secs = databases.iter().map(Database::built_secs).min().unwrap_or_else(|| EMBEDDED.built_secs());
        Timestamp::from_millis(i64::try_from(secs.saturating_mul(1000)).unwrap_or(i64::MAX))
    }

    /// Whether files are in use, which somebody should renew, and not the table embedded in the program.
    pub fn has_files(&self) -> bool {
        !self.held.load().databases.is_empty()
    }

    /// Name, date and attribution of the data in use, one line for each; to be shown wherever places are shown.
    pub fn description(&self) -> String {
        let databases = &self.held.load().databases;
        let mut text = String::new();
        for database in databases.iter() {
            let (kind, file) = (database.kind(), database.path.display());
            let _ = writeln!(
                text,
                "{kind} of {} ({file}){}",
                day(database.built_secs()),
                attribution(&format!("{kind} {file}"))
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

fn read(files: &Files) -> Result<Held, GeoError> {
    let fetched = files.fetched.as_ref().filter(|path| files.databases.is_empty() && path.exists());
    let databases = files.databases.iter().chain(fetched).map(|path| Database::open(path)).collect::<Result<_, _>>()?;
    let relays = files.relays.as_deref().map(Relays::read).transpose()?.unwrap_or_default();
    Ok(Held { databases, relays })
}

fn stamps(files: &Files) -> Vec<Option<Stamp>> {
    files.all().map(|path| mmdb::stamp(path).ok()).collect()
}

fn day(secs: u64) -> String {
    let at = Timestamp::from_millis(i64::try_from(secs.saturating_mul(1000)).unwrap_or(0));
    at.rfc3339_seconds().chars().take(10).collect()
}

/// The line that a provider's licence asks for; who it is shows in the file's description of itself, or in its name.
fn attribution(kind: &str) -> &'static str {
    let kind = kind.to_ascii_lowercase();
    if kind.contains("geolite2") {
        "; this product includes GeoLite2 Data created by MaxMind, available from https://www.maxmind.com"
    } else if kind.contains("geoip2") {
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
    use super::sample::database;
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

    fn nested() -> Vec<u8> {
        let far = json!({"latitude": 62.0, "longitude": 15.0, "accuracy_radius": 900, "time_zone": "Europe/Stockholm"});
        let near = json!({"latitude": 55.704_66, "longitude": -13.001, "accuracy_radius": 20, "time_zone": "Europe/Stockholm"});
        let names = |english: &str| json!({"de": "?", "en": english, "fr": "?"});
        let sweden = json!({"iso_code": "SE", "geoname_id": 1, "names": names("Sweden")});
        let record = |location: &Value| {
            json!({
                "city": {"geoname_id": 2, "names": names("Lund")},
                "continent": {"code": "EU"},
                "country": sweden,
                "location": location,
                "postal": {"code": "223 50"},
                "registered_country": sweden,
                "subdivisions": [{"iso_code": "M", "names": names("Skåne")}, {"iso_code": "X"}],
                "traits": {"is_anycast": true},
            })
        };
        let registered = json!({"registered_country": {"iso_code": "NO", "names": names("Norway")}});
        database(
            "GeoLite2-City",
            &[
                ("89.160.20.0", 24, record(&near)),
                ("89.160.21.0", 24, record(&far)),
                ("89.160.22.0", 24, registered),
                ("2a00:1450::", 32, record(&near)),
            ],
        )
    }

    fn flat() -> Vec<u8> {
        let lund = json!({"country_code": "SE", "city": "Lund", "state1": "Skåne", "region": "", "postcode": "223 50",
            "latitude": "55.7", "longitude": "13.19", "timezone": "Europe/Stockholm"});
        database("dbip-city", &[("89.160.20.0", 24, lund), ("89.160.21.0", 24, json!({"country_code": "SE"}))])
    }

    /// Writes the files into a folder that lives as long as what is returned.
    fn files(contents: &[&[u8]]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..contents.len()).map(|n| folder.path().join(format!("{n}.mmdb"))).collect();
        for (path, bytes) in paths.iter().zip(contents) {
            std::fs::write(path, bytes).unwrap();
        }
        (folder, paths)
    }

    fn named(databases: &[PathBuf]) -> Files {
        Files { databases: databases.to_vec(), ..Files::default() }
    }

    fn check(geo: &Geo, ip: &str, expected: [&str; 8]) {
        let found = geo.place(ip.parse().unwrap());
        let found = [
            &found.country_code,
            &found.country_name,
            &found.region,
            &found.city,
            &found.zipcode,
            &found.latitude,
            &found.longitude,
            &found.time_zone,
        ];
        assert_eq!(found, expected, "{ip}");
    }

    #[test]
    fn the_nested_layout_is_read() {
        let (_folder, paths) = files(&[&nested()]);
        let geo = Geo::open(named(&paths)).unwrap();
        let lund = ["SE", "Sweden", "Skåne", "Lund", "223 50", "55.70", "-13.00", "Europe/Stockholm"];
        check(&geo, "89.160.20.1", lund);
        check(&geo, "::ffff:89.160.20.1", lund);
        check(&geo, "2a00:1450::1", lund);
        check(&geo, "89.160.21.1", ["SE", "Sweden", "Skåne", "", "", "62.00", "15.00", "Europe/Stockholm"]);
        check(&geo, "89.160.22.1", ["NO", "Norway", "", "", "", "", "", "Europe/Oslo"]);
        check(&geo, "193.0.6.139", [""; 8]);
        assert_eq!(geo.built_at(), Timestamp::from_millis(1_772_439_300_000));
        let described = geo.description();
        assert!(described.starts_with("GeoLite2-City of 2026-03-02"), "{described}");
        assert!(described.ends_with("available from https://www.maxmind.com"), "{described}");
    }

    #[test]
    fn the_flat_layout_is_read_and_other_families_fall_back() {
        let (_folder, paths) = files(&[&flat()]);
        let geo = Geo::open(named(&paths)).unwrap();
        let lund = ["SE", "Sweden", "Skåne", "Lund", "223 50", "55.70", "13.19", "Europe/Stockholm"];
        check(&geo, "89.160.20.1", lund);
        check(&geo, "89.160.21.1", ["SE", "Sweden", "", "", "", "", "", "Europe/Stockholm"]);
        check(&geo, "2001:67c:2e8:22::c100:68b", ["NL", "Netherlands", "", "", "", "", "", "Europe/Amsterdam"]);
        let only_v6 = database("dbip-city", &[("2a00:1450::", 32, json!({"country_code": "SE"}))]);
        let (_folder, paths) = files(&[&only_v6]);
        let geo = Geo::open(named(&paths)).unwrap();
        check(&geo, "2a00:1450::1", ["SE", "Sweden", "", "", "", "", "", "Europe/Stockholm"]);
        check(&geo, "193.0.6.139", ["NL", "Netherlands", "", "", "", "", "", "Europe/Amsterdam"]);
        assert!(geo.description().ends_with("https://db-ip.com"), "{}", geo.description());
    }

    #[test]
    fn files_are_exchanged_when_they_change_and_kept_when_the_new_one_is_bad() {
        let (_folder, paths) = files(&[&flat()]);
        let geo = Geo::open(named(&paths)).unwrap();
        let city = || geo.place("89.160.20.1".parse().unwrap()).city;
        assert_eq!(geo.reload_if_changed().unwrap(), Reload::Unchanged);
        std::fs::write(&paths[0], &flat()[..200]).unwrap();
        assert!(matches!(geo.reload_if_changed(), Err(GeoError::Invalid { .. })));
        assert_eq!(geo.reload_if_changed().unwrap(), Reload::Unchanged, "told once");
        assert_eq!(city(), "Lund");
        std::fs::remove_file(&paths[0]).unwrap();
        assert!(matches!(geo.reload_if_changed(), Err(GeoError::Unreadable { .. })));
        assert_eq!(city(), "Lund");
        let oslo = json!({"country_code": "NO", "city": "Oslo"});
        std::fs::write(&paths[0], database("other", &[("89.160.20.0", 24, oslo)])).unwrap();
        assert_eq!(geo.reload_if_changed().unwrap(), Reload::Reloaded);
        assert_eq!(city(), "Oslo");
    }

    #[test]
    fn what_was_fetched_is_used_when_it_comes_and_nothing_else_is_named() {
        let (folder, paths) = files(&[&flat()]);
        let fetched = folder.path().join("city.mmdb");
        let geo = Geo::open(Files { fetched: Some(fetched.clone()), ..Files::default() }).unwrap();
        let other = Geo::open(Files { fetched: Some(fetched.clone()), ..named(&paths) }).unwrap();
        let city = |geo: &Geo| geo.place("89.160.20.1".parse().unwrap()).city;
        assert_eq!((city(&geo).as_str(), city(&other).as_str()), ("", "Lund"));
        let oslo = json!({"country_code": "NO", "city": "Oslo"});
        std::fs::write(&fetched, database("other", &[("89.160.20.0", 24, oslo)])).unwrap();
        assert_eq!(geo.reload_if_changed().unwrap(), Reload::Reloaded);
        other.reload_if_changed().unwrap();
        assert_eq!((city(&geo).as_str(), city(&other).as_str()), ("Oslo", "Lund"));
    }

    #[test]
    fn apples_relays_are_read_again_when_their_list_changes() {
        let folder = tempfile::tempdir().unwrap();
        let relays = folder.path().join("relays.csv");
        std::fs::write(&relays, "192.0.2.0/28,GB,,London,\n").unwrap();
        let geo = Geo::open(Files { relays: Some(relays.clone()), ..Files::default() }).unwrap();
        let network = |ip: &str| geo.network(ip.parse().unwrap());
        assert_eq!((network("192.0.2.1"), network("198.51.100.1")), (Some(Network::AppleRelay), None));
        std::fs::write(&relays, "198.51.100.0/24,GB,,London,\n").unwrap();
        assert_eq!(geo.reload_if_changed().unwrap(), Reload::Reloaded);
        assert_eq!((network("192.0.2.1"), network("198.51.100.1")), (None, Some(Network::AppleRelay)));
    }

    #[test]
    fn files_that_hold_no_places_are_refused() {
        let asn = database("ASN", &[("89.160.20.0", 24, json!({"autonomous_system_number": 29518}))]);
        let odd = database("odd", &[("89.160.20.0", 24, json!("text"))]);
        for bytes in [&asn[..], &odd, b"", b"not a database", b"\xab\xcd\xefMaxMind.com"] {
            let (_folder, paths) = files(&[bytes]);
            assert!(matches!(Geo::open(named(&paths)), Err(GeoError::Invalid { .. })));
        }
        assert!(matches!(Geo::open(named(&["/nowhere.mmdb".into()])), Err(GeoError::Unreadable { .. })));
    }

    #[test]
    fn no_damage_breaks_it() {
        let whole = nested();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            let Ok(database) = Database::from_bytes("x".as_ref(), bytes) else { continue };
            for ip in ["89.160.20.1", "89.160.21.1", "89.160.22.1", "2a00:1450::1", "1.1.1.1"] {
                database.place(ip.parse().unwrap());
            }
        }
    }

    #[test]
    fn what_is_printed_keeps_its_order() {
        let printed = inspect_ip(&Geo::embedded(), "193.0.6.139".parse().unwrap()).to_string();
        let expected = concat!(
            r#"{"zipcode":"","country_code":"NL","city":"","latitude":"","country_name":"Netherlands","#,
            r#""ip_address":"193.0.6.139","time_zone":"Europe/Amsterdam","region":"","longitude":""}"#
        );
        assert_eq!(printed, expected);
    }
}
