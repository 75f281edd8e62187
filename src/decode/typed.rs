//! From a value that has a type of its own, as Avro's and Protobuf's have, to a cell of its column's type: exactly, or
//! with the reason why not.

use std::fmt;

use super::cells::Values;
use super::column::TimestampForm;
use super::reason::Misfit;
use super::{json, number, time};

/// A value as a record's schema types it.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Datum<'a> {
    Bool(bool),
    Int(i64),
    /// Beyond what [`Datum::Int`] holds.
    Unsigned(u64),
    Float(f64),
    Text(&'a str),
    /// Bytes without a logical type.
    Bytes(&'a [u8]),
    /// `unscaled` / 10^`scale`.
    Decimal {
        unscaled: i128,
        scale: u32,
    },
    /// A point in time: microseconds since the epoch.
    Time(i64),
    /// A count since midnight of 1970-01-01 in a time zone that nobody names.
    LocalTime(i64),
    /// A decimal beyond 128 bits.
    Beyond,
    /// Days since the epoch.
    Date(i32),
    /// 128 bits.
    Uuid(u128),
    /// What is no value of any column but json; what it is.
    Nested(&'static str),
}

const NOT_UTF8: Misfit = Misfit::wrong_type("bytes are text only if they are UTF-8");
const NOT_FINITE: Misfit = Misfit::out_of_range("it is not a finite number");
const BEYOND_INT: Misfit = Misfit::out_of_range("it is beyond 64 bits");
const IS_DECIMAL: Misfit = Misfit::wrong_type("it is a decimal: declare decimal");
const IS_NUMBER: Misfit = Misfit::wrong_type("the schema gives it no unit: declare timestamp(s), (ms) or (us)");
const IS_NESTED: Misfit = Misfit::wrong_type("declare json, or a path to what is in it");
const IS_LOCAL: Misfit = Misfit::wrong_type("a local timestamp is no point in time: its schema names no time zone");
const TOO_MANY_DIGITS: Misfit = Misfit::out_of_range("it has too many digits");
const TOO_FINE: Misfit = Misfit::inexact("it has more fraction digits than can be kept");
const INEXACT_FLOAT: Misfit = Misfit::inexact("a 64-bit float does not hold it");

/// Adds the value to `values`. Adds nothing on an error.
#[inline]
pub(super) fn push(values: &mut Values, datum: Datum<'_>) -> Result<(), Misfit> {
    match (values, datum) {
        (Values::Text(texts), Datum::Text(text)) => texts.push(text.as_bytes())?,
        (Values::Text(texts), Datum::Bytes(bytes)) => match str::from_utf8(bytes) {
            Ok(text) => texts.push(text.as_bytes())?,
            Err(_) => return Err(NOT_UTF8),
        },
        (Values::Text(texts), Datum::Uuid(uuid)) => texts.push(uuid_text(uuid).as_bytes())?,
        (Values::Bool(values), Datum::Bool(value)) => values.push(value),
        (Values::Int(values), Datum::Int(value)) => values.push(value),
        (Values::Int(_), Datum::Unsigned(_)) => return Err(BEYOND_INT),
        (Values::Int(_), Datum::Decimal { .. }) => return Err(IS_DECIMAL),
        (Values::Float(values), Datum::Float(value)) => values.push(finite(value)?),
        (Values::Float(values), Datum::Int(value)) => values.push(whole_float(value)?),
        (Values::Float(_), Datum::Decimal { .. }) => return Err(IS_DECIMAL),
        (Values::Decimal { precision, scale, values }, datum) => {
            values.push(decimal(datum, *precision, u32::try_from(*scale).unwrap_or_default())?);
        }
        (Values::Timestamp { values, .. }, Datum::Time(micros)) => values.push(time::in_years(micros)?),
        (Values::Timestamp { form: TimestampForm::Rfc3339, values }, Datum::Text(text)) => {
            values.push(time::rfc3339(text.as_bytes())?);
        }
        (Values::Timestamp { form: TimestampForm::Rfc3339, .. }, Datum::Int(_)) => return Err(IS_NUMBER),
        (Values::Timestamp { form, values }, Datum::Int(count)) => values.push(time::count(count, *form)?),
        (Values::Date(values), Datum::Date(days)) => values.push(time::day(days)?),
        (Values::Date(values), Datum::Text(text)) => values.push(time::date(text.as_bytes())?),
        (_, Datum::Nested(_)) => return Err(IS_NESTED),
        (_, Datum::LocalTime(_)) => return Err(IS_LOCAL),
        _ => return Err(Misfit::WRONG_TYPE),
    }
    Ok(())
}

/// Adds JSON text to `values`, which are of json. Adds nothing on an error.
pub(super) fn push_json(values: &mut Values, text: &[u8]) -> Result<(), Misfit> {
    match values {
        Values::Json(texts) => texts.push(text),
        _ => Err(IS_NESTED),
    }
}

/// The float; `-0` is `0`, so that the two make one group.
fn finite(value: f64) -> Result<f64, Misfit> {
    if value.is_finite() { Ok(value + 0.0) } else { Err(NOT_FINITE) }
}

fn whole_float(value: i64) -> Result<f64, Misfit> {
    const EXACT: u64 = 1 << 53;
    if value.unsigned_abs() <= EXACT { Ok(value as f64) } else { Err(INEXACT_FLOAT) }
}

/// The value · 10^`scale`, of at most `precision` digits.
fn decimal(datum: Datum<'_>, precision: u8, scale: u32) -> Result<i128, Misfit> {
    let (unscaled, from) = match datum {
        Datum::Decimal { unscaled, scale } => (unscaled, scale),
        Datum::Int(value) => (i128::from(value), 0),
        Datum::Unsigned(value) => (i128::from(value), 0),
        Datum::Text(text) if number::is_number(text.as_bytes()) => {
            return number::decimal(text.as_bytes(), precision, i8::try_from(scale).unwrap_or(i8::MAX));
        }
        Datum::Float(_) => return Err(Misfit::wrong_type("it is a float, which is not exact: declare float")),
        Datum::Nested(_) => return Err(IS_NESTED),
        Datum::Beyond => return Err(TOO_MANY_DIGITS),
        _ => return Err(Misfit::WRONG_TYPE),
    };
    let value = if unscaled == 0 {
        0
    } else if scale >= from {
        let power = 10i128.checked_pow(scale - from);
        power.and_then(|power| unscaled.checked_mul(power)).ok_or(TOO_MANY_DIGITS)?
    } else {
        let power = 10i128.checked_pow(from - scale).ok_or(TOO_FINE)?;
        if unscaled % power == 0 { unscaled / power } else { return Err(TOO_FINE) }
    };
    let limit = 10u128.checked_pow(precision.into()).unwrap_or(u128::MAX);
    if value.unsigned_abs() < limit { Ok(value) } else { Err(TOO_MANY_DIGITS) }
}

/// A big-endian two's-complement number; `None` beyond 128 bits.
pub(super) fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let extra = bytes.len().saturating_sub(16);
    let (head, tail) = bytes.split_at(extra);
    let mut whole = [fill; 16];
    whole[16 - tail.len()..].copy_from_slice(tail);
    let value = i128::from_be_bytes(whole);
    (head.iter().all(|byte| *byte == fill) && (value < 0) == negative).then_some(value)
}

/// A decimal as people write it.
pub(super) fn decimal_text(unscaled: i128, scale: u32) -> String {
    let digits = unscaled.unsigned_abs().to_string();
    let scale = scale as usize;
    let sign = if unscaled < 0 { "-" } else { "" };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// The usual form of a UUID.
pub(super) fn uuid_text(uuid: u128) -> String {
    uuid::Uuid::from_u128(uuid).hyphenated().to_string()
}

impl fmt::Display for Datum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Decimal { unscaled, scale } => f.write_str(&decimal_text(unscaled, scale)),
            Self::Time(micros) => crate::record::Timestamp(micros).fmt(f),
            Self::LocalTime(count) => count.fmt(f),
            Self::Beyond => f.write_str("a decimal of more than 38 digits"),
            Self::Date(days) => f.write_str(&time::day_text(days)),
            Self::Uuid(uuid) => f.write_str(&uuid_text(uuid)),
            Self::Nested(what) => f.write_str(what),
        }
    }
}

