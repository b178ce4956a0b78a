//! What fields are made of: texts, words, counts, addresses, times, bytes, people; each with its rules and its schema.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::json::{self, Json};
use super::super::wire::{self, Flaw, Person, Wrong};
use super::{Read, Schemas, Shape};
use crate::model::address::{Address, domain_name};
use crate::model::time::Timestamp;

macro_rules! plain_shapes {
    ($($type:ty: $schema:tt;)*) => {$(
        impl Shape for $type {
            fn schema(_: &mut Schemas) -> Value {
                json!($schema)
            }
        }
    )*};
}

plain_shapes! {
    String: { "type": "string" };
    &'static str: { "type": "string" };
    bool: { "type": "boolean" };
    u16: { "type": "integer", "minimum": 0, "maximum": 65_535 };
    u32: { "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 };
    u64: { "type": "integer", "minimum": 0 };
    Email: { "type": "string", "format": "email", "maxLength": 254 };
    Domain: { "type": "string", "format": "hostname", "maxLength": 255 };
    When: { "type": "string", "format": "date-time" };
    Base64: { "type": "string", "contentEncoding": "base64" };
    Map<String, Value>: { "type": "object" };
}

/// At least `MIN` items, at most `MAX`.
#[derive(Debug)]
pub(in crate::http) struct List<T, const MIN: usize, const MAX: usize>(pub Vec<T>);

impl<T: Shape, const MIN: usize, const MAX: usize> Shape for List<T, MIN, MAX> {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({ "type": "array", "items": T::schema(schemas), "minItems": MIN, "maxItems": MAX })
    }
}

impl<T: Read, const MIN: usize, const MAX: usize> Read for List<T, MIN, MAX> {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let Json::List(items) = json else { return Err(Flaw::at(path, Wrong::Type("array"))) };
        match items.len() {
            count if count < MIN => Err(Flaw::at(path, Wrong::NoItems)),
            count if count > MAX => Err(Flaw::at(path, Wrong::TooMany(MAX))),
            _ => {
                let each = items.iter().enumerate();
                each.map(|(at, item)| T::read(item, &format!("{path}/{at}"))).collect::<Result<_, _>>().map(Self)
            }
        }
    }
}

/// Text of at least `MIN` characters, at most `MAX`.
#[derive(Clone, Debug)]
pub(in crate::http) struct Text<const MIN: usize, const MAX: usize>(pub String);

impl<const MIN: usize, const MAX: usize> Shape for Text<MIN, MAX> {
    fn schema(_: &mut Schemas) -> Value {
        match MIN {
            0 => json!({ "type": "string", "maxLength": MAX }),
            _ => json!({ "type": "string", "minLength": MIN, "maxLength": MAX }),
        }
    }
}

impl<const MIN: usize, const MAX: usize> Read for Text<MIN, MAX> {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let text = wire::text_of(json, path)?;
        match text.chars().count() {
            count if count < MIN => Err(Flaw::at(path, Wrong::Empty)),
            count if count > MAX => Err(Flaw::at(path, Wrong::TooLong(MAX))),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// The same without control characters: what people call something.
#[derive(Clone, Debug)]
pub(in crate::http) struct Line<const MIN: usize, const MAX: usize>(pub String);

impl<const MIN: usize, const MAX: usize> Shape for Line<MIN, MAX> {
    fn schema(schemas: &mut Schemas) -> Value {
        let mut schema = Text::<MIN, MAX>::schema(schemas);
        schema["pattern"] = "^[^\\x00-\\x1f\\x7f-\\x9f]*$".into();
        schema
    }
}

impl<const MIN: usize, const MAX: usize> Read for Line<MIN, MAX> {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let Text(text) = Text::<MIN, MAX>::read(json, path)?;
        let is_line = !text.chars().any(char::is_control);
        let bad = || Flaw::at(path, Wrong::Other("control characters are not allowed here".into())).showing(&text);
        if is_line { Ok(Self(text)) } else { Err(bad()) }
    }
}

/// A small vocabulary.
pub(in crate::http) trait Vocabulary: Copy + PartialEq + 'static {
    /// Its words.
    const WORDS: &'static [&'static str];
    /// What they mean, in the same order.
    const MEANINGS: &'static [Self];
}

/// Gives a type its [`Vocabulary`].
macro_rules! vocabulary {
    ($type:ty: $($word:literal $meaning:expr,)*) => {
        impl $crate::http::shape::Vocabulary for $type {
            const WORDS: &'static [&'static str] = &[$($word,)*];
            const MEANINGS: &'static [Self] = &[$($meaning,)*];
        }
    };
}
pub(in crate::http) use vocabulary;

/// One of a vocabulary's words.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Word<T>(pub T);

impl<T: Vocabulary> Word<T> {
    /// What `text` means.
    pub(in crate::http) fn parse(text: &str, path: &str) -> Result<Self, Flaw> {
        let mut known = T::WORDS.iter().zip(T::MEANINGS);
        let found = known.find(|(word, _)| **word == text).map(|(_, meaning)| Self(*meaning));
        found.ok_or_else(|| Flaw::at(path, Wrong::OneOf(T::WORDS)).showing(text))
    }

