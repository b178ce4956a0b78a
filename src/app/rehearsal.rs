//! What `serve` would find in its way, found out without serving: files that settings name, and doors that clash.

use anyhow::Context;

use super::{master_key, open_geo, sockets};
use crate::config::Settings;
use crate::tls::Certificates;

/// Reads what `settings` name and makes nothing.
///
/// # Errors
/// The first thing that `serve` would stop at.
pub fn rehearse(settings: &Settings) -> anyhow::Result<()> {
    sockets::check(settings)?;
    Certificates::check(&settings.tls).context("tls")?;
    master_key::check(settings)?;
    open_geo(settings).map(drop)
}
