//! What clients mean by the fields they send: typed reading with the tolerances of CONTRACTS, and a name for each flaw.
//!
//! `null` is the same as absent, everywhere. A person may be written as text (`a@b.example`, `Ann <a@b.example>`), as
//! `{address, name}` or `{email, name}`, bare or wrapped in `email_address`; one may stand where a list may. What each
//! API calls a field, and which it wants, is said in its own module.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::json::Json;
use crate::model::address::{Address, Mailbox};

/// How much of a wrong value is told back, in characters.
const SHOWN_CHARS: usize = 200;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// JSON pointer (RFC 6901) of the value, or of where it should be; `?name` for a parameter of the query.
    pub path: String,
    /// What is wrong with it.
    pub wrong: Wrong,
    /// What stood there, cut short; empty when nothing did.
    pub value: String,
}

/// Ways to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Not there, and it must be.
    Missing,
    /// Empty text.
    Empty,
    /// An empty list.
    NoItems,
    /// Of another type.
    Type(&'static str),
    /// Text, but not of this form: `email`, `uri`, `date-time`, `base64`, `mime-type`.
    Format(&'static str),
    /// Not one of the words that are known.
    OneOf(&'static [&'static str]),
    /// More items than may be.
    TooMany(usize),
    /// Longer than may be, in characters.
    TooLong(usize),
    /// Larger than may be, in bytes.
    TooLarge(usize),
    /// Something else, said for people after "must" or as a sentence of its own.
    Other(String),
}

impl Flaw {
    /// A flaw at `path`, where nothing stood.
    pub fn at(path: impl Into<String>, wrong: Wrong) -> Self {
        Self { path: path.into(), wrong, value: String::new() }
    }

    /// A flaw of a parameter of the query.
    pub(super) fn in_query(name: &str, wrong: Wrong) -> Self {
        Self::at(format!("?{name}"), wrong)
    }

    /// The same with what stood there.
    pub fn showing(mut self, value: &str) -> Self {
        self.value = value.chars().take(SHOWN_CHARS).collect();
        self
    }

    /// The field of the request that it is in.
    pub fn field(&self) -> &str {
        self.path.trim_start_matches(['/', '?']).split('/').next().unwrap_or_default()
    }
}

type Read<T> = Result<T, Flaw>;

/// An object of a request, and where it stands.
pub(super) struct Fields<'j, 'a> {
    fields: &'j [(Cow<'a, str>, Json<'a>)],
    path: String,
}

/// The request's whole body, which must be an object.
pub(super) fn body<'j, 'a>(json: &'j Json<'a>) -> Read<Fields<'j, 'a>> {
    fields_of(json, String::new())
}

/// The fields of a value that must be an object.
pub(super) fn fields_of<'j, 'a>(json: &'j Json<'a>, path: String) -> Read<Fields<'j, 'a>> {
    match json {
        Json::Object(fields) => Ok(Fields { fields, path }),
        _ => Err(Flaw::at(path, Wrong::Type("object"))),
    }
}

