//! The databases of places, as settings name them.

use std::path::PathBuf;

use anyhow::Context;

use crate::config::Settings;
use crate::enrich::geo::{Files, Geo};

/// Opens the databases of places that `settings` name, or the countries that are built in.
///
/// # Errors
/// A file cannot be used.
pub fn open_geo(settings: &Settings) -> anyhow::Result<Geo> {
    let files = Files {
        databases: settings.geoip.databases.clone(),
        fetched: Some(fetched_places(settings)),
        relays: settings.geoip.apple_relays.clone(),
    };
    Geo::open(files).context("geoip")
}

/// Where `postback geoip update` puts the database of places.
pub fn fetched_places(settings: &Settings) -> PathBuf {
    settings.data.join("geoip").join("city.mmdb")
}