    fn word(self) -> &'static str {
        let mut known = T::WORDS.iter().zip(T::MEANINGS);
        known.find(|(_, meaning)| **meaning == self.0).map_or("", |(word, _)| word)
    }
}

impl<T: Vocabulary> Shape for Word<T> {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "enum": T::WORDS })
    }
}

impl<T: Vocabulary> Read for Word<T> {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        Self::parse(wire::text_of(json, path)?, path)
    }
}

impl<T: Vocabulary> Serialize for Word<T> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.word())
    }
}

impl Read for String {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        wire::text_of(json, path).map(str::to_owned)
    }
}

impl Read for bool {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        match json {
            Json::Bool(flag) => Ok(*flag),
            _ => Err(Flaw::at(path, Wrong::Type("boolean"))),
        }
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Count<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Shape for Count<MIN, MAX> {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl<const MIN: u64, const MAX: u64> Read for Count<MIN, MAX> {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let Json::Number(number) = json else { return Err(Flaw::at(path, Wrong::Type("integer"))) };
        // JSON knows no integers: 1.0 is one too (JSON Schema 2020-12, core §4.2.3).
        let whole = number.as_f64().filter(|double| double.fract() == 0.0 && (0.0..9e15).contains(double));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range, as filtered")]
        let count = number.as_u64().or(whole.map(|double| double as u64));
        match (count, number.as_f64()) {
            (Some(count), _) if (MIN..=MAX).contains(&count) => Ok(Self(count)),
            (None, Some(double)) if double.fract() != 0.0 => Err(Flaw::at(path, Wrong::Type("integer"))),
            _ => Err(Flaw::at(path, Wrong::Other(format!("must be from {MIN} to {MAX}")))),
        }
    }
}

/// A mail address.
#[derive(Clone, Debug)]
pub(in crate::http) struct Email(pub Address);

impl Read for Email {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let text = wire::text_of(json, path)?;
        text.trim().parse().map(Self).map_err(|_| Flaw::at(path, Wrong::Format("email")).showing(text))
    }
}

/// A domain name, lower-case A-labels.
#[derive(Clone, Debug)]
pub(in crate::http) struct Domain(pub String);

impl Read for Domain {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let text = wire::text_of(json, path)?;
        domain_name(text.trim()).map(Self).map_err(|_| Flaw::at(path, Wrong::Format("hostname")).showing(text))
    }
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct When(pub Timestamp);

impl When {
    /// What `text` means: RFC 3339, with any offset.
    pub(in crate::http) fn parse(text: &str, path: &str) -> Result<Self, Flaw> {
        let bad = || Flaw::at(path, Wrong::Format("date-time")).showing(text);
        Timestamp::from_rfc3339(text).map(Self).ok_or_else(bad)
    }
}

impl Read for When {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        Self::parse(wire::text_of(json, path)?, path)
    }
}

impl Serialize for When {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0.rfc3339_millis())
    }
}

/// Bytes, as base64.
#[derive(Clone, Debug)]
pub(in crate::http) struct Base64(pub Bytes);

impl Read for Base64 {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        wire::base64(wire::text_of(json, path)?, path).map(Self)
    }
}

/// Any object.
impl Read for Map<String, Value> {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        Ok(json::to_map(wire::fields_of(json, path.to_owned())?.raw()))
    }
}

/// Somebody: an address as text, `Name <address>`, or an object with `address` (or `email`) and `name`.
impl Shape for Person {
    fn schema(schemas: &mut Schemas) -> Value {
        schemas.named::<Person>("Person", |_| {
            json!({
                "description": "Somebody: `ann@example.com`, `Ann <ann@example.com>`, or an object.",
                "anyOf": [
                    { "type": "string", "minLength": 3, "maxLength": 1000 },
                    {
                        "type": "object",
                        "properties": {
                            "address": { "type": "string", "format": "email" },
                            "email": { "type": "string", "format": "email" },
                            "name": { "type": "string" },
                        },
                    },
                ],
            })
        })
    }
}

impl Read for Person {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        wire::person(json, path.to_owned())
    }
}

/// Somebody, or a list of people.
#[derive(Debug)]
pub(in crate::http) struct People(pub Vec<Person>);

impl Shape for People {
    fn schema(schemas: &mut Schemas) -> Value {
        let person = Person::schema(schemas);
        json!({ "anyOf": [person, { "type": "array", "items": person }] })
    }
}

impl Read for People {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        match json {
            Json::List(items) => {
                let each = items.iter().enumerate();
                each.map(|(at, item)| wire::person(item, format!("{path}/{at}"))).collect::<Result<_, _>>().map(Self)
            }
            one => Ok(Self(vec![wire::person(one, path.to_owned())?])),
        }
    }
}
