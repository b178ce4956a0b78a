//! `/v1.1`: ZeptoMail's and TransMail's API. Wire types in, wire types out.
//!
//! `POST /v1.1/email` sends, with `Authorization: Zoho-enczapikey <token>`; clients also send the token bare. What real
//! clients force is accepted: `null` and empty lists for whatever is optional, people bare or wrapped, `mime_headers`
//! with a `headers` inside. Unknown fields are ignored. An accepted mail is 201, and its `request_id` is the one that
//! webhooks carry. Every other answer under this path is this API's error body, whatever the path or method.

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::json::Json;
use super::problem::Problem;
use super::server::Answer;
use super::wire::{self, Fields, Flaw, Person, Wrong};
use super::{Server, body, finish, header, json, json_answer, problem_answer, segments};
use crate::intake::submission::{Content, Receipt, Submission};
use crate::mail::compose::{Field, File, Inline, Parts};
use crate::mail::submitted::Switches;
use crate::model::message::Source;
use crate::model::tenant::Grant;

/// Before the token, in any case of letters.
const SCHEME: &str = "Zoho-enczapikey";
/// Entries in each of `to`, `cc`, `bcc` and `reply_to`.
const PEOPLE_MAX: usize = 500;
/// Entries in `attachments`.
pub(super) const FILES_MAX: usize = 60;
/// Characters of a subject.
const SUBJECT_CHARS_MAX: usize = 500;
/// Characters of a person's name.
const NAME_CHARS_MAX: usize = 250;
/// Characters of a file's name.
const FILE_NAME_CHARS_MAX: usize = 150;
/// Characters of a client's reference.
const REFERENCE_CHARS_MAX: usize = 1_000;

/// What this API calls a part of a mail.
pub(super) fn word(field: Field) -> &'static str {
    match field {
        Field::From => "from",
        Field::To => "to",
        Field::Cc => "cc",
        Field::ReplyTo => "reply_to",
        Field::Subject => "subject",
        Field::Headers => "mime_headers",
        Field::Attachments => "attachments",
        Field::InlineImages => "inline_images",
    }
}

/// Answers a request under `/v1.1`.
pub(super) async fn answer(server: &Server, mut request: Request<Incoming>) -> Answer {
    match send(server, &mut request).await {
        Ok(receipt) => json_answer(StatusCode::CREATED, &accepted(&receipt)),
        Err(problem) => {
            body::drain(request, &problem).await;
            refused(server, &problem)
        }
    }
}

/// A problem in this API's words.
pub(super) fn refused(server: &Server, problem: &Problem) -> Answer {
    problem_answer(problem, problem.zeptomail(&fresh_request_id(server)), SCHEME)
}

async fn send(server: &Server, request: &mut Request<Incoming>) -> Result<Receipt, Problem> {
    route(request.method(), request.uri().path())?;
    let token = token(request).ok_or(Problem::Unauthorized)?;
    let grant = server.intake().authenticate_token(token).await?;
    let body = server.0.memory.read(request, server.settings().send_bytes_max).await?;
    let server = server.clone();
    finish(async move {
        let submission = submission(&body.bytes, &grant)?;
        drop(body);
        Ok(server.submit(&grant, submission).await?)
    })
    .await
}

fn route(method: &Method, path: &str) -> Result<(), Problem> {
    match segments(path, "/v1.1").as_deref() {
        Some(["email"]) if method == Method::POST => Ok(()),
        Some(["email"]) => Err(Problem::Method { allowed: "POST" }),
        _ => Err(Problem::NoRoute),
    }
}

/// The token, after its scheme or bare.
fn token(request: &Request<Incoming>) -> Option<&str> {
    let value = header(request.headers(), AUTHORIZATION.as_str())?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => Some(token.trim()),
        Some(_) => None,
        None => Some(value),
    }
}

fn accepted(receipt: &Receipt) -> serde_json::Value {
    json!({
        "data": [{ "code": "EM_104", "additional_info": [], "message": "Email request received" }],
        "message": "OK",
        "request_id": receipt.request_id,
        "object": "email",
    })
}

/// The id of a request that brought no mail: of the same shape as those of mails.
fn fresh_request_id(server: &Server) -> String {
    let now = server.clock().now();
    let salt = u64::from_be_bytes(server.ids().bytes());
    format!("2d6f.{salt:016x}.m1.{}.{:x}", server.ids().uuid(now), now.as_millis())
}

