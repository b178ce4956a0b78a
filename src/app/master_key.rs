//! The master key: what secrets in the database are sealed with. Kept outside of it, so that a copy of the database, or
//! of its backup, opens none.
//!
//! It is the setting `master_key`, or what stands in `master_key_file`, which is made when there is none, for its owner
//! alone, and synced before anything is sealed with it. Nodes that share a database share the key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::config::Settings;
use crate::ids::IdSource;
use crate::model::seal::MasterKey;

const USUAL_FILE: &str = "master.key";

/// The key, and whether it was made just now.
pub(super) struct Found {
    pub(super) master: MasterKey,
    made: Option<PathBuf>,
}

/// The key that `settings` name, made now if there is none.
pub(super) fn find(settings: &Settings, ids: &IdSource) -> anyhow::Result<Found> {
    let set = settings.master_key.reveal();
    if !set.is_empty() {
        let master = MasterKey::from_text(set).context("master_key: it must be the base64 of 32 bytes")?;
        return Ok(Found { master, made: None });
    }
    let path = settings.master_key_file.clone().unwrap_or_else(|| settings.data.join(USUAL_FILE));
    let is_new =
        make(&path, &MasterKey::new(ids.bytes())).with_context(|| format!("make the master key {}", path.display()))?;
    Ok(Found { master: read(&path)?, made: is_new.then_some(path) })
}

fn read(path: &Path) -> anyhow::Result<MasterKey> {
    let text = fs::read_to_string(path).with_context(|| format!("read the master key {}", path.display()))?;
    MasterKey::from_text(&text)
        .with_context(|| format!("the master key {} must be the base64 of 32 bytes", path.display()))
}

/// Looks at the key that `settings` name, and makes none. That there is none yet is well where there is no database yet.
pub(super) fn check(settings: &Settings) -> anyhow::Result<()> {
    let set = settings.master_key.reveal();
    if !set.is_empty() {
        return MasterKey::from_text(set).map(drop).context("master_key: it must be the base64 of 32 bytes");
    }
    let path = settings.master_key_file.clone().unwrap_or_else(|| settings.data.join(USUAL_FILE));
    if path.exists() {
        return read(&path).map(drop);
    }
    match settings.database.sqlite_path().filter(|database| database.exists()) {
        Some(database) => bail!("{} is not there, which {} was sealed with", path.display(), database.display()),
        None => Ok(()),
    }
}

impl Found {
    /// The database wants another key: one that was made for it a moment ago is of no use and would only mislead. What was
    /// missing then.
    pub(super) fn is_refused(&self) -> Option<String> {
        let path = self.made.as_ref()?;
        // It fails if somebody was faster, and then it is gone as well.
        let _ = fs::remove_file(path);
        Some(format!("the master key {} is not there", path.display()))
    }
}

/// Writes the key to a file of its own and gives it its name only when it is whole and synced; whether there was none.
fn make(path: &Path, master: &MasterKey) -> io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    super::make_data_folder(folder)?;
    let unnamed = path.with_extension(format!("{}.part", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unnamed)?;
    writeln!(file, "{}", master.reveal())?;
    file.sync_all()?;
    // Unlike a rename, a link does not take the place of what somebody else has made meanwhile.
    let linked = fs::hard_link(&unnamed, path);
    fs::remove_file(&unnamed)?;
    File::open(folder)?.sync_all()?;
    match linked {
        Ok(()) => Ok(true),
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::Secret;

    #[test]
    fn one_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { data: folder.path().join("data"), ..Settings::default() };
        let first = find(&settings, &IdSource::seeded(1)).unwrap();
        let again = find(&settings, &IdSource::seeded(2)).unwrap();
        assert_eq!(first.master, again.master);
        let path = settings.data.join(USUAL_FILE);
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        assert_eq!(fs::read_dir(&settings.data).unwrap().count(), 1);
        check(&settings).unwrap();
        assert_eq!(again.is_refused(), None);
        assert!(path.exists());
        assert_eq!(first.is_refused(), Some(format!("the master key {} is not there", path.display())));
        assert!(!path.exists());
    }

    #[test]
    fn what_a_start_would_stop_at_is_found_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("postback.db");
        let url = format!("sqlite:{}", database.display());
        let settings = Settings { data: folder.path().to_owned(), database: url.into(), ..Settings::default() };
        check(&settings).unwrap();
        fs::write(&database, "").unwrap();
        let told = check(&settings).unwrap_err().to_string();
        assert!(told.contains("master.key is not there"), "{told}");
        fs::write(folder.path().join(USUAL_FILE), "nonsense").unwrap();
        let told = check(&settings).unwrap_err().to_string();
        assert!(told.contains("must be the base64 of 32 bytes"), "{told}");
    }

    #[test]
    fn a_set_one_needs_no_file_and_nonsense_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let set = |text: &str| Settings {
            data: folder.path().to_owned(),
            master_key: Secret::new(text),
            ..Settings::default()
        };
        let key = MasterKey::new([9; 32]);
        assert_eq!(find(&set(&key.reveal()), &IdSource::seeded(1)).unwrap().master, key);
        assert!(find(&set("short"), &IdSource::seeded(1)).is_err());
        fs::write(folder.path().join(USUAL_FILE), "x\n").unwrap();
        assert!(find(&set(""), &IdSource::seeded(1)).is_err());
    }
}
