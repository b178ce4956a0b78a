//! The shapes of bodies: one declaration reads a request, writes an answer, and describes both to the world.
//!
//! [`request!`] and [`answer!`] declare an object field by field, each with its name on the wire, its type, and what it
//! means. The types carry the rules (`Text<1, 100>`, `Email`, `Word<Privacy>`), so what is refused and what `/openapi.json`
//! says are the same thing. Schemas are JSON Schema 2020-12, as OpenAPI 3.1 wants them. Flaws are told as ajv tells them.

mod values;

use std::any::type_name;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::json::{self, Json};
use super::wire::{Flaw, Wrong};

pub(super) use values::{Base64, Count, Domain, Email, Line, List, People, Text, Vocabulary, When, Word, vocabulary};

/// Something that can stand in a body.
pub(super) trait Shape {
    /// A field of this type may be absent.
    const IS_OPTIONAL: bool = false;

    /// Its schema. What has a name is put into `schemas` and referred to.
    fn schema(schemas: &mut Schemas) -> Value;

    /// A field with this value is left out.
    fn is_absent(&self) -> bool {
        false
    }
}

/// Something that a request can bring.
pub(super) trait Read: Sized {
    /// What `json` means here.
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw>;

    /// What a field means; `None` when it is absent.
    fn field(json: Option<&Json<'_>>, path: &str) -> Result<Self, Flaw> {
        match json {
            None | Some(Json::Null) => Err(Flaw::at(path, Wrong::Missing)),
            Some(json) => Self::read(json, path),
        }
    }
}

/// What the whole body of a request means.
pub(super) fn read<T: Read>(body: &[u8]) -> Result<T, super::Problem> {
    let json = json::read(body).map_err(super::Problem::Json)?;
    Ok(T::read(&json, "")?)
}

/// The schemas that have names.
#[derive(Debug, Default)]
pub(super) struct Schemas(BTreeMap<&'static str, (&'static str, Value)>);

