//! A flaw as ajv tells it, which Mailtura checks requests with: `{"message", "validation": […]}`.

use serde_json::{Value, json};

use super::super::wire::{Flaw, Wrong};

/// As ajv, which Mailtura uses, reports the first thing that it finds.
pub(super) fn validation(flaw: &Flaw) -> Value {
    let (keyword, message, params) = match &flaw.wrong {
        Wrong::Missing => {
            let (_, property) = flaw.path.rsplit_once('/').unwrap_or(("", &flaw.path));
            ("required", format!("must have required property '{property}'"), json!({ "missingProperty": property }))
        }
        Wrong::Empty => ("minLength", "must NOT have fewer than 1 characters".into(), json!({ "limit": 1 })),
        Wrong::NoItems => ("minItems", "must NOT have fewer than 1 items".into(), json!({ "limit": 1 })),
        Wrong::Type(kind) => ("type", format!("must be {kind}"), json!({ "type": kind })),
        Wrong::Format(format) => ("format", format!("must match format \"{format}\""), json!({ "format": format })),
        Wrong::OneOf(words) => {
            ("enum", "must be equal to one of the allowed values".into(), json!({ "allowedValues": words }))
        }
        Wrong::TooMany(max) => ("maxItems", format!("must NOT have more than {max} items"), json!({ "limit": max })),
        Wrong::TooLong(max) => {
            ("maxLength", format!("must NOT have more than {max} characters"), json!({ "limit": max }))
        }
        Wrong::TooLarge(max) => ("postback", format!("must NOT be larger than {max} bytes"), json!({ "limit": max })),
        Wrong::Other(why) => ("postback", why.clone(), json!({})),
    };
    let (place, path) = match flaw.path.strip_prefix('?') {
        Some(name) => ("querystring", format!("/{name}")),
        None => ("body", flaw.path.clone()),
    };
    let path = match &flaw.wrong {
        Wrong::Missing => path.rsplit_once('/').map_or("", |(parent, _)| parent),
        _ => &path,
    };
    // The choices stand in `params`, where many people do not look.
    let choices = match &flaw.wrong {
        Wrong::OneOf(words) => format!(": {}", words.join(", ")),
        _ => String::new(),
    };
    let separator = if matches!(flaw.wrong, Wrong::Other(_) | Wrong::TooLarge(_)) { ":" } else { "" };
    json!({
        "message": format!("{place}{path}{separator} {message}{choices}"),
        "validation": [{ "instancePath": path, "keyword": keyword, "message": message, "params": params }],
    })
}
