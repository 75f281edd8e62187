//! How the columns of a result file become those of a table.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use tokio_postgres::types::Type;

use super::LoadError;

/// What a column of a file holds, in PostgreSQL's terms.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Timestamp,
    Date,
    Numeric { precision: u8, scale: u8 },
    BigInt,
    Integer,
    Double,
    Boolean,
    Text,
    Bytes,
}

/// A column of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

/// PostgreSQL cuts longer names.
const LONGEST_NAME: usize = 63;

/// The columns of a file with this schema.
pub(super) fn columns(schema: &Schema) -> Result<Vec<Column>, LoadError> {
    schema.fields().iter().map(|field| column(field)).collect()
}

fn column(field: &Field) -> Result<Column, LoadError> {
    let name = field.name().clone();
    if name.len() > LONGEST_NAME {
        let text =
            format!("column \"{name}\" has a name of more than {LONGEST_NAME} bytes, which PostgreSQL would cut");
        return Err(LoadError::Invalid(text));
    }
    let kind = match *field.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Kind::Timestamp,
        DataType::Date32 => Kind::Date,
        DataType::Decimal128(precision, scale) if scale >= 0 => {
            Kind::Numeric { precision, scale: scale.unsigned_abs() }
        }
        DataType::Int64 => Kind::BigInt,
        DataType::Int32 => Kind::Integer,
        DataType::Float64 => Kind::Double,
        DataType::Boolean => Kind::Boolean,
        DataType::Utf8 => Kind::Text,
        DataType::Binary => Kind::Bytes,
        ref other => {
            let text = format!("column \"{name}\" is {other}, for which no PostgreSQL type is known");
            return Err(LoadError::Invalid(text));
        }
    };
    Ok(Column { name, kind, required: !field.is_nullable() })
}

impl Kind {
    /// The type that holds it exactly.
    pub(super) fn sql(self) -> String {
        match self {
            Self::Timestamp => "timestamp with time zone".to_owned(),
            Self::Date => "date".to_owned(),
            Self::Numeric { precision, scale } => format!("numeric({precision},{scale})"),
            Self::BigInt => "bigint".to_owned(),
            Self::Integer => "integer".to_owned(),
            Self::Double => "double precision".to_owned(),
            Self::Boolean => "boolean".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Bytes => "bytea".to_owned(),
        }
    }

    /// The type to send it as to a column of type `sql`, as `format_type` writes it; `None` if something could be lost.
    pub(super) fn fits(self, sql: &str) -> Option<Type> {
        let same = sql == self.sql();
        match self {
            Self::Timestamp => same.then_some(Type::TIMESTAMPTZ),
            Self::Date => same.then_some(Type::DATE),
            Self::Double => same.then_some(Type::FLOAT8),
            Self::Boolean => same.then_some(Type::BOOL),
            Self::BigInt => same.then_some(Type::INT8),
            Self::Integer if sql == "bigint" => Some(Type::INT8),
            Self::Integer => same.then_some(Type::INT4),
            // A value too long for varchar(n) is the server's error, not a loss.
            Self::Text if sql.starts_with("character varying") => Some(Type::VARCHAR),
            Self::Text => same.then_some(Type::TEXT),
            Self::Bytes => same.then_some(Type::BYTEA),
            Self::Numeric { precision, scale } => holds(sql, precision, scale).then_some(Type::NUMERIC),
        }
    }
}

/// Whether every decimal of this precision and scale fits a `numeric` as written by `format_type`.
fn holds(sql: &str, precision: u8, scale: u8) -> bool {
    let Some(rest) = sql.strip_prefix("numeric") else { return false };
    if rest.is_empty() {
        return true;
    }
    let Some((theirs, places)) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')?.split_once(',')) else {
        return false;
    };
    let (Ok(theirs), Ok(places)) = (theirs.parse::<i32>(), places.parse::<i32>()) else { return false };
    places >= i32::from(scale) && theirs - places >= i32::from(precision) - i32::from(scale)
}
