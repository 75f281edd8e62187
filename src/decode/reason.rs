//! The words for what is wrong with a record: classes to count by, and texts that show the value safely.

use super::Reason;
use super::column::{Column, ColumnType, TimestampForm};

/// A null value.
pub(super) const TOMBSTONE: &str = "tombstone";
/// The bytes are not one JSON object.
pub(super) const NOT_JSON: &str = "not_json";
/// The bytes are not one record of separated values.
pub(super) const NOT_CSV: &str = "not_csv";
/// The value is no change event as Debezium writes them.
pub(super) const NOT_DEBEZIUM: &str = "not_debezium";
/// A row was deleted, or all of them were.
pub(super) const DELETE: &str = "delete";
/// The bytes are not what their Avro schema says.
pub(super) const NOT_AVRO: &str = "not_avro";
/// The bytes are not what their Protobuf schema says.
pub(super) const NOT_PROTOBUF: &str = "not_protobuf";
/// The value does not begin as a schema registry's clients write it.
pub(super) const NO_SCHEMA_ID: &str = "no_schema_id";
/// The registry does not know the record's schema, or it cannot be used.
pub(super) const UNKNOWN_SCHEMA: &str = "unknown_schema";
/// A wanted member is there twice.
pub(super) const DUPLICATE: &str = "duplicate";
/// A required member is missing or null.
pub(super) const MISSING_COLUMN: &str = "missing_column";
/// The value is of another type, or text that does not read as the type.
pub(super) const WRONG_TYPE: &str = "wrong_type";
/// The value is of the type, and beyond what it can hold.
pub(super) const OUT_OF_RANGE: &str = "out_of_range";
/// The value would have to be rounded.
pub(super) const INEXACT: &str = "inexact";

/// Why a value does not fit its column; without the value, so that it costs nothing to make.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) class: &'static str,
    /// More than the class says, or empty.
    pub(super) why: &'static str,
}

impl Misfit {
    /// The value is of another type.
    pub(super) const WRONG_TYPE: Self = Self::wrong_type("");

    pub(super) const fn wrong_type(why: &'static str) -> Self {
        Self { class: WRONG_TYPE, why }
    }

    pub(super) const fn out_of_range(why: &'static str) -> Self {
        Self { class: OUT_OF_RANGE, why }
    }

    pub(super) const fn inexact(why: &'static str) -> Self {
        Self { class: INEXACT, why }
    }

    pub(super) const fn not_json(why: &'static str) -> Self {
        Self { class: NOT_JSON, why }
    }
}

/// The reason why `value`, as it stands in the record, is not what `column` holds.
#[cold]
pub(super) fn misfit(column: &Column, value: &[u8], misfit: Misfit) -> Reason {
    let (path, expected, found) = (column.path.join("."), expected(column.kind), excerpt(value));
    let colon = if misfit.why.is_empty() { "" } else { ": " };
    Reason { class: misfit.class, text: format!("{path}: {expected} expected, found {found}{colon}{}", misfit.why) }
}

/// The reason for a required column without a value.
#[cold]
pub(super) fn missing(column: &Column, how: &str) -> Reason {
    Reason { class: MISSING_COLUMN, text: format!("{}: {how}", column.path.join(".")) }
}

/// A column's type in words.
fn expected(kind: ColumnType) -> String {
    match kind {
        ColumnType::Text => "text".into(),
        ColumnType::Bool => "true or false".into(),
        ColumnType::Int => "a whole number".into(),
        ColumnType::Float => "a number".into(),
        ColumnType::Decimal { precision, scale } => format!("a number for decimal({precision}, {scale})"),
        ColumnType::Timestamp(TimestampForm::Rfc3339) => "an RFC 3339 time".into(),
        ColumnType::Timestamp(TimestampForm::EpochSeconds) => "epoch seconds".into(),
        ColumnType::Timestamp(TimestampForm::EpochMillis) => "epoch milliseconds".into(),
        ColumnType::Timestamp(TimestampForm::EpochMicros) => "epoch microseconds".into(),
        ColumnType::Date => "a date as YYYY-MM-DD".into(),
        ColumnType::Json => "a JSON value".into(),
    }
}

/// How many characters of a value a reason shows.
const EXCERPT: usize = 80;

/// The first characters of `value`, with those escaped that would act on a terminal rather than show.
pub(super) fn excerpt(value: &[u8]) -> String {
    // Enough bytes for the characters shown, so that a value of megabytes is not gone through.
    let head = &value[..value.len().min(4 * EXCERPT + 4)];
    let text = String::from_utf8_lossy(head);
    let mut shown = String::new();
    for (index, char) in text.chars().enumerate() {
        if index == EXCERPT {
            shown.push('…');
            break;
        }
        if char.is_control() || steers(char) {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// How many bytes a reason has at most.
const LONGEST: usize = 600;

/// A reason's text as it may be shown and kept: of a readable length, on one line, and without characters that act on a
/// terminal.
pub(super) fn harmless(text: String) -> String {
    let acts = |char: char| char.is_control() || steers(char);
    if text.len() <= LONGEST && !text.contains(acts) {
        return text;
    }
    let mut shown = String::new();
    for char in text.chars() {
        if shown.len() > LONGEST {
            shown.push('…');
            break;
        }
        match char {
            '\n' | '\t' => shown.push(' '),
            char if acts(char) => shown.extend(char.escape_unicode()),
            char => shown.push(char),
        }
    }
    shown
}

/// Characters without a shape of their own that reorder or hide the text around them.
fn steers(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