impl Schemas {
    /// A reference to the schema called `name`, made by `make` when it is not there yet.
    pub(super) fn named<T: ?Sized>(&mut self, name: &'static str, make: impl FnOnce(&mut Self) -> Value) -> Value {
        let owner = type_name::<T>();
        match self.0.get(name) {
            Some((other, _)) => assert_eq!(*other, owner, "two shapes are called {name}"),
            None => {
                // Its place is taken first, so that a shape may hold itself.
                self.0.insert(name, (owner, Value::Null));
                let schema = make(self);
                self.0.insert(name, (owner, schema));
            }
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// All of them, by name.
    pub(super) fn into_value(self) -> Value {
        self.0.into_iter().map(|(name, (_, schema))| (name.to_owned(), schema)).collect::<Map<_, _>>().into()
    }
}

/// The schema of an object under construction.
#[derive(Default)]
pub(super) struct ObjectSchema {
    properties: Map<String, Value>,
    required: Vec<&'static str>,
}

impl ObjectSchema {
    pub(super) fn field<T: Shape>(&mut self, schemas: &mut Schemas, name: &'static str, about: &str) {
        let mut schema = T::schema(schemas);
        if let (Value::Object(schema), false) = (&mut schema, about.is_empty()) {
            schema.insert("description".into(), about.trim().into());
        }
        self.properties.insert(name.to_owned(), schema);
        if !T::IS_OPTIONAL {
            self.required.push(name);
        }
    }

    pub(super) fn into_schema(self, about: &str) -> Value {
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        schema.insert("description".into(), about.trim().into());
        schema.insert("properties".into(), self.properties.into());
        if !self.required.is_empty() {
            schema.insert("required".into(), self.required.into());
        }
        schema.into()
    }
}

/// Gives an object its [`Shape`]: the part that [`request!`], [`answer!`] and [`described!`] share.
macro_rules! shape {
    ($name:ident, [$($about:literal)*], $([$($doc:literal)*] $json:literal $type:ty,)* $(..$group:ident)*) => {
        impl $name {
            /// Puts its fields into a schema.
            fn describe(object: &mut $crate::http::shape::ObjectSchema, schemas: &mut $crate::http::shape::Schemas) {
                $(object.field::<$type>(schemas, $json, concat!($($doc),*));)*
                $($group::describe(object, schemas);)*
            }
        }

        impl $crate::http::shape::Shape for $name {
            fn schema(schemas: &mut $crate::http::shape::Schemas) -> serde_json::Value {
                schemas.named::<$name>(stringify!($name), |schemas| {
                    let mut object = $crate::http::shape::ObjectSchema::default();
                    $name::describe(&mut object, schemas);
                    object.into_schema(concat!($($about),*))
                })
            }
        }
    };
}
pub(super) use shape;

/// Declares an object that requests bring. A field is a name in Rust, the name on the wire, and a type.
macro_rules! request {
    ($($(#[doc = $about:literal])* $vis:vis struct $name:ident {
        $($(#[doc = $doc:literal])* $field:ident $json:literal: $type:ty,)*
    })*) => {$(
        $(#[doc = $about])*
        #[derive(Debug)]
        $vis struct $name {
            $($(#[doc = $doc])* pub(super) $field: $type,)*
        }

        impl $crate::http::shape::Read for $name {
            fn read(json: &$crate::http::json::Json<'_>, path: &str) -> Result<Self, $crate::http::wire::Flaw> {
                let fields = $crate::http::wire::fields_of(json, path.to_owned())?;
                Ok(Self {
                    $($field: <$type as $crate::http::shape::Read>::field(fields.raw_field($json), &fields.path($json))?,)*
                })
            }
        }

        $crate::http::shape::shape!($name, [$($about)*], $([$($doc)*] $json $type,)*);
    )*};
}
pub(super) use request;

/// Describes an object that is read or written by hand. `..Other` stands for the fields of another one.
macro_rules! described {
    ($($(#[doc = $about:literal])* $vis:vis struct $name:ident {
        $($(#[doc = $doc:literal])* $json:literal: $type:ty,)*
        $(..$group:ident,)*
    })*) => {$(
        $(#[doc = $about])*
        #[derive(Debug)]
        $vis enum $name {}

        $crate::http::shape::shape!($name, [$($about)*], $([$($doc)*] $json $type,)* $(..$group)*);
    )*};
}
pub(super) use described;

/// Declares an object that answers carry. Fields are written in their order; absent ones are left out.
macro_rules! answer {
    ($($(#[doc = $about:literal])* $vis:vis struct $name:ident {
        $($(#[doc = $doc:literal])* $field:ident $json:literal: $type:ty,)*
    })*) => {$(
        $(#[doc = $about])*
        #[derive(Debug)]
        $vis struct $name {
            $($(#[doc = $doc])* pub(super) $field: $type,)*
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut object = to.serialize_map(None)?;
                $(if !$crate::http::shape::Shape::is_absent(&self.$field) {
                    object.serialize_entry($json, &self.$field)?;
                })*
                object.end()
            }
        }

        $crate::http::shape::shape!($name, [$($about)*], $([$($doc)*] $json $type,)*);
    )*};
}
pub(super) use answer;

impl<T: Shape> Shape for Option<T> {
    const IS_OPTIONAL: bool = true;

    fn schema(schemas: &mut Schemas) -> Value {
        T::schema(schemas)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Read> Read for Option<T> {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        T::read(json, path).map(Some)
    }

    fn field(json: Option<&Json<'_>>, path: &str) -> Result<Self, Flaw> {
        match json {
            None | Some(Json::Null) => Ok(None),
            Some(json) => Self::read(json, path),
        }
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({ "type": "array", "items": T::schema(schemas) })
    }
}

/// Always there, and null when there is nothing to say.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Nullable<T>(pub Option<T>);

impl Nullable<String> {
    /// A text that is empty when there is nothing to say.
    pub(super) fn of(text: String) -> Self {
        Self(Some(text).filter(|text| !text.is_empty()))
    }
}

impl<T: Shape> Shape for Nullable<T> {
    fn schema(schemas: &mut Schemas) -> Value {
        or_null(T::schema(schemas))
    }
}

fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

/// What a change says of a value: nothing, that there is to be none, or what it is to be.
#[derive(Debug)]
pub(super) enum Change<T> {
    Keep,
    Clear,
    To(T),
}

impl<T> Change<T> {
    /// What becomes of `old`.
    pub(super) fn applied<U>(self, old: Option<U>, as_new: impl FnOnce(T) -> U) -> Option<U> {
        match self {
            Change::Keep => old,
            Change::Clear => None,
            Change::To(new) => Some(as_new(new)),
        }
    }

    /// Whether anything is to change.
    pub(super) fn is_change(&self) -> bool {
        !matches!(self, Change::Keep)
    }
}

impl<T: Shape> Shape for Change<T> {
    const IS_OPTIONAL: bool = true;

    fn schema(schemas: &mut Schemas) -> Value {
        or_null(T::schema(schemas))
    }
}

impl<T: Read> Read for Change<T> {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        T::read(json, path).map(Change::To)
    }

    fn field(json: Option<&Json<'_>>, path: &str) -> Result<Self, Flaw> {
        match json {
            None => Ok(Change::Keep),
            Some(Json::Null) => Ok(Change::Clear),
            Some(json) => Self::read(json, path),
        }
    }
}
