//! Every rejection and fault as each API's error body.
//!
//! A [`Problem`] is what went wrong, in our words; [`Problem::mailtura`] and [`Problem::zeptomail`] are the two tables
//! that turn it into a status and a body of the surface it happened on. Both are exhaustive matches under snapshot
//! test. Mailtura: `{"message", "validation"?}`, with `validation` as ajv writes it. ZeptoMail: `error.details` is never
//! empty and its first `message` always text, since clients read it blindly; `request_id` stands in both places.

mod ajv;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::wire::{Flaw, Wrong};
use crate::intake::caller::AuthFailure;
use crate::intake::once::NoTurn;
use crate::intake::submission::{Refusal, Rejection};
use crate::mail::compose::{Field, Unfit};
use crate::mail::template::Flawed;
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
    /// The request says in two ways where it ends.
    Ambiguous,
    /// The request does not say, or says twice, which host it is for.
    Host,
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
            AuthFailure::Unavailable => Problem::Unavailable,
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rejected(rejection) => Problem::Rejected(rejection),
            Refusal::DailyLimit { retry_after_secs } => Problem::DailyLimit { retry_after_secs },
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
            StoreError::OverLimit | StoreError::LostLease | StoreError::Unavailable(_) | StoreError::Closed => {
                tracing::error!(%fault, "a request could not reach the store");
                Problem::Unavailable
            }
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
            Problem::TooFast { .. } => plain(StatusCode::TOO_MANY_REQUESTS, TOO_FAST),
            Problem::DailyLimit { .. } => plain(StatusCode::TOO_MANY_REQUESTS, DAILY_LIMIT),
            Problem::NoTurn(why) => plain(status_of_turn(*why), turn_words(*why)),
            Problem::BodyTooLarge { bytes_max } => plain(StatusCode::PAYLOAD_TOO_LARGE, &too_large(*bytes_max)),
            Problem::BodyTooSlow => plain(StatusCode::REQUEST_TIMEOUT, TOO_SLOW),
            Problem::BodyCut => plain(StatusCode::BAD_REQUEST, CUT),
            Problem::BodyEncoded => plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, ENCODED),
            Problem::Ambiguous => plain(StatusCode::BAD_REQUEST, AMBIGUOUS),
            Problem::Host => plain(StatusCode::BAD_REQUEST, HOST),
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

    /// Its status and body on ZeptoMail's surface.
    pub fn zeptomail(&self, request_id: &str) -> (StatusCode, Value) {
        let zepto = self.in_zeptomails_words();
        let mut detail =
            Map::from_iter([("code".to_owned(), zepto.sub_code.into()), ("message".to_owned(), zepto.detail.into())]);
        let target = [("target", zepto.target), ("target_value", zepto.target_value)];
        detail.extend(
            target.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name.into(), text.into())),
        );
        let error = json!({
            "code": zepto.code,
            "details": [detail],
            "message": zepto.message,
            "request_id": request_id,
        });
        (zepto.status, json!({ "error": error, "request_id": request_id }))
    }

    /// Its status and body where ZeptoMail's API manages things: what those clients read, and what all others do.
    pub fn zeptomail_management(&self, request_id: &str) -> (StatusCode, Value) {
        let code = match self {
            Problem::Invalid(_) | Problem::EmptyChange | Problem::Json(_) | Problem::Template(_) => Some("MA_101"),
            Problem::Full(_) => Some("MA_105"),
            Problem::Taken { .. } | Problem::Conflict(_) => Some("MA_107"),
            _ => None,
        };
        let (status, mut body) = self.zeptomail(request_id);
        let zepto = self.in_zeptomails_words();
        let error = &mut body["error"];
        error["code"] = code.unwrap_or(zepto.sub_code).into();
        error["message"] = zepto.detail.into();
        for (name, text) in [("field", zepto.target), ("value", zepto.target_value)] {
            if !text.is_empty() {
                error[name] = text.into();
            }
        }
        body["status"] = "failure".into();
        (status, body)
    }

    fn in_zeptomails_words(&self) -> Zepto {
        use StatusCode as S;
        let of = |status, code, message, sub_code, detail: &str| {
            Zepto::new((status, code, message, sub_code, detail.into()))
        };
        match self {
            Problem::NoRoute => of(S::NOT_FOUND, "TM_4040", "Not Found", "PB_404", "No such path"),
            Problem::Method { allowed } => {
                let detail = format!("Method not allowed; use {allowed}");
                of(S::METHOD_NOT_ALLOWED, "TM_4050", "Method Not Allowed", "PB_405", &detail)
            }
            Problem::NotFound(what) => of(S::NOT_FOUND, "TM_4040", "Not Found", "PB_404", &format!("{what} not found")),
            Problem::Unauthorized => {
                of(S::UNAUTHORIZED, "TM_4001", "Access Denied", "SERR_157", "Invalid API Token found")
            }
            Problem::TenantForbidden => of(S::FORBIDDEN, "TM_4001", "Access Denied", "PB_403", FORBIDDEN),
            Problem::OperatorOnly => of(S::FORBIDDEN, "TM_4001", "Access Denied", "PB_403", OPERATOR_ONLY),
            Problem::TooFast { .. } => of(S::TOO_MANY_REQUESTS, "TM_4290", "Too Many Requests", "PB_429", TOO_FAST),
            Problem::DailyLimit { .. } => of(S::TOO_MANY_REQUESTS, "TM_3601", "Limit Exceeded", "SMI_115", DAILY_LIMIT),
            Problem::NoTurn(why) => {
                let (outer, sub_code) = match why {
                    NoTurn::BadKey => ("Bad Request", "PB_400"),
                    NoTurn::Running => ("Conflict", "PB_409"),
                    NoTurn::Differs => ("Unprocessable Entity", "PB_422"),
                    NoTurn::Unavailable => ("Service Unavailable", "PB_503"),
                };
                of(status_of_turn(*why), "TM_3301", outer, sub_code, turn_words(*why))
            }
            Problem::BodyTooLarge { bytes_max } => {
                of(S::PAYLOAD_TOO_LARGE, "TM_8001", "Limit Exceeded", "SM_129", &too_large(*bytes_max))
            }
            Problem::BodyTooSlow => of(S::REQUEST_TIMEOUT, "TM_3301", "Request Timeout", "PB_408", TOO_SLOW),
            Problem::BodyCut => of(S::BAD_REQUEST, "TM_3301", "Invalid JSON", "SM_101", CUT),
            Problem::BodyEncoded => {
                of(S::UNSUPPORTED_MEDIA_TYPE, "TM_3301", "Unsupported Media Type", "PB_415", ENCODED)
            }
            Problem::Ambiguous => of(S::BAD_REQUEST, "TM_3301", "Bad Request", "PB_400", AMBIGUOUS),
            Problem::Host => of(S::BAD_REQUEST, "TM_3301", "Bad Request", "PB_400", HOST),
            Problem::Json(why) => {
                of(S::BAD_REQUEST, "TM_3301", "Invalid JSON", "SM_101", &format!("Invalid JSON: {why}"))
            }
            Problem::Invalid(flaw) => Zepto::of_flaw(flaw),
            Problem::NoSuchFile { field, key } => {
                let what = "Invalid file cache key";
                of(S::UNPROCESSABLE_ENTITY, "TM_3501", "Unprocessable Entity", "UE_106", what).about(field, key)
            }
            Problem::NoTemplate => {
                of(S::UNPROCESSABLE_ENTITY, "TM_3501", "Unprocessable Entity", "MTR_107", "Template not found")
            }
            Problem::Template(flawed) => {
                let field = super::zeptomail::word_of_text(flawed.part);
                let detail = format!("Invalid template: {}", flawed.fault);
                of(S::UNPROCESSABLE_ENTITY, "TM_3501", "Unprocessable Entity", "MTR_101", &detail).about(field, "")
            }
            Problem::EmptyFile => of(S::BAD_REQUEST, "TM_3301", "Invalid value", "SM_120", EMPTY_FILE),
            Problem::Full(what) => of(S::UNPROCESSABLE_ENTITY, "TM_8001", "Limit Exceeded", "SM_127", what),
            Problem::Taken { field, value, what } => {
                of(S::CONFLICT, "TM_4090", "Conflict", "PB_409", &format!("{what} already exists")).about(field, value)
            }
            Problem::Conflict(why) => of(S::CONFLICT, "TM_4090", "Conflict", "PB_409", why),
            Problem::EmptyChange => {
                of(S::BAD_REQUEST, "TM_3201", "Mandatory Field Missing", "GE_102", "Nothing to change")
            }
            Problem::Rejected(rejection) => Zepto::of_rejection(rejection),
            Problem::Unavailable => of(S::SERVICE_UNAVAILABLE, "TM_5000", "Service Unavailable", "PB_503", UNAVAILABLE),
            Problem::Broken => of(S::INTERNAL_SERVER_ERROR, "TM_5000", "Internal Error", "PB_500", BROKEN),
        }
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
const UNAVAILABLE: &str = "Temporarily unavailable; nothing was accepted, try again";
const BROKEN: &str = "Internal error";

fn too_large(bytes_max: usize) -> String {
    format!("The request body is larger than {bytes_max} bytes")
}

/// An error as ZeptoMail tells it.
struct Zepto {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    sub_code: &'static str,
    detail: String,
    target: String,
    target_value: String,
}

impl Zepto {
    fn new((status, code, message, sub_code, detail): Told) -> Self {
        Self { status, code, message, sub_code, detail, target: String::new(), target_value: String::new() }
    }

    fn about(self, target: &str, target_value: &str) -> Self {
        Self { target: target.to_owned(), target_value: target_value.to_owned(), ..self }
    }

    fn of_rejection(rejection: &Rejection) -> Self {
        match (rejection, flaw_of(rejection, super::zeptomail::word)) {
            (Rejection::SenderNotAllowed { domain }, _) => {
                let detail = "Sender address domain is not verified".into();
                Self::new((StatusCode::BAD_REQUEST, "TM_4001", "Access Denied", "SM_111", detail)).about("from", domain)
            }
            (Rejection::AgentShutDown, _) => {
                let detail = "The mail agent is shut down".into();
                Self::new((StatusCode::FORBIDDEN, "TM_3601", "Access Denied", "AE_101", detail))
            }
            (_, Some(flaw)) => Self::of_flaw(&flaw),
            (_, None) => {
                let detail = format!("The mail is {rejection}");
                Self::new((StatusCode::PAYLOAD_TOO_LARGE, "TM_8001", "Limit Exceeded", "SM_129", detail))
            }
        }
    }

    fn of_flaw(flaw: &Flaw) -> Self {
        let field = flaw.field();
        let told = match &flaw.wrong {
            Wrong::Missing if field == "to" && flaw.path == "/to" => missing("No recipient field found".into()),
            Wrong::Missing => missing(format!("Mandatory Field '{field}' was not found")),
            Wrong::Empty | Wrong::NoItems => missing(format!("Mandatory Field '{field}' was set as Empty Value")),
            Wrong::Format("email") => bad("Invalid Email Address".into()),
            Wrong::Format("mime-type") => {
                (StatusCode::BAD_REQUEST, "TM_3301", "Invalid value", "SM_120", "Invalid MIME type".into())
            }
            Wrong::Type(kind) => bad(format!("Invalid value: must be {kind}")),
            Wrong::Format(format) => bad(format!("Invalid value: must be {format}")),
            Wrong::OneOf(words) => bad(format!("Invalid value: must be one of {}", words.join(", "))),
            Wrong::Other(why) => bad(format!("Invalid value: {why}")),
            Wrong::TooMany(max) => limit("SM_127", format!("More than {max} entries")),
            Wrong::TooLong(max) => limit("SM_129", format!("Longer than {max} characters")),
            Wrong::TooLarge(max) => limit("SM_129", format!("Larger than {max} bytes")),
        };
        Self::new(told).about(field, &flaw.value)
    }
}

type Told = (StatusCode, &'static str, &'static str, &'static str, String);

fn missing(detail: String) -> Told {
    (StatusCode::BAD_REQUEST, "TM_3201", "Mandatory Field Missing", "GE_102", detail)
}

fn bad(detail: String) -> Told {
    (StatusCode::BAD_REQUEST, "TM_4001", "Invalid value", "SM_113", detail)
}

fn limit(sub_code: &'static str, detail: String) -> Told {
    (StatusCode::UNPROCESSABLE_ENTITY, "TM_8001", "Limit Exceeded", sub_code, detail)
}

#[cfg(test)]
mod tests;
