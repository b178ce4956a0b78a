//! The console's own style and scripts, kept in the program.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};

use super::super::server::Answer;
use super::page::whole;

/// The file with this name; `None` when there is none.
pub(super) fn answer(name: &str) -> Option<Answer> {
    let (content_type, text) = match name {
        "console.css" => ("text/css; charset=utf-8", include_str!("../../../templates/static/console.css")),
        "console.js" => ("text/javascript; charset=utf-8", include_str!("../../../templates/static/console.js")),
        "keys.js" => ("text/javascript; charset=utf-8", include_str!("../../../templates/static/keys.js")),
        "icon.svg" => ("image/svg+xml", include_str!("../../../templates/static/icon.svg")),
        _ => return None,
    };
    let mut answer = whole(StatusCode::OK, content_type, Bytes::from_static(text.as_bytes()));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    Some(answer)
}
