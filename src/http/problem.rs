//! Every rejection and fault as each API's error body.
//!
//! A [`Problem`] is what went wrong, in our words; [`Problem::mailtura`] here and [`Problem::zeptomail`] in `zeptomail` are
//! the two tables that turn it into a status and a body of the surface it happened on. Both are exhaustive matches under
//! snapshot test. Mailtura: `{"message", "validation"?}`, with `validation` as ajv writes it.

mod ajv;
mod zeptomail;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::wire::{Flaw, Wrong};
use crate::intake::caller::AuthFailure;
use crate::intake::once::NoTurn;
use crate::intake::submission::{BATCH_BYTES_MAX, Refusal, Rejection};
use crate::mail::compose::{Field, Unfit};
use crate::mail::template::{Fault, Flawed};
use crate::model::permission::Permission;
use crate::model::template::Part;
use crate::store::StoreError;
use ajv::validation;

/// How long to wait before the same request again, in seconds, when the fault is ours and temporary.
pub const RETRY_AFTER_SECS: u32 = 5;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such path.
    NoRoute,
    /// The path exists, the method is not for it.
    Method {
        /// Those that are, as `Allow` lists them.
        allowed: &'static str,
    },
    /// No such thing, or another tenant's.
    NotFound(&'static str),
    /// No credential, or a wrong one.
    Unauthorized,
    /// The tenant exists and the credential is not for it.
    TenantForbidden,
    /// Only an operator's key may.
    OperatorOnly,
    /// The key may not be used for this.
    NotPermitted(Permission),
    /// The key may not be used from there.
    AddressForbidden,
    /// The key has made as many requests as it may for now.
    TooFast {
        /// When it may ask again.
        retry_after_secs: u64,
    },
    /// As much has been sent today as may be.
    DailyLimit {
        /// When it will be tomorrow.
        retry_after_secs: u64,
    },
    /// An `Idempotency-Key` stands in the way.
    NoTurn(NoTurn),
    /// The body is larger than may be.
    BodyTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The body came too slowly.
    BodyTooSlow,
    /// The body ended before its end.
    BodyCut,
    /// The body is compressed.
    BodyEncoded,
    /// The request, or one on the same connection, says in two ways where it ends.
    Ambiguous,
    /// The request does not say, or says twice, which host it is for.
    Host,
    /// The request is no HTTP.
    Malformed,
    /// The request's header is larger than may be, or has more fields.
    HeaderTooLarge,
    /// The request's target is longer than may be.
    TargetTooLong,
    /// The body is no JSON that we read; why, for people.
    Json(String),
    /// A field is not as it must be.
    Invalid(Flaw),
    /// A cached file was named that is not there.
    NoSuchFile {
        /// The field that names it.
        field: &'static str,
        /// The key.
        key: String,
    },
    /// A template was named that is not there.
    NoTemplate,
    /// A text with placeholders cannot be filled in.
    Template(Flawed),
    /// A file without a byte in it.
    EmptyFile,
    /// There is no room for one more; of what, for people.
    Full(&'static str),
    /// Another one has this name.
    Taken {
        /// The field with the name.
        field: &'static str,
        /// The name.
        value: String,
        /// What has it, for people.
        what: &'static str,
    },
    /// It contradicts what is there; why, for people.
    Conflict(&'static str),
    /// Nothing to change was named.
    EmptyChange,
    /// Intake refused the mail.
    Rejected(Rejection),
    /// Not now: the store or the memory for bodies is not to be had.
    Unavailable,
    /// A fault of ours.
    Broken,
}

impl From<Flaw> for Problem {
    fn from(flaw: Flaw) -> Self {
        Problem::Invalid(flaw)
    }
}

impl From<AuthFailure> for Problem {
    fn from(failure: AuthFailure) -> Self {
        match failure {
            AuthFailure::Wrong => Problem::Unauthorized,
            AuthFailure::NotFromHere => Problem::AddressForbidden,
            AuthFailure::Unavailable => Problem::Unavailable,
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rejected(rejection) => Problem::Rejected(rejection),
            Refusal::DailyLimit { retry_after_secs } => Problem::DailyLimit { retry_after_secs },
            Refusal::Raced => Problem::NoTurn(NoTurn::Running),
            Refusal::Unavailable => Problem::Unavailable,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(fault: StoreError) -> Self {
        match fault {
            StoreError::Conflict => Problem::Conflict("it exists already"),
            StoreError::Corrupt(_) => {
                tracing::error!(%fault, "a request met data that cannot be read");
                Problem::Broken
            }
            StoreError::OverLimit
            | StoreError::LostLease
            | StoreError::Unavailable(_)
            | StoreError::Unclear(_)
            | StoreError::Closed => {
                tracing::error!(%fault, "a request could not reach the store");
                Problem::Unavailable
            }
        }
    }
}

impl From<Flawed> for Problem {
    fn from(flawed: Flawed) -> Self {
        match flawed {
            Flawed { part: Part::Subject, fault: Fault::OutputTooLarge { bytes_max } } => {
                Problem::Rejected(Unfit::TooLong { field: Field::Subject, bytes_max }.into())
            }
            Flawed { fault: Fault::AllTooLarge, .. } => Problem::batch_too_large(),
            flawed => Problem::Template(flawed),
        }
    }
}

/// What each API calls the parts of a mail.
pub(super) type Words = fn(Field) -> &'static str;

/// A text that cannot be filled in, as a flaw of the field that it came in.
fn flaw_of_text(flawed: &Flawed, words: fn(Part) -> &'static str) -> Flaw {
    Flaw::at(format!("/{}", words(flawed.part)), Wrong::Other(flawed.fault.to_string()))
}

/// A rejection that is about one field of the request, as a flaw of that field. The others have bodies of their own.
fn flaw_of(rejection: &Rejection, words: Words) -> Option<Flaw> {
    let at = |field: Field, wrong| Flaw::at(format!("/{}", words(field)), wrong);
    Some(match rejection {
        Rejection::SenderNotAllowed { .. } | Rejection::AgentShutDown | Rejection::TooLarge { .. } => return None,
        Rejection::BounceNotAllowed { address } => {
            let wrong = Wrong::Other("must be the mail agent's own, or of one of its domains".into());
            Flaw::at("/bounce_address", wrong).showing(address)
        }
        Rejection::NoSender => at(Field::From, Wrong::Missing),
        Rejection::BadSender(value) => at(Field::From, Wrong::Format("email")).showing(value),
        Rejection::NoRecipients => at(Field::To, Wrong::Missing),
        Rejection::TooManyRecipients { max } => at(Field::To, Wrong::TooMany(*max)),
        Rejection::NoSuchFile { key } => Flaw::at("/headers", Wrong::Other(rejection.to_string())).showing(key),
        Rejection::Unfit(unfit) => match unfit {
            Unfit::Address { field, value, .. } => at(*field, Wrong::Format("email")).showing(value),
            Unfit::Control { field } => at(*field, Wrong::Other(unfit.to_string())),
            Unfit::TooLong { field, bytes_max } => at(*field, Wrong::TooLong(*bytes_max)),
            Unfit::HeaderName { name } | Unfit::HeaderReserved { name } => {
                at(Field::Headers, Wrong::Other(unfit.to_string())).showing(name)
            }
            Unfit::ContentType { field, value } => at(*field, Wrong::Format("mime-type")).showing(value),
            Unfit::FileName { field, value } => at(*field, Wrong::Other(unfit.to_string())).showing(value),
            Unfit::ContentId { value } => at(Field::InlineImages, Wrong::Other(unfit.to_string())).showing(value),
        },
        Rejection::Unreadable(why) => Flaw::at("", Wrong::Other(why.to_string())),
    })
}

impl Problem {
    /// All mails of a request come to more than may be.
    pub(super) fn batch_too_large() -> Self {
        Problem::Rejected(Rejection::TooLarge { max_bytes: BATCH_BYTES_MAX })
    }

    /// Its status and body on Mailtura's surface.
    pub fn mailtura(&self) -> (StatusCode, Value) {
        let plain = |status, message: &str| (status, json!({ "message": message }));
        match self {
            Problem::NoRoute => plain(StatusCode::NOT_FOUND, "Not found"),
            Problem::Method { allowed } => {
                plain(StatusCode::METHOD_NOT_ALLOWED, &format!("Method not allowed; use {allowed}"))
            }
            Problem::NotFound(what) => plain(StatusCode::NOT_FOUND, &format!("{what} not found")),
            Problem::Unauthorized => plain(StatusCode::UNAUTHORIZED, "Invalid API key"),
            Problem::TenantForbidden => plain(StatusCode::FORBIDDEN, FORBIDDEN),
            Problem::OperatorOnly => plain(StatusCode::FORBIDDEN, OPERATOR_ONLY),
            Problem::NotPermitted(wanted) => plain(StatusCode::FORBIDDEN, &not_permitted(*wanted)),
            Problem::AddressForbidden => plain(StatusCode::FORBIDDEN, ADDRESS_FORBIDDEN),
            Problem::TooFast { .. } => plain(StatusCode::TOO_MANY_REQUESTS, TOO_FAST),
            Problem::DailyLimit { .. } => plain(StatusCode::TOO_MANY_REQUESTS, DAILY_LIMIT),
            Problem::NoTurn(why) => plain(status_of_turn(*why), turn_words(*why)),
            Problem::BodyTooLarge { bytes_max } => plain(StatusCode::PAYLOAD_TOO_LARGE, &too_large(*bytes_max)),
            Problem::BodyTooSlow => plain(StatusCode::REQUEST_TIMEOUT, TOO_SLOW),
            Problem::BodyCut => plain(StatusCode::BAD_REQUEST, CUT),
            Problem::BodyEncoded => plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, ENCODED),
            Problem::Ambiguous => plain(StatusCode::BAD_REQUEST, AMBIGUOUS),
            Problem::Host => plain(StatusCode::BAD_REQUEST, HOST),
            Problem::Malformed => plain(StatusCode::BAD_REQUEST, MALFORMED),
            Problem::HeaderTooLarge => plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, HEADER_TOO_LARGE),
            Problem::TargetTooLong => plain(StatusCode::URI_TOO_LONG, TARGET_TOO_LONG),
            Problem::Json(why) => plain(StatusCode::BAD_REQUEST, &format!("Invalid JSON: {why}")),
            Problem::Invalid(flaw) => (StatusCode::UNPROCESSABLE_ENTITY, validation(flaw)),
            Problem::NoSuchFile { key, .. } => {
                plain(StatusCode::UNPROCESSABLE_ENTITY, &format!("There is no cached file {key:?}"))
            }
            Problem::NoTemplate => plain(StatusCode::NOT_FOUND, "Template not found"),
            Problem::Template(flawed) => {
                let flaw = flaw_of_text(flawed, super::mailtura::word_of_text);
                (StatusCode::UNPROCESSABLE_ENTITY, validation(&flaw))
            }
            Problem::EmptyFile => plain(StatusCode::UNPROCESSABLE_ENTITY, EMPTY_FILE),
            Problem::Full(what) => plain(StatusCode::UNPROCESSABLE_ENTITY, what),
            Problem::Taken { what, .. } => plain(StatusCode::CONFLICT, &format!("{what} already exists")),
            Problem::Conflict(why) => plain(StatusCode::CONFLICT, why),
            Problem::EmptyChange => plain(StatusCode::BAD_REQUEST, "Nothing to change"),
            Problem::Rejected(rejection) => match (rejection, flaw_of(rejection, super::mailtura::word)) {
                (Rejection::SenderNotAllowed { .. } | Rejection::AgentShutDown, _) => {
                    plain(StatusCode::FORBIDDEN, &format!("Forbidden: {rejection}"))
                }
                (_, Some(flaw)) => (StatusCode::UNPROCESSABLE_ENTITY, validation(&flaw)),
                (_, None) => plain(StatusCode::PAYLOAD_TOO_LARGE, &format!("The mail is {rejection}")),
            },
            Problem::Unavailable => plain(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
            Problem::Broken => plain(StatusCode::INTERNAL_SERVER_ERROR, BROKEN),
        }
    }

    /// Mailtura's body with the members of RFC 9457 before it: what who asks for `application/problem+json` gets.
    pub fn problem_json(&self) -> (StatusCode, Value) {
        let (status, body) = self.mailtura();
        let mut problem = Map::new();
        problem.insert("type".into(), "about:blank".into());
        problem.insert("title".into(), status.canonical_reason().unwrap_or_default().into());
        problem.insert("status".into(), status.as_u16().into());
        if let Value::Object(body) = body {
            problem.insert("detail".into(), body.get("message").cloned().unwrap_or_default());
            problem.extend(body);
        }
        (status, problem.into())
    }
}

fn status_of_turn(why: NoTurn) -> StatusCode {
    match why {
        NoTurn::BadKey => StatusCode::BAD_REQUEST,
        NoTurn::Running => StatusCode::CONFLICT,
        NoTurn::Differs => StatusCode::UNPROCESSABLE_ENTITY,
        NoTurn::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn turn_words(why: NoTurn) -> &'static str {
    match why {
        NoTurn::BadKey => "An Idempotency-Key is 1 to 255 printable ASCII characters",
        NoTurn::Running => "The first request with this Idempotency-Key is still under way",
        NoTurn::Differs => "This Idempotency-Key came with another request before",
        NoTurn::Unavailable => UNAVAILABLE,
    }
}

fn not_permitted(wanted: Permission) -> String {
    format!("The API key lacks the permission {:?}", wanted.as_str())
}

const ADDRESS_FORBIDDEN: &str = "The API key may not be used from this address";
const OPERATOR_ONLY: &str = "Only an operator's key may do this; `postback key add --operator` makes one";
const TOO_FAST: &str = "Too many requests; try again later";
const DAILY_LIMIT: &str = "The daily limit is reached; try again tomorrow";
const EMPTY_FILE: &str = "The file is empty";
const FORBIDDEN: &str = "The API key may not act for this tenant";
const TOO_SLOW: &str = "The request body came too slowly";
const CUT: &str = "The request body ended before its end";
const ENCODED: &str = "Compressed request bodies are not accepted";
const AMBIGUOUS: &str = "Content-Length and Transfer-Encoding cannot stand together";
const HOST: &str = "A request has one Host field";
const MALFORMED: &str = "The request is no HTTP/1.1 that can be read";
const HEADER_TOO_LARGE: &str = "The request's header is too large";
const TARGET_TOO_LONG: &str = "The request's target is too long";
const UNAVAILABLE: &str = "Temporarily unavailable; nothing was accepted, try again";
const BROKEN: &str = "Internal error";

fn too_large(bytes_max: usize) -> String {
    format!("The request body is larger than {bytes_max} bytes")
}

#[cfg(test)]
mod tests;