impl<'j, 'a> Fields<'j, 'a> {
    /// The value of a field; `None` when it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'j Json<'a>> {
        let (_, value) = self.fields.iter().find(|(field, _)| field == name)?;
        Some(value).filter(|value| !matches!(value, Json::Null))
    }

    /// The value of a field, also when it is null.
    pub(super) fn raw_field(&self, name: &str) -> Option<&'j Json<'a>> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// Whether the field stands there at all, null or not.
    pub(super) fn names(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| field == name)
    }

    /// Where a field stands.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    pub(super) fn text(&self, name: &str) -> Read<Option<&'j str>> {
        self.get(name).map(|value| text_of(value, &self.path(name))).transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Read<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Flaw::at(self.path(name), Wrong::Type("boolean"))),
        }
    }

    pub(super) fn fields(&self, name: &str) -> Read<Option<Fields<'j, 'a>>> {
        self.get(name).map(|value| fields_of(value, self.path(name))).transpose()
    }

    /// The items of a list, none when it is absent.
    pub(super) fn list(&self, name: &str) -> Read<&'j [Json<'a>]> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Json::List(items)) => Ok(items),
            Some(_) => Err(Flaw::at(self.path(name), Wrong::Type("array"))),
        }
    }

    /// The texts of a list, or the one text that stands in its place; each with its path.
    pub(super) fn texts(&self, name: &str) -> Read<Vec<&'j str>> {
        match self.get(name) {
            Some(Json::Text(text)) => Ok(vec![text]),
            _ => self.each(name, |item, path| text_of(item, &path)),
        }
    }

    /// What `read` makes of each item of a list.
    pub(super) fn each<T>(&self, name: &str, read: impl Fn(&'j Json<'a>, String) -> Read<T>) -> Read<Vec<T>> {
        let items = self.list(name)?.iter().enumerate();
        items.map(|(place, item)| read(item, format!("{}/{place}", self.path(name)))).collect()
    }

    /// The people of a list, or the one who stands in its place.
    pub(super) fn people(&self, name: &str) -> Read<Vec<Person>> {
        match self.get(name) {
            None | Some(Json::List(_)) => self.each(name, person),
            Some(one) => Ok(vec![person(one, self.path(name))?]),
        }
    }

    /// An object of texts, in order. Numbers and booleans pass for what they are written as.
    pub(super) fn pairs(&self, name: &str) -> Read<Vec<(String, String)>> {
        self.get(name).map_or(Ok(Vec::new()), |value| pairs_of(value, &self.path(name)))
    }

    pub(super) fn raw(&self) -> &'j [(Cow<'a, str>, Json<'a>)] {
        self.fields
    }
}

/// An object of texts, in order. Numbers and booleans pass for what they are written as; null is absent.
pub(super) fn pairs_of(json: &Json<'_>, path: &str) -> Read<Vec<(String, String)>> {
    let object = fields_of(json, path.to_owned())?;
    let present = object.fields.iter().filter(|(_, value)| !matches!(value, Json::Null));
    let pairs = present.map(|(name, value)| {
        let text = match value {
            Json::Number(number) => number.to_string(),
            Json::Bool(flag) => flag.to_string(),
            other => text_of(other, &object.path(name))?.to_owned(),
        };
        Ok((name.clone().into_owned(), text))
    });
    pairs.collect()
}

/// Text, or a flaw at `path`.
pub(super) fn text_of<'j>(json: &'j Json<'_>, path: &str) -> Read<&'j str> {
    match json {
        Json::Text(text) => Ok(text),
        _ => Err(Flaw::at(path, Wrong::Type("string"))),
    }
}

/// Somebody with a checked address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub address: Address,
    pub name: String,
}

impl Person {
    /// As headers and payloads show them, the address in its canonical spelling.
    pub(super) fn mailbox(&self) -> Mailbox {
        Mailbox { address: self.address.to_string(), name: self.name.clone() }
    }
}

/// Somebody, in any of the shapes that clients use.
pub(super) fn person(json: &Json<'_>, path: String) -> Read<Person> {
    let bad = |text: &str, path: &str| Flaw::at(path, Wrong::Format("email")).showing(text);
    if let Json::Text(text) = json {
        let (name, address) = named(text);
        let address = address.parse().map_err(|_| bad(text, &path))?;
        return Ok(Person { address, name: name.to_owned() });
    }
    if !matches!(json, Json::Object(_)) {
        return Err(Flaw::at(path, Wrong::Other("must be an address, or an object with one".into())));
    }
    let outer = fields_of(json, path)?;
    let person = match outer.fields("email_address")? {
        Some(inner) => inner,
        None => outer,
    };
    let word = if person.get("address").is_none() && person.get("email").is_some() { "email" } else { "address" };
    let text = person.text(word)?.ok_or_else(|| Flaw::at(person.path(word), Wrong::Missing))?;
    if text.trim().is_empty() {
        return Err(Flaw::at(person.path(word), Wrong::Empty));
    }
    let address = text.trim().parse().map_err(|_| bad(text, &person.path(word)))?;
    let name = person.text("name")?.unwrap_or_default().to_owned();
    Ok(Person { address, name })
}

/// The envelope of these people: everybody once, in order.
pub(super) fn recipients<'p>(people: impl Iterator<Item = &'p Person>) -> Vec<Address> {
    let mut seen = HashSet::new();
    people.map(|person| &person.address).filter(|address| seen.insert(*address)).cloned().collect()
}

