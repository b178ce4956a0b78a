//! `/openapi.json`: both APIs described as OpenAPI 3.1, and `/docs`: the same to read.
//!
//! Made of the tables that the router works with and of the shapes that bodies are read and written by, once, when it is
//! first asked for. Nothing in it depends on who asks: it may be kept, and needs no key.

mod page;
mod webhooks;

use std::sync::LazyLock;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY};
use hyper::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::mailtura;
use super::operation::{Credential, Operation, Parameter};
use super::server::Answer;
use super::shape::{Schemas, described};
use super::zeptomail::{self, ZeptoError};

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
static JSON: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(DOCUMENT.to_string()));
static PAGE: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(page::html(&DOCUMENT)));

/// The answer when the path is one of ours.
pub(super) fn answer(method: &Method, path: &str) -> Option<Answer> {
    let (body, kind) = match path.strip_suffix('/').unwrap_or(path) {
        "/openapi.json" => (&*JSON, "application/json"),
        "/docs" => (&*PAGE, "text/html; charset=utf-8"),
        _ => return None,
    };
    let mut answer = Response::new(Full::new(body.clone()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = super::json_answer(StatusCode::METHOD_NOT_ALLOWED, &json!({ "message": "only GET here" }));
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return Some(refused);
    }
    Some(answer)
}

described! {
    /// What was wrong with a request.
    struct Problem {
        /// In a sentence.
        "message": String,
        /// Which field, and what is wrong with it, as ajv tells it.
        "validation": Option<Vec<Flaw>>,
    }

    /// The same for who asks for `application/problem+json` (RFC 9457).
    struct ProblemDetails {
        /// `about:blank`.
        "type": String,
        /// What the status says.
        "title": String,
        /// The status.
        "status": u16,
        /// In a sentence.
        "detail": String,
        ..Problem,
    }

    /// What is wrong with a field.
    struct Flaw {
        /// Where it is (JSON pointer).
        "instancePath": String,
        /// Which rule it breaks.
        "keyword": String,
        /// What is wrong with it.
        "message": String,
        /// What the rule wants.
        "params": Map<String, Value>,
    }
}

/// Everything that both APIs can do.
fn operations() -> impl Iterator<Item = &'static Operation> {
    mailtura::TABLES.iter().copied().flatten().chain(zeptomail::OPERATIONS)
}

fn document() -> Value {
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = described_operation(operation, &mut schemas);
    }
    paths.insert(zeptomail::oauth::PATH.to_owned(), json!({ "post": access_token() }));
    let webhooks = webhooks::described(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Postback",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Send mail, and learn what became of it.",
            "description": "Mailtura's API is under `/api/v1`, ZeptoMail's under `/v1.1`. A POST with an `Idempotency-Key` is carried out once in 24 hours: the same again gets the first answer, marked `Idempotent-Replayed: true`. Lists page by key: follow `Link` with `rel=\"next\"`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "mailtura": [] }],
        "paths": paths,
        "webhooks": webhooks,
        "components": {
            "securitySchemes": {
                "mailtura": { "type": "http", "scheme": "bearer", "description": "`Bearer` and an API key." },
                "zeptomailSend": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "`Zoho-enczapikey` and an API key, or the key alone.",
                },
                "zeptomailManage": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "`Zoho-oauthtoken` and an access token of `/oauth/v2/token`.",
                },
            },
            "schemas": schemas.into_value(),
        },
    })
}

fn described_operation(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> = operation
        .places_named()
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
        })
        .collect();
    parameters.extend(operation.query.iter().map(|parameter| query_parameter(parameter, schemas)));
    let (security, tag) = match operation.credential {
        Credential::Key => ("mailtura", "Mailtura"),
        Credential::SendToken => ("zeptomailSend", "ZeptoMail: sending"),
        Credential::AccessToken => ("zeptomailManage", "ZeptoMail: managing"),
    };
    let of_tenant = (operation.credential == Credential::Key).then(|| {
        json!({
            "name": "X-Tenant-ID", "in": "header", "description": "For which tenant; the key's own unless given.",
            "schema": { "type": "string", "maxLength": 63 },
        })
    });
    parameters.extend(of_tenant);
    if operation.method == Method::POST {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "description": "Carry this out once only.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        }));
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.about,
        "tags": [tag],
        "security": [{ security: [] }],
        "parameters": parameters,
        "responses": responses(operation, schemas),
    });
    let mut content = Map::new();
    if let Some(schema) = operation.takes {
        content.insert("application/json".to_owned(), json!({ "schema": schema(schemas) }));
    }
    if !operation.also_takes.is_empty() {
        content.insert(operation.also_takes.to_owned(), json!({ "schema": { "type": "string" } }));
    }
    if !content.is_empty() {
        described["requestBody"] = json!({ "required": !operation.body_is_optional, "content": content });
    }
    described
}