/// Writes JSON text of typed values.
#[derive(Debug, Default)]
pub(super) struct JsonText {
    pub(super) text: Vec<u8>,
}

impl JsonText {
    /// The value as JSON: numbers with all their digits, times and dates as text, bytes as hex.
    pub(super) fn datum(&mut self, datum: Datum<'_>) {
        match datum {
            Datum::Bool(value) => self.raw(if value { "true" } else { "false" }),
            Datum::Int(_) | Datum::Unsigned(_) | Datum::Decimal { .. } | Datum::LocalTime(_) => {
                self.raw(&datum.to_string())
            }
            // The shortest text that reads back as the same float; JSON has none for the others.
            Datum::Float(value) if value.is_finite() => self.raw(&format!("{value:?}")),
            Datum::Float(_) => self.raw("null"),
            Datum::Text(text) => self.string(text),
            Datum::Bytes(bytes) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                self.string(&hex);
            }
            Datum::Time(_) | Datum::Date(_) | Datum::Uuid(_) | Datum::Nested(_) | Datum::Beyond => {
                self.string(&datum.to_string());
            }
        }
    }

    /// Text that is JSON already.
    pub(super) fn raw(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    /// A string, with quotes and escapes.
    pub(super) fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.text, text).expect("text is written to memory");
    }

    /// A member's name and colon; a comma before it but for the first.
    pub(super) fn name(&mut self, first: bool, name: &str) {
        if !first {
            self.raw(",");
        }
        self.string(name);
        self.raw(":");
    }
}

