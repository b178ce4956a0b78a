//! The description of the APIs as a page to read: one file, no script, nothing loaded.

use std::fmt::Write;

use serde_json::{Map, Value};

/// What the page may do: show itself.
pub(super) const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
h3 { margin: 2rem 0 .25rem; font-size: 1.05rem; }
code { font: .92em/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
h3 b { display: inline-block; min-width: 4.2rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
nav { columns: 2; background: var(--soft); padding: 1rem; }
nav a { display: block; break-inside: avoid; }
a { color: inherit; }
.must::after { content: ' *'; color: #c33; }
@media (max-width: 40rem) { nav { columns: 1; } }
";

/// The page that tells what `document`, an OpenAPI document of ours, tells.
pub(super) fn html(document: &Value) -> String {
    let mut page = String::with_capacity(128 * 1024);
    let info = &document["info"];
    page += "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">";
    page += "<meta name=\"viewport\" content=\"width=device-width\">";
    tell(&mut page, format_args!("<title>{} API</title><style>{STYLE}</style></head><body>", text(&info["title"])));
    tell(&mut page, format_args!("<h1>{} API</h1><p>{}</p>", text(&info["title"]), prose(&info["description"])));
    page += "<p>The same for programs: <a href=\"/openapi.json\">openapi.json</a> (OpenAPI 3.1). <span class=\"must\">Must be given</span></p>\n<nav>";
    for (path, method, operation) in operations(document) {
        let (id, about) = (text(&operation["operationId"]), text(&operation["summary"]));
        tell(&mut page, format_args!("<a href=\"#{id}\"><code>{} {}</code> {about}</a>\n", method, escaped(path)));
    }
    page += "</nav>\n<h2>Authorization</h2>\n<table>";
    for (name, scheme) in fields(&document["components"]["securitySchemes"]) {
        tell(&mut page, format_args!("<tr id=\"by-{0}\"><td><code>{0}</code></td>", escaped(name)));
        tell(&mut page, format_args!("<td>{}</td></tr>\n", prose(&scheme["description"])));
    }
    page += "</table>\n<h2>Operations</h2>\n";
    for (path, method, operation) in operations(document) {
        tell_operation(&mut page, path, &method, operation);
    }
    page += "<h2>Objects</h2>\n";
    for (name, schema) in fields(&document["components"]["schemas"]) {
        tell_object(&mut page, name, schema);
    }
    page + "</body></html>\n"
}

fn tell(page: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = page.write_fmt(what);
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, String, &Value)> {
    let methods = |(path, methods)| fields(methods).map(move |(method, operation)| (path, method, operation));
    fields(&document["paths"])
        .flat_map(methods)
        .map(|(path, method, operation): (&String, &String, _)| (path.as_str(), method.to_uppercase(), operation))
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn tell_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    let (id, about) = (text(&operation["operationId"]), text(&operation["summary"]));
    tell(page, format_args!("<h3 id=\"{id}\"><code><b>{method}</b>{}</code></h3><p>{about}.</p>\n", escaped(path)));
    let body = &operation["requestBody"];
    page.push_str("<table>");
    for (scheme, _) in operation["security"].as_array().into_iter().flatten().flat_map(fields) {
        let scheme = escaped(scheme);
        row(page, "Authorization", true, "header", &format!("<a href=\"#by-{scheme}\">{scheme}</a>"));
    }
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (place, is_must) = (text(&parameter["in"]), parameter["required"] == true);
        let (name, about) = (text(&parameter["name"]), prose(&parameter["description"]));
        row(page, &name, is_must, &format!("{place}, {}", kind(&parameter["schema"])), &about);
    }
    for (media, content) in fields(&body["content"]) {
        row(page, "body", body["required"] == true, &kind(&content["schema"]), &escaped(media));
    }
    for (status, answer) in fields(&operation["responses"]) {
        let schema = fields(&answer["content"]).next().map(|(_, content)| kind(&content["schema"]));
        row(page, status, false, &schema.unwrap_or_default(), &prose(&answer["description"]));
    }
    page.push_str("</table>\n");
}

fn row(page: &mut String, name: &str, is_must: bool, kind: &str, about: &str) {
    let class = if is_must { " class=\"must\"" } else { "" };
    tell(page, format_args!("<tr><td><code{class}>{name}</code></td><td>{kind}</td><td>{about}</td></tr>\n"));
}

fn tell_object(page: &mut String, name: &str, schema: &Value) {
    let about = prose(&schema["description"]);
    tell(page, format_args!("<h3 id=\"{0}\"><code>{0}</code></h3><p>{about}</p>\n<table>", escaped(name)));
    let required = schema["required"].as_array();
    for (name, field) in fields(&schema["properties"]) {
        let is_must = required.is_some_and(|required| required.iter().any(|must| must == name));
        row(page, &escaped(name), is_must, &kind(field), &prose(&field["description"]));
    }
    page.push_str("</table>\n");
}

/// What a value is, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|place| place.rsplit('/').next()) {
        return format!("<a href=\"#{0}\">{0}</a>", escaped(name));
    }
    if let Some(kinds) = schema["anyOf"].as_array() {
        return kinds.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| format!("<code>{}</code>", text(word))).collect();
        return words.join(", ");
    }
    let kind = match schema["type"].as_str() {
        Some("array") => return format!("list of {}", self::kind(&schema["items"])),
        Some(kind) => escaped(kind),
        None => "anything".to_owned(),
    };
    match schema["format"].as_str() {
        Some(format) => format!("{kind}, {}", escaped(format)),
        None => kind,
    }
}

fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

/// Text with `code` in it.
fn prose(value: &Value) -> String {
    let text = text(value);
    let pieces = text.split('`').enumerate();
    pieces.map(|(at, piece)| if at % 2 == 1 { format!("<code>{piece}</code>") } else { piece.to_owned() }).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
