//! A webhook tried out with a test event: what is asked of the API, and what came of it.

use hyper::Method;
use serde_json::Value;

use super::Visit;
use super::exchange::{Exchange, text, when};
use super::page::Notice;
use crate::http::problem::Problem;
use crate::model::tenant::MailAgent;

/// What is done with a test event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    /// It is sent.
    Send,
    /// The request is shown as it would be.
    Look,
}

/// What a page shows of a test.
#[derive(Default)]
pub(super) struct Tested {
    /// Nothing was sent, only shown.
    pub(super) is_look: bool,
    pub(super) is_good: bool,
    pub(super) told: String,
    /// Which secret the draft was signed with, when it is the one that we offer.
    pub(super) signed_with: String,
    pub(super) exchange: Exchange,
    /// What has exactly this sent, and until when; of what was only shown.
    pub(super) preview: String,
    pub(super) good_until: String,
}

/// What the API says, and to what. What was shown and is not what would be sent is shown anew, and not sent.
pub(super) async fn tried(
    visit: &Visit<'_>,
    agent: &MailAgent,
    path: &str,
    mut body: Value,
    trial: Trial,
) -> Result<(Trial, Value, Option<Notice>), Problem> {
    let (look, send) = (format!("{path}/preview"), format!("{path}/test"));
    let wanted = if trial == Trial::Look { &look } else { &send };
    match visit.api(agent, Method::POST, wanted, &body).await {
        Ok(told) => Ok((trial, told, None)),
        Err(Problem::Conflict(why)) if body.get("preview").is_some() => {
            body["preview"] = Value::Null;
            let told = visit.api(agent, Method::POST, &look, &body).await?;
            Ok((Trial::Look, told, Notice::bad(format!("{why}. Nothing was sent; this is what would be now."))))
        }
        Err(problem) => Err(problem),
    }
}

/// What came of a test, as the API tells it.
pub(super) fn tested(told: &Value, trial: Trial) -> Tested {
    let nothing = Value::Null;
    if trial == Trial::Look {
        let exchange = Exchange::of(told, &nothing);
        let (preview, good_until) = (text(told, "/preview"), when(told, "/goodUntil"));
        return Tested { is_look: true, is_good: true, exchange, preview, good_until, ..Tested::default() };
    }
    let is_good = told.get("delivered").and_then(Value::as_bool).unwrap_or(false);
    let (status, error) = (text(told, "/statusCode"), text(told, "/error"));
    let words = match (is_good, status.as_str()) {
        (true, "") => "Arrived.".to_owned(),
        (true, status) => format!("Arrived: your receiver answered {status}."),
        (false, "") => format!("It did not arrive: {error}."),
        (false, status) => format!("It did not arrive: your receiver answered {status} ({error})."),
    };
    let part = |name: &str| told.get(name).unwrap_or(&nothing);
    let exchange = Exchange::of(part("request"), part("attempt"));
    Tested { is_good, told: words, exchange, ..Tested::default() }
}