/// Whether text is one JSON value, as a json column takes it from a format without types.
pub(super) fn is_json(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok() && json::is_json(text)
}

#[cfg(test)]
mod tests {
    use super::super::cells::Cells;
    use super::super::column::ColumnType;
    use super::*;

    fn pushed(kind: ColumnType, datum: Datum<'_>) -> Result<String, &'static str> {
        let mut cells = Cells::new(kind, 1, 0);
        push(&mut cells.values, datum).map_err(|misfit| misfit.class)?;
        cells.filled();
        let array = cells.finish();
        Ok(arrow::util::display::array_value_to_string(&array, 0).unwrap())
    }

    #[test]
    fn numbers_fit_exactly_or_are_refused() {
        let decimal = ColumnType::Decimal { precision: 5, scale: 2 };
        let of = |unscaled, scale| Datum::Decimal { unscaled, scale };
        assert_eq!(pushed(decimal, of(1250, 2)), Ok("12.50".into()));
        assert_eq!(pushed(decimal, of(125, 1)), Ok("12.50".into()));
        assert_eq!(pushed(decimal, of(-125_000, 4)), Ok("-12.50".into()));
        assert_eq!(pushed(decimal, of(1, 3)), Err("inexact"));
        assert_eq!(pushed(decimal, of(0, 90)), Ok("0.00".into()));
        assert_eq!(pushed(decimal, of(1, 90)), Err("inexact"));
        assert_eq!(pushed(decimal, of(100_000, 2)), Err("out_of_range"));
        assert_eq!(pushed(decimal, of(i128::MAX, 0)), Err("out_of_range"));
        assert_eq!(pushed(decimal, Datum::Int(999)), Ok("999.00".into()));
        assert_eq!(pushed(decimal, Datum::Int(1000)), Err("out_of_range"));
        assert_eq!(pushed(decimal, Datum::Float(1.5)), Err("wrong_type"));
        assert_eq!(pushed(ColumnType::Int, Datum::Unsigned(u64::MAX)), Err("out_of_range"));
        assert_eq!(pushed(ColumnType::Float, Datum::Int(1 << 53)), Ok("9007199254740992.0".into()));
        assert_eq!(pushed(ColumnType::Float, Datum::Int((1 << 53) + 1)), Err("inexact"));
        assert_eq!(pushed(ColumnType::Float, Datum::Float(f64::NAN)), Err("out_of_range"));
    }

    #[test]
    fn a_number_without_a_unit_is_no_time_until_one_is_declared() {
        let timestamp = |form| ColumnType::Timestamp(form);
        assert_eq!(pushed(timestamp(TimestampForm::Rfc3339), Datum::Int(1_772_352_000)), Err("wrong_type"));
        let seconds = pushed(timestamp(TimestampForm::EpochSeconds), Datum::Int(1_772_352_000));
        assert_eq!(seconds, Ok("2026-03-01T08:00:00Z".into()));
        for form in [TimestampForm::Rfc3339, TimestampForm::EpochMillis] {
            let time = pushed(timestamp(form), Datum::Time(1_772_352_000_000_000));
            assert_eq!(time, Ok("2026-03-01T08:00:00Z".into()));
        }
        assert_eq!(pushed(timestamp(TimestampForm::EpochSeconds), Datum::Int(i64::MAX)), Err("out_of_range"));
        assert_eq!(pushed(ColumnType::Date, Datum::Date(20_513)), Ok("2026-03-01".into()));
        assert_eq!(pushed(ColumnType::Date, Datum::Date(i32::MAX)), Err("out_of_range"));
    }

    #[test]
    fn big_endian_numbers_of_any_length_are_read_up_to_128_bits() {
        assert_eq!(big_endian(&[]), Some(0));
        assert_eq!(big_endian(&[0xff]), Some(-1));
        assert_eq!(big_endian(&[0x00, 0xff]), Some(255));
        for value in [i128::MIN, -129, -1, 0, 1, 128, i128::MAX] {
            let bytes = value.to_be_bytes();
            assert_eq!(big_endian(&bytes), Some(value));
            let fill = if value < 0 { 0xff } else { 0 };
            let long: Vec<u8> = [fill; 9].into_iter().chain(bytes).collect();
            assert_eq!(big_endian(&long), Some(value));
        }
        let mut beyond = vec![0];
        beyond.extend([0xff; 16]);
        assert_eq!(big_endian(&beyond), None);
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(12345, 2), "123.45");
    }
}
