//! Files and folders that hold mail and keys are for nobody else on this machine, whatever brought them there.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::Settings;

const OTHERS: u32 = 0o077;

/// Shuts to others the database and its key, and what of the data folder is ours alone: a copy that was put back is often
/// open to all. The data folder itself may be shared, by whom its owner likes.
pub(super) fn shut(settings: &Settings) {
    for path in files(settings) {
        match shut_one(&path) {
            Ok(false) => {}
            Ok(true) => tracing::warn!(path = %path.display(), "others could read it; now nobody else can"),
            Err(fault) => tracing::warn!(path = %path.display(), %fault, "others can read it"),
        }
    }
}

fn files(settings: &Settings) -> Vec<PathBuf> {
    let beside = |path: &Path, end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let database = settings.database.sqlite_path().into_iter();
    let database = database.flat_map(|path| ["", "-wal", "-shm"].map(|end| beside(path, end)));
    database.chain(["master.key", "hits.journal", "content", "tls"].map(|name| settings.data.join(name))).collect()
}

/// Whether there was something to shut.
fn shut_one(path: &Path) -> std::io::Result<bool> {
    let Ok(found) = path.metadata() else { return Ok(false) };
    let mode = found.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(false);
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseUrl;

    #[test]
    fn what_others_could_read_is_shut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postback.db");
        assert!(!shut_one(&path).unwrap(), "there is none");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(shut_one(&path).unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!shut_one(&path).unwrap());
    }

    #[test]
    fn all_that_holds_mail_and_keys_is_shut() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            data: folder.path().to_owned(),
            database: DatabaseUrl::from(format!("sqlite:{}/mail.db", folder.path().display())),
            ..Settings::default()
        };
        let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
        let names = [("mail.db", 0o600), ("mail.db-wal", 0o600), ("master.key", 0o600), ("hits.journal", 0o600)];
        for (name, _) in names {
            std::fs::write(folder.path().join(name), "").unwrap();
            std::fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o644)).unwrap();
        }
        for name in ["content", "tls"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o755)).unwrap();
        }
        shut(&settings);
        for (name, expected) in names.into_iter().chain([("content", 0o700), ("tls", 0o700)]) {
            assert_eq!(mode(name), expected, "{name}");
        }
    }
}
