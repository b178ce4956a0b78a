//! Problems in ZeptoMail's words.
//!
//! `error.details` is never empty and its first `message` always text, since clients read it blindly; `request_id` stands
//! in both places.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::*;

impl Problem {
    /// Its status and body on ZeptoMail's surface.
    pub fn zeptomail(&self, request_id: &str) -> (StatusCode, Value) {
        let zepto = self.in_zeptomails_words();
        let mut detail =
            Map::from_iter([("code".to_owned(), zepto.sub_code.into()), ("message".to_owned(), zepto.detail.into())]);
        let target = [("target", zepto.target), ("target_value", zepto.target_value)];
        detail.extend(zepto.why.map(|why| ("description".to_owned(), why.into())));
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
            Problem::NotPermitted(wanted) => {
                of(S::FORBIDDEN, "TM_4001", "Access Denied", "PB_403", &not_permitted(*wanted))
            }
            Problem::AddressForbidden => of(S::FORBIDDEN, "TM_3601", "Access Denied", "SERR_156", ADDRESS_FORBIDDEN),
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
            Problem::Malformed => of(S::BAD_REQUEST, "TM_3301", "Bad Request", "PB_400", MALFORMED),
            Problem::HeaderTooLarge => {
                of(S::REQUEST_HEADER_FIELDS_TOO_LARGE, "TM_8001", "Limit Exceeded", "PB_431", HEADER_TOO_LARGE)
            }
            Problem::TargetTooLong => of(S::URI_TOO_LONG, "TM_8001", "Limit Exceeded", "PB_414", TARGET_TOO_LONG),
            Problem::Json(why) => of(S::BAD_REQUEST, "TM_3301", "Invalid JSON", "SM_101", "Invalid JSON").because(why),
            Problem::Invalid(flaw) => Zepto::of_flaw(flaw),
            Problem::NoSuchFile { field, key } => {
                let what = "Invalid file cache key";
                of(S::UNPROCESSABLE_ENTITY, "TM_3501", "Unprocessable Entity", "UE_106", what).about(field, key)
            }
            Problem::NoTemplate => {
                of(S::UNPROCESSABLE_ENTITY, "TM_3501", "Unprocessable Entity", "MTR_107", "Template not found")
            }
            Problem::Template(flawed) => {
                let field = super::super::zeptomail::word_of_text(flawed.part);
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

/// An error as ZeptoMail tells it.
struct Zepto {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    sub_code: &'static str,
    detail: String,
    target: String,
    target_value: String,
    /// More closely, where the original's message says no more than the code.
    why: Option<String>,
}

impl Zepto {
    fn new((status, code, message, sub_code, detail): Told) -> Self {
        Self { status, code, message, sub_code, detail, target: String::new(), target_value: String::new(), why: None }
    }

    fn because(self, why: &str) -> Self {
        Self { why: Some(why.to_owned()), ..self }
    }

    fn about(self, target: &str, target_value: &str) -> Self {
        Self { target: target.to_owned(), target_value: target_value.to_owned(), ..self }
    }

    fn of_rejection(rejection: &Rejection) -> Self {
        match (rejection, flaw_of(rejection, super::super::zeptomail::word)) {
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
            Wrong::Missing => missing(format!("Mandatory Field '{}' was not found", name_of(flaw))),
            Wrong::Empty | Wrong::NoItems => {
                missing(format!("Mandatory Field '{}' was set as Empty Value", name_of(flaw)))
            }
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

/// What is missing, by its own name: `target` tells in which field of the request.
fn name_of(flaw: &Flaw) -> &str {
    flaw.path.rsplit('/').next().unwrap_or_default()
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