/// Where access tokens come from.
fn access_token() -> Value {
    let text = || json!({ "type": "string" });
    let form = json!({
        "type": "object",
        "required": ["grant_type", "client_id", "client_secret", "refresh_token"],
        "properties": {
            "grant_type": { "type": "string", "enum": ["refresh_token"] },
            "client_id": { "type": "string", "description": "An API key's id." },
            "client_secret": { "type": "string", "description": "The key." },
            "refresh_token": { "type": "string", "description": "The key." },
        },
    });
    let answer = json!({
        "type": "object",
        "properties": {
            "access_token": text(), "api_domain": text(), "token_type": text(), "expires_in": { "type": "integer" },
            "error": { "type": "string", "description": "What is wrong; there is no token then." },
        },
    });
    json!({
        "operationId": "zeptoAccessToken",
        "summary": "Get an access token for what manages",
        "security": [],
        "requestBody": { "required": true, "content": { "application/x-www-form-urlencoded": { "schema": form } } },
        "responses": {
            "200": { "description": "A token, or `error`", "content": { "application/json": { "schema": answer } } },
            "default": { "description": "No answer of this API" },
        },
    })
}

fn query_parameter(parameter: &Parameter, schemas: &mut Schemas) -> Value {
    json!({
        "name": parameter.name, "in": "query", "description": parameter.about, "schema": (parameter.schema)(schemas),
    })
}

/// What an operation may answer: what it gives, and what can go wrong.
fn responses(operation: &Operation, schemas: &mut Schemas) -> Value {
    use super::shape::Shape;
    let mut good = json!({ "description": "Done" });
    if let Some(schema) = operation.gives {
        good["content"] = json!({ operation.media: { "schema": schema(schemas) } });
    }
    let mut responses = Map::from_iter([(operation.status.to_string(), good)]);
    let is_zeptomail = operation.credential != Credential::Key;
    let problem = if is_zeptomail { ZeptoError::schema(schemas) } else { Problem::schema(schemas) };
    let takes_body = operation.takes.is_some() || !operation.also_takes.is_empty();
    let is_change = operation.method != Method::GET;
    let faults = [
        ("400", "The body is no JSON, or there is nothing to do", true),
        ("401", "No API key, or a wrong one", true),
        ("403", "Not with this key", true),
        ("404", "No such thing, or another tenant's", true),
        ("408", "The body came too slowly", takes_body),
        ("409", "It contradicts what is there, or is still under way", is_change),
        ("413", "Too large", takes_body),
        ("415", "The body is compressed", takes_body),
        ("422", "A field or parameter is not as it must be", true),
        ("429", "Too many requests, or too many mails today: see `Retry-After`", true),
        ("503", "Not now: see `Retry-After`; nothing was done", true),
    ];
    for (status, about, _) in faults.into_iter().filter(|(_, _, is_possible)| *is_possible) {
        let mut content = json!({ "application/json": { "schema": problem } });
        if !is_zeptomail {
            content["application/problem+json"] = json!({ "schema": ProblemDetails::schema(schemas) });
        }
        responses.insert(status.to_owned(), json!({ "description": about, "content": content }));
    }
    responses.into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_every_name_is_one() {
        let text = DOCUMENT.to_string();
        for (at, found) in text.match_indices("\"#/components/schemas/") {
            let name = text[at + found.len()..].split('"').next().unwrap();
            assert!(DOCUMENT["components"]["schemas"][name].is_object(), "{name}");
        }
        let ids: Vec<&str> = operations().map(|operation| operation.id).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn places_are_parameters() {
        let email = &DOCUMENT["paths"]["/api/v1/emails/{id}"]["get"];
        assert_eq!((&email["parameters"][0]["name"], &email["parameters"][0]["in"]), (&json!("id"), &json!("path")));
        assert_eq!(
            email["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
            "#/components/schemas/Email"
        );
    }

    #[test]
    fn the_page_names_every_operation_and_loads_nothing() {
        let page = std::str::from_utf8(&PAGE).unwrap();
        for operation in operations() {
            assert!(page.contains(&format!("id=\"{}\"", operation.id)), "{}", operation.id);
        }
        for outside in ["<script", "<link", "<img", "@import", "url(", "http://", "https://"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
