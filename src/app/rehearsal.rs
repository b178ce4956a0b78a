//! What `serve` would find in its way, found out without serving: files and folders that settings name, doors that clash or
//! are on no address of this machine, a database of a newer version.

use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::{Access, access};

use super::{master_key, open_geo, sockets};
use crate::config::Settings;
use crate::store::schema;
use crate::tls::Certificates;

/// Reads what `settings` name and makes nothing. A database on another machine is not asked.
///
/// # Errors
/// The first thing that `serve` would stop at.
pub async fn rehearse(settings: &Settings) -> anyhow::Result<()> {
    check_folder(&settings.data).context("data")?;
    if let Some(database) = settings.database.sqlite_path() {
        let home = database.parent().filter(|home| !home.as_os_str().is_empty()).unwrap_or(Path::new("."));
        check_folder(home).context("database")?;
        let known = schema::check_file(database).await;
        known.with_context(|| format!("database: open {}", database.display()))?;
    }
    sockets::rehearse(settings)?;
    Certificates::check(&settings.tls).context("tls")?;
    master_key::check(settings)?;
    open_geo(settings).map(drop)
}

/// Whether this folder can be written to, or made.
fn check_folder(folder: &Path) -> anyhow::Result<()> {
    let whole = std::path::absolute(folder)?;
    let there = whole.ancestors().find(|part| part.exists()).unwrap_or(&whole);
    if !there.is_dir() {
        bail!("the folder {} cannot be made: {} is not a folder", folder.display(), there.display());
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK)
        .with_context(|| format!("the folder {} cannot be made or written to", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_there_or_can_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &str, expected: Option<&str>| {
            let told = check_folder(&folder.path().join(path)).err().map(|fault| fault.to_string());
            assert_eq!(told.is_some(), expected.is_some(), "{path}: {told:?}");
            assert!(told.is_none_or(|told| told.contains(expected.unwrap())), "{path}");
        };
        std::fs::write(folder.path().join("file"), "").unwrap();
        check("", None);
        check("a/b/c", None);
        check("file", Some("is not a folder"));
        check("file/data", Some("is not a folder"));
    }
}
