//! JSON from strangers, with bounds: depth, number of values, no name twice in an object.
//!
//! Texts that hold no escape are borrowed from the request's bytes, so that a mail with a large attachment is not
//! copied before it is decoded. Duplicate names are refused since two readers of one request could understand two
//! different things (RFC 8259 §4). What the values mean is `wire`'s affair.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Objects and lists inside each other.
pub(super) const DEPTH_MAX: u32 = 32;
/// Values and names in one request.
pub(super) const VALUES_MAX: u32 = 100_000;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl Json<'_> {
    /// The same as a value that outlives the request.
    pub(super) fn to_value(&self) -> Value {
        match self {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => Value::Number(number.clone()),
            Json::Text(text) => Value::String(text.clone().into_owned()),
            Json::List(items) => Value::Array(items.iter().map(Json::to_value).collect()),
            Json::Object(fields) => Value::Object(to_map(fields)),
        }
    }
}

/// The fields as a map that outlives the request.
pub(super) fn to_map(fields: &[(Cow<'_, str>, Json<'_>)]) -> Map<String, Value> {
    fields.iter().map(|(name, value)| (name.clone().into_owned(), value.to_value())).collect()
}

/// Reads one value and nothing after it.
///
/// # Errors
/// What is wrong and where, for people.
pub(super) fn read(bytes: &[u8]) -> Result<Json<'_>, String> {
    if bytes.is_empty() {
        return Err("the body is empty".into());
    }
    let left = Cell::new(VALUES_MAX);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = Bounded { left: &left, depth: 0 }.deserialize(&mut reader);
    read.and_then(|value| reader.end().map(|()| value)).map_err(|fault| fault.to_string())
}

#[derive(Clone, Copy)]
struct Bounded<'c> {
    left: &'c Cell<u32>,
    depth: u32,
}

impl Bounded<'_> {
    fn count<E: Error>(&self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| E::custom("too many values"))?;
        self.left.set(left);
        Ok(())
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > DEPTH_MAX { Err(E::custom("too deeply nested")) } else { Ok(Self { depth, ..self }) }
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Json<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Json<'de>, D::Error> {
        self.count()?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Json<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json<'de>, E> {
        Number::from_f64(number).map(Json::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Json<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Json<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut fields = Vec::new();
        while let Some(name) = from.next_key_seed(inner)? {
            let Json::Text(name) = name else { return Err(A::Error::custom("a name must be text")) };
            fields.push((name, from.next_value_seed(inner)?));
        }
        match twice(&fields) {
            Some(name) => Err(A::Error::custom(format_args!("the name {name:?} stands twice"))),
            None => Ok(Json::Object(fields)),
        }
    }
}

fn twice<'n>(fields: &'n [(Cow<'_, str>, Json<'_>)]) -> Option<&'n str> {
    let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_as_serde_json_reads_them() {
        let text = r#" {"a":[1,-2,1.5,true,false,null,"x\u00e9\n"],"b":{"":{}},"c":18446744073709551615} "#;
        assert_eq!(read(text.as_bytes()).unwrap().to_value(), serde_json::from_str::<Value>(text).unwrap());
        assert!(matches!(read(b"\"plain\"").unwrap(), Json::Text(Cow::Borrowed("plain"))));
    }

    fn check(text: &[u8], expected: &str) {
        let fault = read(text).unwrap_err();
        assert!(fault.contains(expected), "{fault}");
    }

    #[test]
    fn hostile() {
        check(b"", "the body is empty");
        check(b"{", "EOF");
        check("\u{feff}{}".as_bytes(), "expected value");
        check(b"{\"a\":1} x", "trailing");
        check(b"{\"a\":1,\"b\":2,\"a\":3}", "the name \"a\" stands twice");
        check(b"{\"a\":{\"x\":1,\"\\u0078\":1}}", "the name \"x\" stands twice");
        check(b"1e400", "number out of range");
        check(b"\"\xff\"", "invalid unicode");
        check(b"\"\\ud800\"", "hex escape");
        check(b"NaN", "expected");
        check("[".repeat(10_000).as_bytes(), "too deeply nested");
        check("{\"a\":".repeat(10_000).as_bytes(), "too deeply nested");
        check(format!("[{}0]", "0,".repeat(VALUES_MAX as usize)).as_bytes(), "too many values");
        assert!(read(format!("{}{}", "[".repeat(32), "]".repeat(32)).as_bytes()).is_ok());
    }
}