fn submission(body: &[u8], grant: &Grant) -> Result<Submission, Problem> {
    let json = json::read(body).map_err(Problem::Json)?;
    let fields = wire::body(&json)?;
    let from = match fields.get("from") {
        Some(from) => wire::person(from, fields.path("from"))?.mailbox(),
        None => grant.agent.settings.from.clone().ok_or_else(|| Flaw::at("/from", Wrong::Missing))?,
    };
    let [to, cc, bcc, reply_to] = ["to", "cc", "bcc", "reply_to"].map(|name| people(&fields, name));
    let (to, cc, bcc, reply_to) = (to?, cc?, bcc?, reply_to?);
    let recipients = wire::recipients(to.iter().chain(&cc).chain(&bcc));
    if recipients.is_empty() {
        return Err(Flaw::at("/to", Wrong::Missing).into());
    }
    let mailboxes = |people: &[Person]| people.iter().map(Person::mailbox).collect();
    let parts = Parts {
        from,
        to: mailboxes(&to),
        cc: mailboxes(&cc),
        reply_to: mailboxes(&reply_to),
        subject: subject(&fields)?,
        html: shown(&fields, "htmlbody")?,
        text: shown(&fields, "textbody")?,
        headers: mime_headers(&fields)?,
        attachments: files(&fields, "attachments", attachment)?,
        inline_images: files(&fields, "inline_images", inline_image)?,
    };
    let switches = switches(&fields)?;
    Ok(Submission {
        source: Source::Http,
        sender: None,
        recipients,
        content: Content::Parts(Box::new(parts)),
        switches,
    })
}

fn people(fields: &Fields<'_, '_>, name: &'static str) -> Result<Vec<Person>, Flaw> {
    let people = fields.people(name)?;
    if people.len() > PEOPLE_MAX {
        return Err(Flaw::at(fields.path(name), Wrong::TooMany(PEOPLE_MAX)));
    }
    match people.iter().find(|person| person.name.chars().count() > NAME_CHARS_MAX) {
        Some(person) => Err(Flaw::at(fields.path(name), Wrong::TooLong(NAME_CHARS_MAX)).showing(&person.name)),
        None => Ok(people),
    }
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

/// A body; an empty one is none.
fn shown(fields: &Fields<'_, '_>, name: &str) -> Result<Option<String>, Flaw> {
    Ok(fields.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
}

/// Header fields, as they are or inside another `headers`.
fn mime_headers(fields: &Fields<'_, '_>) -> Result<Vec<(String, String)>, Flaw> {
    let nested = fields.fields("mime_headers")?.filter(|inner| matches!(inner.get("headers"), Some(Json::Object(_))));
    nested.map_or_else(|| fields.pairs("mime_headers"), |inner| inner.pairs("headers"))
}

fn files<T>(
    fields: &Fields<'_, '_>,
    name: &'static str,
    read: impl Fn(Fields<'_, '_>, &'static str) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    let items = fields.list(name)?;
    if items.len() > FILES_MAX {
        return Err(Flaw::at(fields.path(name), Wrong::TooMany(FILES_MAX)).into());
    }
    let each = items.iter().enumerate();
    each.map(|(place, item)| read(wire::fields_of(item, format!("{}/{place}", fields.path(name)))?, name)).collect()
}

fn attachment(item: Fields<'_, '_>, list: &'static str) -> Result<File, Problem> {
    let name = item.text("name")?.unwrap_or_default();
    if name.chars().count() > FILE_NAME_CHARS_MAX {
        return Err(Flaw::at(item.path("name"), Wrong::TooLong(FILE_NAME_CHARS_MAX)).showing(name).into());
    }
    Ok(File { name: name.to_owned(), ..content(&item, list)? })
}

fn inline_image(item: Fields<'_, '_>, list: &'static str) -> Result<Inline, Problem> {
    let cid = item.text("cid")?.or(item.text("content_id")?);
    let cid = cid.ok_or_else(|| Flaw::at(item.path("cid"), Wrong::Missing))?.to_owned();
    Ok(Inline { cid, file: attachment(item, list)? })
}

/// The bytes of a file, named after nothing yet.
fn content(item: &Fields<'_, '_>, list: &'static str) -> Result<File, Problem> {
    if let Some(key) = item.text("file_cache_key")? {
        return Err(Problem::NoSuchFile { field: list, key: key.chars().take(200).collect() });
    }
    let path = item.path("content");
    let text = item.text("content")?.ok_or_else(|| Flaw::at(&path, Wrong::Missing))?;
    let content_type = item.text("mime_type")?.unwrap_or_default().to_owned();
    Ok(File { name: String::new(), content_type, content: wire::base64(text, &path)? })
}

fn switches(fields: &Fields<'_, '_>) -> Result<Switches, Flaw> {
    let client_reference = fields.text("client_reference")?.unwrap_or_default();
    if client_reference.chars().count() > REFERENCE_CHARS_MAX {
        return Err(Flaw::at("/client_reference", Wrong::TooLong(REFERENCE_CHARS_MAX)));
    }
    let bounce_address = match fields.text("bounce_address")?.unwrap_or_default() {
        "" => String::new(),
        text => {
            let bad = |_| Flaw::at("/bounce_address", Wrong::Format("email")).showing(text);
            text.parse::<crate::model::address::Address>().map_err(bad)?.to_string()
        }
    };
    Ok(Switches {
        track_opens: fields.flag("track_opens")?,
        track_clicks: fields.flag("track_clicks")?,
        client_reference: client_reference.to_owned(),
        bounce_address,
        ..Switches::default()
    })
}
