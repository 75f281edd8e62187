//! The declared columns of a stream: names, places in the record, types, and their Arrow schema.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

/// What a column holds, as declared in `[source.columns]`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// UTF-8 text.
    Text,
    /// true or false.
    Bool,
    /// A 64-bit signed integer.
    Int,
    /// A 64-bit float.
    Float,
    /// An exact decimal number.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: i8,
    },
    /// A point in time, written as said.
    Timestamp(TimestampForm),
    /// A calendar day, `2026-03-01`.
    Date,
    /// Any JSON value, kept as its text.
    Json,
}

/// How a timestamp is written in the record.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampForm {
    /// RFC 3339 text with its offset, `2026-03-01T08:00:00+01:00`.
    Rfc3339,
    /// A number: seconds since the epoch.
    EpochSeconds,
    /// A number: milliseconds since the epoch.
    EpochMillis,
    /// A number: microseconds since the epoch.
    EpochMicros,
}

impl ColumnType {
    /// The Arrow type that carries it.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
            Self::Timestamp(_) => timestamp_type(),
            Self::Date => DataType::Date32,
        }
    }
}

impl fmt::Display for ColumnType {
    /// As `[source.columns]` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Float => f.write_str("float"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Self::Timestamp(TimestampForm::Rfc3339) => f.write_str("timestamp"),
            Self::Timestamp(TimestampForm::EpochSeconds) => f.write_str("timestamp(s)"),
            Self::Timestamp(TimestampForm::EpochMillis) => f.write_str("timestamp(ms)"),
            Self::Timestamp(TimestampForm::EpochMicros) => f.write_str("timestamp(us)"),
            Self::Date => f.write_str("date"),
            Self::Json => f.write_str("json"),
        }
    }
}

/// The one timestamp type of every stream and file: microseconds, UTC.
#[must_use]
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// One declared column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name in SQL.
    pub name: String,
    /// Its place in the record, from the outermost member inwards.
    pub path: Vec<String>,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Whether a record without the member is taken, with a null; otherwise that record is invalid.
    pub optional: bool,
}

/// The topic's name, a text column that any query may use.
pub const TOPIC: &str = "_topic";
/// The record's partition, an int.
pub const PARTITION: &str = "_partition";
/// The record's offset, an int.
pub const OFFSET: &str = "_offset";
/// Kafka's own time of the record.
pub const TIMESTAMP: &str = "_timestamp";
/// The record's key as text, null where it is not UTF-8 or absent.
pub const KEY: &str = "_key";

/// The record's value as a whole; a column where the query asks for it, and of records whose format is `raw`.
pub const VALUE: &str = "_value";
/// The record's headers as a JSON list (see [`crate::record::Headers::json`]); a column where the query asks for it.
pub const HEADERS: &str = "_headers";

/// The columns every stream has besides the declared ones, in this order, after them.
pub const META: [&str; 5] = [TOPIC, PARTITION, OFFSET, TIMESTAMP, KEY];

/// How a record's key or its value as a whole reads as a column.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartType {
    /// The bytes as they are.
    Bytes,
    /// The bytes as they are for text; for other types what they spell, as JSON or as plain text.
    Spelled(ColumnType),
}

impl PartType {
    /// The Arrow type that carries it.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Bytes => DataType::Binary,
            Self::Spelled(kind) => kind.arrow(),
        }
    }
}

/// What of the record as a whole is a column, and how.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// What [`KEY`] holds, a record whose key is something else being invalid. None: text, null where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PartType>,
    /// What [`VALUE`] holds, a record whose value is something else being invalid; None: there is no such column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<PartType>,
    /// Whether there is a column [`HEADERS`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub headers: bool,
}

impl Whole {
    /// Whether it is what a stream has that says nothing about it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// The columns of a stream: the declared ones, [`META`], and what [`Whole`] adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// The declared columns in the order of the pipeline file.
    pub declared: Vec<Column>,
    /// The name of the event-time column: a declared timestamp, or [`TIMESTAMP`].
    pub event_time: String,
    /// What of the record as a whole is a column.
    #[serde(default, skip_serializing_if = "Whole::is_plain")]
    pub whole: Whole,
}

impl Columns {
    /// The Arrow schema of decoded batches: the declared columns, then [`META`], then what [`Whole`] adds.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let declared = self.declared.iter().map(|column| Field::new(&column.name, column.kind.arrow(), true));
        let meta = [
            Field::new(TOPIC, DataType::Utf8, false),
            Field::new(PARTITION, DataType::Int64, false),
            Field::new(OFFSET, DataType::Int64, false),
            Field::new(TIMESTAMP, timestamp_type(), true),
            Field::new(KEY, self.whole.key.map_or(DataType::Utf8, PartType::arrow), true),
        ];
        let value = self.whole.value.map(|value| Field::new(VALUE, value.arrow(), true));
        let headers = self.whole.headers.then(|| Field::new(HEADERS, DataType::Utf8, true));
        Arc::new(Schema::new(declared.chain(meta).chain(value).chain(headers).collect::<Vec<_>>()))
    }
}
