//! Schemas by their number in a registry, as decoders see them: values that never change once they are known.
//!
//! Who asks the registry is the source (`source::registry`), before it hands over records that need an answer. So
//! decoding itself waits for nobody.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Reason;
use super::frame::rejection;
use super::reason::{NO_SCHEMA_ID, UNKNOWN_SCHEMA};

/// A schema's number in its registry.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub u32);

impl std::fmt::Display for SchemaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a schema is written in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Language {
    /// Avro's JSON.
    Avro,
    /// A `.proto` file.
    Protobuf,
    /// JSON Schema, which no format reads.
    Json,
}

/// A schema as its author wrote it, with what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaText {
    /// What it is written in.
    pub language: Language,
    /// The text.
    pub text: String,
    /// Schemas it refers to, by the name it uses for them; what one of them needs stands before it.
    pub references: Vec<(String, String)>,
}

/// What is known of a number.
#[derive(Clone, Debug)]
pub enum Known {
    /// The schema.
    Schema(Arc<SchemaText>),
    /// The registry had none, or one that cannot be used: why.
    Unknown(String),
}

/// The schemas known so far, shared by whoever asks for them and whoever reads by them.
#[derive(Clone, Debug, Default)]
pub struct Schemas(Arc<RwLock<HashMap<SchemaId, Known>>>);

impl Schemas {
    /// What is known of `id`; `None` if nobody has asked yet.
    #[must_use]
    pub fn get(&self, id: SchemaId) -> Option<Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Takes in an answer. A schema that is known stays as it is.
    pub fn put(&self, id: SchemaId, known: Known) {
        let mut schemas = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(schemas.get(&id), Some(Known::Schema(_))) {
            schemas.insert(id, known);
        }
    }

    /// The schema to read a record by.
    ///
    /// # Errors
    /// The reason why the record cannot be read, if there is none.
    pub(super) fn find(&self, id: SchemaId) -> Result<Arc<SchemaText>, Box<Reason>> {
        match self.get(id) {
            Some(Known::Schema(schema)) => Ok(schema),
            Some(Known::Unknown(why)) => Err(rejection(UNKNOWN_SCHEMA, format!("schema {id}: {why}"))),
            None => Err(rejection(UNKNOWN_SCHEMA, format!("schema {id}: the registry was not asked"))),
        }
    }
}

/// The number in a value's first five bytes, a zero and four of the number, and what follows them; `None` if they are
/// not such.
#[must_use]
pub fn schema_id(value: &[u8]) -> Option<(SchemaId, &[u8])> {
    match value.split_first_chunk::<5>() {
        Some(([0, id @ ..], rest)) => Some((SchemaId(u32::from_be_bytes(*id)), rest)),
        _ => None,
    }
}

/// As [`schema_id`], with the reason for a record that has none.
pub(super) fn required_id(value: &[u8]) -> Result<(SchemaId, &[u8]), Box<Reason>> {
    schema_id(value).ok_or_else(|| {
        let what = match value {
            [] => "it is empty".to_owned(),
            [0, ..] => "it is shorter".to_owned(),
            [first, ..] => format!("it begins with byte {first:#04x}"),
        };
        rejection(NO_SCHEMA_ID, format!("a value begins with a zero byte and four of its schema's number; {what}"))
    })
}

/// What becomes of a column that a record's schema does not have.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum OnMissing {
    /// The record is invalid, unless the column is optional.
    #[default]
    Invalid,
    /// The column is null.
    Null,
}

/// Where the schemas of records come from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Each record begins with its schema's number.
    Registry(Schemas),
    /// All records have this one, and no number before them.
    One(Arc<SchemaText>),
}

/// A column as a schema tells it, or the reason why it cannot be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The member's name.
    pub name: String,
    /// Its place in the record.
    pub path: Vec<String>,
    /// Its type, and whether it may be null.
    pub column: Result<(super::column::ColumnType, bool), String>,
}
