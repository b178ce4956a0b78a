//! `/v1.1/files`: files that are kept, so that mails can name them by a key.
//!
//! `POST /v1.1/files?name=logo.jpg` with the bytes as body and their type as `Content-Type`. A key is good for the mail
//! agent that the token belongs to. `GET` lists the agent's files and `DELETE /v1.1/files/{key}` removes one; the
//! original has these in its portal.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::body::Read;
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::wire::{self, Fields, Flaw, Wrong};
use super::super::{Server, json_answer, no_content};
use super::fields::{Cached, FILE_LISTS, FILE_NAME_CHARS_MAX};
use super::times;
use crate::intake::submission::Rejection;
use crate::mail::compose::{self, File};
use crate::model::file::{CachedFile, id_of};
use crate::model::id::FileId;
use crate::model::tenant::Grant;

/// Files in one list.
const LIST_MAX: u32 = 1_000;

/// Keeps a file.
pub(super) async fn upload(
    server: &Server,
    grant: &Grant,
    name: String,
    content_type: &str,
    body: Read,
) -> Result<Answer, Problem> {
    if name.is_empty() {
        return Err(Flaw::at("/name", Wrong::Missing).into());
    }
    if name.chars().count() > FILE_NAME_CHARS_MAX {
        return Err(Flaw::at("/name", Wrong::TooLong(FILE_NAME_CHARS_MAX)).showing(&name).into());
    }
    if body.bytes.is_empty() {
        return Err(Problem::EmptyFile);
    }
    let content = body.bytes.clone();
    let file = File { name, content_type: content_type.to_owned(), content: content.clone() };
    compose::check_file(&file).map_err(|unfit| Problem::Rejected(unfit.into()))?;
    let now = server.clock().now();
    let cached = CachedFile {
        id: FileId::from_uuid(server.ids().uuid(now)),
        tenant: grant.tenant.id,
        agent: grant.agent.id,
        name: file.name,
        content_type: file.content_type,
        size_bytes: content.len() as u64,
        created_at: now,
    };
    let key = cached.key(&grant.agent.key);
    if !server.store().add_cached_file(cached, content).await? {
        return Err(Problem::Full("The mail agent's file cache is full"));
    }
    let told = json!({
        "file_cache_key": key,
        "data": [{ "code": "fm_101", "additional_info": [], "message": "File uploaded successfully" }],
        "message": "OK",
        "object": "file",
    });
    Ok(json_answer(StatusCode::CREATED, &told))
}

/// Shows an agent's files.
pub(super) async fn list(server: &Server, grant: &Grant) -> Result<Answer, Problem> {
    let files = server.store().cached_files(grant.agent.id, None, LIST_MAX).await?;
    let shown = |file: &CachedFile| {
        json!({
            "file_cache_key": file.key(&grant.agent.key),
            "file_name": file.name,
            "content_type": file.content_type,
            "size": file.size_bytes,
            "created_time": times::told(file.created_at),
        })
    };
    let data: Vec<Value> = files.iter().map(shown).collect();
    Ok(json_answer(StatusCode::OK, &json!({ "data": data, "message": "OK", "object": "file" })))
}

/// Removes a file.
pub(super) async fn remove(server: &Server, grant: &Grant, key: &str) -> Result<Answer, Problem> {
    let id = id_of(key).ok_or(Problem::NotFound("File"))?;
    match server.store().remove_cached_file(grant.agent.id, id).await? {
        true => Ok(no_content()),
        false => Err(Problem::NotFound("File")),
    }
}

/// The files of the cache that a request names, by their keys; what the agent has no file for is left out.
pub(super) async fn named(server: &Server, grant: &Grant, fields: &Fields<'_, '_>) -> Result<Cached, Problem> {
    let mut cached = Cached::new();
    let max_bytes = server.intake().settings().message_bytes_max;
    let mut bytes = 0;
    for list in FILE_LISTS {
        for (place, item) in fields.list(list)?.iter().enumerate().take(super::fields::FILES_MAX) {
            let item = wire::fields_of(item, format!("{}/{place}", fields.path(list)))?;
            let Some(key) = item.text("file_cache_key")?.filter(|key| !cached.contains_key(*key)) else { continue };
            let Some(id) = id_of(key) else { continue };
            let Some((file, content)) = server.store().cached_file(grant.agent.id, id).await? else { continue };
            bytes += content.len();
            if bytes > max_bytes {
                return Err(Problem::Rejected(Rejection::TooLarge { max_bytes }));
            }
            cached.insert(key.to_owned(), File { name: file.name, content_type: file.content_type, content });
        }
    }
    Ok(cached)
}
