//! What `/openapi.json` says is true: every answer that a test of this door gets is held against it, and what webhooks
//! are posted too.
//!
//! Only the part of JSON Schema is understood that the document uses, and more strictly than it says: what an object has
//! no property for must not stand in it, unless it describes none at all.

use std::sync::OnceLock;

use postback::model::event::EventKind;
use serde_json::{Value, json};

use super::{House, Reply};

static DOCUMENT: OnceLock<Value> = OnceLock::new();

impl House {
    /// Fails when the answer to a request is none that the document describes.
    pub(super) async fn is_described(&self, method: &str, path: &str, reply: &Reply) {
        if DOCUMENT.get().is_none() {
            let heard = self.raw(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
            let _ = DOCUMENT.set(Reply::read(&heard).json());
        }
        let document = DOCUMENT.get().expect("a document");
        let path = path.split(['?', '#']).next().unwrap();
        let Some(operation) = operation(document, method, path) else { return };
        let responses = &operation["responses"];
        let response = match responses.get(reply.status.to_string()) {
            Some(response) => response,
            // What HTTP itself refuses is the same everywhere.
            None if matches!(reply.status, 400 | 408 | 413 | 414 | 431) => return,
            None => panic!("{method} {path} may not answer {}", reply.status),
        };
        let kind = reply.field("content-type");
        let Some(content) = response.get("content").filter(|_| method != "HEAD") else {
            assert!(reply.body.is_empty(), "{method} {path} answers {} without a body", reply.status);
            return;
        };
        let schema = content.get(kind).unwrap_or_else(|| panic!("{method} {path} may not answer {kind:?}"));
        if kind == "message/rfc822" {
            return;
        }
        let body = serde_json::from_slice(&reply.body).unwrap();
        if let Err(wrong) = fits(document, &schema["schema"], &body, "") {
            panic!("{method} {path} answers {} otherwise than described: {wrong}\n{}", reply.status, reply.text());
        }
    }
}

/// What the document says of a request.
fn operation<'d>(document: &'d Value, method: &str, path: &str) -> Option<&'d Value> {
    let method = if method == "HEAD" { "get" } else { &method.to_ascii_lowercase() };
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_meant = |pattern: &str| {
        let is_same = |(wanted, own): (&str, &str)| (wanted.starts_with('{') && !own.is_empty()) || wanted == own;
        pattern.split('/').count() == path.split('/').count() && pattern.split('/').zip(path.split('/')).all(is_same)
    };
    let paths = document["paths"].as_object().unwrap();
    let exact = paths.get(path).and_then(|methods| methods.get(method));
    exact.or_else(|| paths.iter().filter(|(pattern, _)| is_meant(pattern)).find_map(|(_, methods)| methods.get(method)))
}

/// What is wrong with a value, if anything.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let no = |why: &str| Err(format!("{at}: {why}: {value}"));
    if let Some(name) = schema["$ref"].as_str() {
        return fits(document, document.pointer(&name[1..]).expect("a schema"), value, at);
    }
    if let Some(ways) = schema["anyOf"].as_array() {
        let tried: Vec<_> = ways.iter().map(|way| fits(document, way, value, at)).collect();
        return if tried.iter().any(Result::is_ok) { Ok(()) } else { no(&format!("{tried:?}")) };
    }
    if let Some(words) = schema["enum"].as_array() {
        return if words.contains(value) { Ok(()) } else { no("none of the words") };
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        Value::String(only) => vec![only.as_str()],
        _ => return if schema.as_object().is_some_and(|schema| schema.len() <= 1) { Ok(()) } else { no("no type") },
    };
    match value {
        Value::Null if types.contains(&"null") => Ok(()),
        Value::Bool(_) if types.contains(&"boolean") => Ok(()),
        Value::Number(number) if types.contains(&"number") || (types.contains(&"integer") && !number.is_f64()) => {
            Ok(())
        }
        Value::String(text) if types.contains(&"string") => match schema["format"].as_str() {
            Some("date-time") if text.parse::<jiff::Timestamp>().is_err() => no("no time"),
            _ => Ok(()),
        },
        Value::Array(items) if types.contains(&"array") => {
            let mut each = items.iter().enumerate();
            each.try_for_each(|(place, item)| fits(document, &schema["items"], item, &format!("{at}/{place}")))
        }
        Value::Object(fields) if types.contains(&"object") => {
            let needed = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if let Some(name) = needed.into_iter().find(|name| !fields.contains_key(*name)) {
                return no(&format!("{name} is not there"));
            }
            let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
            fields.iter().try_for_each(|(name, value)| match properties.get(name) {
                Some(schema) => fits(document, schema, value, &format!("{at}/{name}")),
                None => Err(format!("{at}: {name} is not described")),
            })
        }
        _ => no("of another type"),
    }
}

