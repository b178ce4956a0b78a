//! The fields of a request that sends, read with the tolerances that real clients need.

use std::collections::HashMap;

use super::super::extras;
use super::super::json::Json;
use super::super::problem::Problem;
use super::super::wire::{self, Fields, Flaw, Person, Wrong};
use crate::mail::compose::{File, Inline};
use crate::mail::submitted::Switches;
use crate::model::address::{ADDRESS_BYTES_MAX, Address, Mailbox};
use crate::model::template::Texts;
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;

/// Entries in each of `to`, `cc`, `bcc` and `reply_to`.
pub(super) const PEOPLE_MAX: usize = 500;
/// Entries in `attachments`, and in `inline_images`.
pub(in super::super) const FILES_MAX: usize = 60;
/// Characters of a client's reference.
pub(super) const REFERENCE_CHARS_MAX: usize = 1_000;
/// Size of one file, in bytes.
pub(super) const FILE_BYTES_MAX: usize = 15 << 20;
/// Characters of a file's name.
pub(super) const FILE_NAME_CHARS_MAX: usize = 150;
/// Characters of a subject.
pub(super) const SUBJECT_CHARS_MAX: usize = 500;
/// Characters of a person's name.
pub(super) const NAME_CHARS_MAX: usize = 250;
/// The lists that hold files.
pub(super) const FILE_LISTS: [&str; 3] = ["attachments", "attachment", "inline_images"];

/// What all mails of one request share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) from: Mailbox,
    pub(super) cc: Vec<Person>,
    pub(super) bcc: Vec<Person>,
    pub(super) reply_to: Vec<Person>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) attachments: Vec<File>,
    pub(super) inline_images: Vec<Inline>,
    pub(super) switches: Switches,
}

impl Common {
    /// What a mail comes to without its texts, in bytes: each of a batch has a copy.
    pub(super) fn size(&self) -> usize {
        let file = |file: &File| file.name.len() + file.content_type.len() + file.content.len();
        let person = |person: &Person| person.name.len() + ADDRESS_BYTES_MAX;
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        let people = [&self.cc, &self.bcc, &self.reply_to].into_iter().flatten().map(person);
        let images = self.inline_images.iter().map(|image| image.cid.len() + file(&image.file));
        headers.chain(people).chain(self.attachments.iter().map(file)).chain(images).sum()
    }
}

/// Files of the cache by their keys.
pub(super) type Cached = HashMap<String, File>;

/// Reads what all mails of a request share.
pub(super) fn common(
    fields: &Fields<'_, '_>,
    grant: &Grant,
    cached: &Cached,
    now: Timestamp,
) -> Result<Common, Problem> {
    let from = match fields.get("from") {
        Some(from) => short_named(wire::person(from, fields.path("from"))?, "/from")?.mailbox(),
        None => grant.agent.settings.from.clone().ok_or_else(|| Flaw::at("/from", Wrong::Missing))?,
    };
    let mut attachments = files(fields, "attachments", |item| attachment(item, "attachments", cached))?;
    attachments.extend(files(fields, "attachment", |item| attachment(item, "attachment", cached))?);
    Ok(Common {
        from,
        cc: people(fields, "cc")?,
        bcc: people(fields, "bcc")?,
        reply_to: people(fields, "reply_to")?,
        headers: mime_headers(fields)?,
        attachments,
        inline_images: files(fields, "inline_images", |item| inline_image(item, cached))?,
        switches: switches(fields, now)?,
    })
}

/// The texts that a request brings itself.
pub(super) fn texts(fields: &Fields<'_, '_>) -> Result<Texts, Flaw> {
    // A body that is empty is none.
    let shown = |name| fields.text(name).map(|text| text.filter(|text| !text.is_empty()).map(str::to_owned));
    Ok(Texts { subject: subject(fields)?, html: shown("htmlbody")?, text: shown("textbody")? })
}

fn subject(fields: &Fields<'_, '_>) -> Result<String, Flaw> {
    let subject = fields.text("subject")?.ok_or_else(|| Flaw::at("/subject", Wrong::Missing))?;
    match subject {
        _ if subject.trim().is_empty() => Err(Flaw::at("/subject", Wrong::Empty)),
        _ if subject.chars().count() > SUBJECT_CHARS_MAX => {
            Err(Flaw::at("/subject", Wrong::TooLong(SUBJECT_CHARS_MAX)))
        }
        _ => Ok(subject.to_owned()),
    }
}

