//! A request to a webhook, and what it answered, as text that people read.

use serde_json::Value;

use super::page;

/// Bytes of a body that are shown, of what stands before it, and of an explanation.
const BODY_BYTES_MAX: usize = 6_000;
const HEAD_BYTES_MAX: usize = 6_000;
const EXPLANATION_BYTES_MAX: usize = 1_000;

/// What went out, and what came back.
#[derive(Default)]
pub(super) struct Exchange {
    /// Request line, header fields and body.
    pub(super) request: String,
    /// It is known to be what was posted, byte for byte.
    pub(super) is_exact: bool,
    /// Header fields and body; empty when there was no answer.
    pub(super) answer: String,
    /// What went wrong, in plain words.
    pub(super) explanation: String,
    /// The address that was connected to, and how.
    pub(super) connection: String,
    /// How long each part took.
    pub(super) phases: String,
}

/// Text at a place of one of the API's answers; empty when there is none.
pub(super) fn text(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A time of the API for people.
pub(super) fn when(value: &Value, path: &str) -> String {
    text(value, path).replacen('T', " ", 1).chars().take(19).collect()
}

impl Exchange {
    /// Of a request as the API shows it, and an attempt if there was one.
    pub(super) fn of(request: &Value, attempt: &Value) -> Self {
        let line = format!("{} {}", text(request, "/method"), text(request, "/url"));
        let is_exception = attempt.get("operatorException").is_some_and(|is| is.as_bool() == Some(true));
        let exception = if is_exception { "(by the operator's exception: its answer is not kept)" } else { "" };
        let connection = [text(attempt, "/address"), text(attempt, "/tls"), exception.to_owned()];
        Self {
            request: message(line, request),
            is_exact: request.get("exact").is_none_or(|exact| exact.as_bool() == Some(true)),
            answer: match text(attempt, "/statusCode") {
                status if status.is_empty() => String::new(),
                status => message(status, attempt.get("response").unwrap_or(&Value::Null)),
            },
            explanation: page::cut(&text(attempt, "/explanation"), EXPLANATION_BYTES_MAX),
            connection: page::cut(connection.join(" ").trim(), EXPLANATION_BYTES_MAX),
            phases: phases(attempt),
        }
    }
}

/// `DNS 0.1 ms, connect 12.0 ms`, as far as an attempt came.
fn phases(attempt: &Value) -> String {
    let parts =
        [("DNS", "dns"), ("connect", "connect"), ("TLS", "tls"), ("first byte", "firstByte"), ("in all", "total")];
    let took = |(name, part): (&str, &str)| {
        let micros = attempt.pointer(&format!("/timings/{part}Micros"))?.as_u64()?;
        Some(format!("{name} {}.{} ms", micros / 1000, micros % 1000 / 100))
    };
    parts.into_iter().filter_map(took).collect::<Vec<_>>().join(", ")
}

/// A first line, header fields, and a body up to its limit.
fn message(first: String, value: &Value) -> String {
    let fields = value.get("headers").and_then(Value::as_object).into_iter().flatten();
    let fields = fields.map(|(name, value)| format!("{name}: {}", value.as_str().unwrap_or_default()));
    let head = std::iter::once(first).chain(fields).collect::<Vec<_>>().join("\n");
    let head = page::cut(&head, HEAD_BYTES_MAX);
    let body = text(value, "/body");
    let (start, is_cut) = page::beginning(&body, BODY_BYTES_MAX);
    format!("{head}\n\n{start}{}", if is_cut { "\n…" } else { "" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_went_out_and_came_back() {
        let request = json!({ "method": "POST", "url": "https://a.example/", "headers": { "A": "b" }, "body": "{}" });
        let answer = json!({ "headers": { "Server": "x" }, "body": "ok" });
        let attempt = json!({ "statusCode": 200, "response": answer, "address": "192.0.2.1:443", "tls": "TLSv1.3",
            "timings": { "connectMicros": 1_234, "totalMicros": 30_000 } });
        let shown = Exchange::of(&request, &attempt);
        assert_eq!(shown.request, "POST https://a.example/\nA: b\n\n{}");
        assert_eq!(shown.answer, "200\nServer: x\n\nok");
        assert_eq!((shown.connection.as_str(), shown.is_exact), ("192.0.2.1:443 TLSv1.3", true));
        assert_eq!(shown.phases, "connect 1.2 ms, in all 30.0 ms");
        let refused =
            Exchange::of(&json!({ "exact": false }), &json!({ "statusCode": null, "explanation": "refused" }));
        assert_eq!((refused.answer.as_str(), refused.explanation.as_str(), refused.is_exact), ("", "refused", false));
        // As large as an answer is kept, and all of it written as entities.
        let large = json!({ "headers": { "A": "<".repeat(16 << 10) }, "body": "<".repeat(16 << 10) });
        let attempt = json!({ "statusCode": 500, "response": large, "explanation": "<".repeat(16 << 10) });
        let shown = Exchange::of(&large, &attempt);
        let bytes = [shown.request, shown.answer, shown.explanation].map(|text| page::written(&text));
        assert!(bytes.iter().sum::<usize>() < 26_000, "{bytes:?}");
    }
}