/// `Ann <a@b.example>` is a name and an address; anything else is an address.
fn named(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
        Some((name, address)) => {
            let name = name.trim();
            let unquoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
            (unquoted.filter(|name| !name.contains(['"', '\\'])).unwrap_or(name), address)
        }
        None => ("", text),
    }
}

/// The bytes of a base64 text; blanks and line breaks in it, and missing padding, do not matter.
pub(super) fn base64(text: &str, path: &str) -> Read<Bytes> {
    let is_wrapped = text.bytes().any(|byte| byte.is_ascii_whitespace());
    let decoded = match is_wrapped {
        false => BASE64.decode(text),
        true => BASE64.decode(text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>()),
    };
    decoded.map(Bytes::from).map_err(|_| Flaw::at(path, Wrong::Format("base64")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::json;

    fn people(text: &str) -> Read<Vec<(String, String)>> {
        let json = json::read(text.as_bytes()).unwrap();
        let people = body(&json).unwrap().people("to")?;
        Ok(people.into_iter().map(|person| (person.address.to_string(), person.name)).collect())
    }

    fn check(text: &str, address: &str, name: &str) {
        assert_eq!(people(&format!(r#"{{"to":{text}}}"#)), Ok(vec![(address.into(), name.into())]), "{text}");
    }

    #[test]
    fn people_in_every_shape() {
        check(r#""a@b.example""#, "a@b.example", "");
        check(r#"["a@B.example"]"#, "a@b.example", "");
        check(r#""Ann Lee <a@b.example>""#, "a@b.example", "Ann Lee");
        check(r#""\"Lee, Ann\" <a@b.example>""#, "a@b.example", "Lee, Ann");
        check(r#"{"address":"a@b.example","name":"Ann"}"#, "a@b.example", "Ann");
        check(r#"[{"email":"a@b.example","name":null}]"#, "a@b.example", "");
        check(r#"[{"email_address":{"address":" a@b.example ","name":""}}]"#, "a@b.example", "");
        assert_eq!(people(r#"{"to":null}"#), Ok(vec![]));
        assert_eq!(people(r#"{"to":[]}"#), Ok(vec![]));
    }

    fn flawed(text: &str, path: &str, wrong: Wrong) {
        let flaw = people(&format!(r#"{{"to":{text}}}"#)).unwrap_err();
        assert_eq!((flaw.path.as_str(), &flaw.wrong), (path, &wrong), "{text}");
        assert_eq!(flaw.field(), "to");
    }

    #[test]
    fn people_who_are_none() {
        let nobody = || Wrong::Other("must be an address, or an object with one".into());
        flawed("7", "/to", nobody());
        flawed("[[]]", "/to/0", nobody());
        flawed(r#"["a@b.example","x"]"#, "/to/1", Wrong::Format("email"));
        flawed(r#""a@b.example, c@d.example""#, "/to", Wrong::Format("email"));
        flawed(r#""\"a\r\nRCPT TO:<x>\"@b.example""#, "/to", Wrong::Format("email"));
        flawed("[{}]", "/to/0/address", Wrong::Missing);
        flawed(r#"[{"email_address":{"address":null}}]"#, "/to/0/email_address/address", Wrong::Missing);
        flawed(r#"[{"address":" "}]"#, "/to/0/address", Wrong::Empty);
        flawed(r#"[{"address":"nobody@"}]"#, "/to/0/address", Wrong::Format("email"));
        flawed(r#"[{"address":"a@b.example","name":7}]"#, "/to/0/name", Wrong::Type("string"));
    }

    #[test]
    fn base64_of_every_kind() {
        for text in ["SGVsbG8K", "SGVs\r\nbG8K", " SGVsbG8K "] {
            assert_eq!(base64(text, "/x").unwrap().as_ref(), b"Hello\n");
        }
        assert_eq!(base64("YQ", "/x").unwrap().as_ref(), b"a");
        assert_eq!(base64("YQ==", "/x").unwrap().as_ref(), b"a");
        for text in ["*", "data:,x", "a"] {
            assert!(base64(text, "/x").is_err(), "{text}");
        }
    }
}