/// The people of one field.
pub(super) fn people(fields: &Fields<'_, '_>, name: &'static str) -> Result<Vec<Person>, Flaw> {
    let people = fields.people(name)?;
    if people.len() > PEOPLE_MAX {
        return Err(Flaw::at(fields.path(name), Wrong::TooMany(PEOPLE_MAX)));
    }
    people.into_iter().map(|person| short_named(person, &fields.path(name))).collect()
}

fn short_named(person: Person, path: &str) -> Result<Person, Flaw> {
    match person.name.chars().count() > NAME_CHARS_MAX {
        true => Err(Flaw::at(path, Wrong::TooLong(NAME_CHARS_MAX)).showing(&person.name)),
        false => Ok(person),
    }
}

/// Header fields, as they are or inside another `headers`. PHP writes an empty object as an empty list.
fn mime_headers(fields: &Fields<'_, '_>) -> Result<Vec<(String, String)>, Flaw> {
    if matches!(fields.get("mime_headers"), Some(Json::List(items)) if items.is_empty()) {
        return Ok(Vec::new());
    }
    let nested = fields.fields("mime_headers")?.filter(|inner| matches!(inner.get("headers"), Some(Json::Object(_))));
    nested.map_or_else(|| fields.pairs("mime_headers"), |inner| inner.pairs("headers"))
}

fn files<T>(
    fields: &Fields<'_, '_>,
    name: &str,
    read: impl Fn(Fields<'_, '_>) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    let items = fields.list(name)?;
    if items.len() > FILES_MAX {
        return Err(Flaw::at(fields.path(name), Wrong::TooMany(FILES_MAX)).into());
    }
    let each = items.iter().enumerate();
    each.map(|(place, item)| read(wire::fields_of(item, format!("{}/{place}", fields.path(name)))?)).collect()
}

fn inline_image(item: Fields<'_, '_>, cached: &Cached) -> Result<Inline, Problem> {
    let cid = item.text("cid")?.or(item.text("content_id")?);
    let cid = cid.ok_or_else(|| Flaw::at(item.path("cid"), Wrong::Missing))?.to_owned();
    Ok(Inline { cid, file: attachment(item, "inline_images", cached)? })
}

/// A file that the request brings, or one of the cache, under a name of its own if it has one here.
fn attachment(item: Fields<'_, '_>, list: &'static str, cached: &Cached) -> Result<File, Problem> {
    let name = item.text("name")?.unwrap_or_default();
    if name.chars().count() > FILE_NAME_CHARS_MAX {
        return Err(Flaw::at(item.path("name"), Wrong::TooLong(FILE_NAME_CHARS_MAX)).showing(name).into());
    }
    if let Some(key) = item.text("file_cache_key")?.filter(|key| !key.is_empty()) {
        let none = || Problem::NoSuchFile { field: list, key: key.chars().take(200).collect() };
        let file = cached.get(key).cloned().ok_or_else(none)?;
        return Ok(if name.is_empty() { file } else { File { name: name.to_owned(), ..file } });
    }
    let path = item.path("content");
    let text = item.text("content")?.ok_or_else(|| Flaw::at(&path, Wrong::Missing))?;
    let content = wire::base64(text, &path)?;
    if content.len() > FILE_BYTES_MAX {
        return Err(Flaw::at(path, Wrong::TooLarge(FILE_BYTES_MAX)).into());
    }
    let content_type = item.text("mime_type")?.unwrap_or_default().to_owned();
    Ok(File { name: name.to_owned(), content_type, content })
}

fn switches(fields: &Fields<'_, '_>, now: Timestamp) -> Result<Switches, Flaw> {
    let client_reference = fields.text("client_reference")?.unwrap_or_default();
    if client_reference.chars().count() > REFERENCE_CHARS_MAX {
        return Err(Flaw::at("/client_reference", Wrong::TooLong(REFERENCE_CHARS_MAX)));
    }
    let bounce_address = match fields.text("bounce_address")?.unwrap_or_default() {
        "" => String::new(),
        text => {
            let bad = |_| Flaw::at("/bounce_address", Wrong::Format("email")).showing(text);
            text.parse::<Address>().map_err(bad)?.to_string()
        }
    };
    Ok(Switches {
        track_opens: fields.flag("track_opens")?,
        track_clicks: fields.flag("track_clicks")?,
        spares_secrets: false,
        list_unsubscribe: fields.flag("list_unsubscribe")?,
        client_reference: client_reference.to_owned(),
        bounce_address,
        tags: extras::tags(fields, "tags")?,
        metadata: extras::metadata(fields, "metadata")?,
        send_at: extras::send_at(fields, "scheduled_at", now)?,
        time_to_live: extras::time_to_live(fields, "time_to_live")?,
        ..Switches::default()
    })
}
