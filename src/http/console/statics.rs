//! The console's own style, scripts and picture, kept in the program.
//!
//! Pages ask for them by a name that has a digest of the content in it, so that a browser keeps them for good and still
//! has the new ones with the first page of a new version. Another digest is that of a page which another version made:
//! it gets what there is, to be kept by nobody.

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use sha2::{Digest, Sha256};

use super::super::server::Answer;
use super::page::whole;
use super::session::hex;

/// Where they are.
const FOLDER: &str = "/console/static/";
/// Bytes of a digest that stand in a name.
const DIGEST_BYTES: usize = 8;
/// How long a browser keeps what never changes: a year.
const FOR_GOOD: &str = "max-age=31536000, immutable";

struct Static {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
    /// Its path, as pages ask for it.
    path: String,
}

static ALL: LazyLock<[Static; 4]> = LazyLock::new(|| {
    let file = |name: &'static str, content_type, text: &'static str| {
        let digest = hex(Sha256::digest(text).get(..DIGEST_BYTES).unwrap_or_default());
        Static { name, content_type, text, path: format!("{FOLDER}{digest}/{name}") }
    };
    let script = "text/javascript; charset=utf-8";
    [
        file("console.css", "text/css; charset=utf-8", include_str!("../../../templates/static/console.css")),
        file("console.js", script, include_str!("../../../templates/static/console.js")),
        file("keys.js", script, include_str!("../../../templates/static/keys.js")),
        file("icon.svg", "image/svg+xml", include_str!("../../../templates/static/icon.svg")),
    ]
});

/// The path of the file with this name; of a name that there is not, the folder's.
pub(super) fn path(name: &str) -> &'static str {
    ALL.iter().find(|one| one.name == name).map_or(FOLDER, |one| one.path.as_str())
}

/// The file with this name, asked for by this digest; `None` when there is none.
pub(super) fn answer(digest: &str, name: &str) -> Option<Answer> {
    let file = ALL.iter().find(|one| one.name == name)?;
    let mut answer = whole(StatusCode::OK, file.content_type, Bytes::from_static(file.text.as_bytes()));
    if file.path == format!("{FOLDER}{digest}/{name}") {
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(FOR_GOOD));
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_changes_is_kept_for_good() {
        let kept = |path: &str| {
            let (digest, name) = path.strip_prefix(FOLDER).unwrap().split_once('/').unwrap();
            answer(digest, name).map(|answer| answer.headers()[CACHE_CONTROL].to_str().unwrap().to_owned())
        };
        for file in ALL.iter() {
            assert_eq!(kept(path(file.name)).as_deref(), Some(FOR_GOOD), "{}", file.path);
            assert_eq!(kept(&format!("{FOLDER}0011223344556677/{}", file.name)).as_deref(), Some("no-store"));
        }
        assert_eq!((kept(&format!("{FOLDER}00/none.css")), path("none.css")), (None, FOLDER));
        assert_ne!(path("console.js"), path("keys.js"));
    }

    /// A page that names a file by a path of its own would get an old one.
    #[test]
    fn pages_ask_for_them_by_their_paths() {
        for page in
            [include_str!("../../../templates/console/base.html"), include_str!("../../../templates/console/door.html")]
        {
            assert!(!page.contains(FOLDER), "{page}");
            for named in page.split("statics::path(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert_ne!(path(named), FOLDER, "{named}");
            }
        }
    }
}