#[test]
fn a_value_that_does_not_fit_is_found() {
    let document = json!({ "components": { "schemas": { "A": {
        "type": "object", "required": ["a"], "properties": {
            "a": { "type": "string", "format": "date-time" },
            "b": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
            "c": { "type": "array", "items": { "enum": ["x", "y"] } },
        },
    } } } });
    let check = |value: Value, expected: &str| {
        let told = fits(&document, &json!({ "$ref": "#/components/schemas/A" }), &value, "");
        assert!(told.as_ref().err().map_or("", String::as_str).contains(expected), "{told:?} for {value}");
        assert_eq!(told.is_ok(), expected.is_empty(), "{value}");
    };
    let time = "2026-03-02T08:15:00.000Z";
    check(json!({ "a": time, "b": null, "c": ["x", "y"] }), "");
    check(json!({ "a": time, "b": 3 }), "");
    check(json!({}), "a is not there");
    check(json!({ "a": "yesterday" }), "/a: no time");
    check(json!({ "a": 3 }), "/a: of another type");
    check(json!({ "a": time, "b": 1.5 }), "/b");
    check(json!({ "a": time, "c": ["x", "z"] }), "/c/1: none of the words");
    check(json!({ "a": time, "d": 1 }), "d is not described");
    check(json!([]), "of another type");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_webhooks_are_posted_is_what_the_document_says() {
    let house = House::new().await;
    let document = house.ask("GET", "/openapi.json", &[], b"").await.json();
    for format in ["mailtura", "transmail", "transmail-json"] {
        let described = &document["webhooks"][format]["post"];
        let kind = if format == "transmail" { "application/x-www-form-urlencoded" } else { "application/json" };
        let schema = &described["requestBody"]["content"][kind]["schema"];
        let schema = if format == "transmail" { &schema["properties"]["event"]["contentSchema"] } else { schema };
        for kind in EventKind::ALL {
            let draft = json!({
                "url": "https://hooks.example.com/", "format": format, "eventType": kind.as_str(),
                "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            });
            let shown = house.mailtura("POST", "/api/v1/webhooks/preview", &draft.to_string()).await;
            assert_eq!(shown.status, 200, "{kind:?}: {}", shown.text());
            let shown = shown.json();
            let body = shown["body"].as_str().unwrap();
            let body = match format {
                "transmail" => form_urlencoded::parse(body.as_bytes()).next().unwrap().1.into_owned(),
                _ => body.to_owned(),
            };
            let body: Value = serde_json::from_str(&body).unwrap();
            fits(&document, schema, &body, "").unwrap_or_else(|wrong| panic!("{format} {kind:?}: {wrong}"));
            let parameters = described["parameters"].as_array().unwrap();
            let names: Vec<&str> = parameters.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
            for (name, _) in shown["headers"].as_object().unwrap() {
                let is_usual = ["user-agent", "content-type"].contains(&name.to_ascii_lowercase().as_str());
                assert!(is_usual || names.contains(&name.as_str()), "{format}: {name}");
            }
        }
    }
    house.shut().await;
}
